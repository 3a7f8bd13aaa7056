import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { nodeFiles, nodeProcesses } from '../../src/base/node/index.ts'
import { qemuDiskImages } from '../../src/hypervisor/qemu-img.ts'
import { TestHost } from './hypervisor-guest.ts'

const images = qemuDiskImages({ files: nodeFiles(), processes: nodeProcesses() })
const MiB = 1024 * 1024
const forever = new AbortController().signal
let folder = ''
const at = (name: string): string => join(folder, name)
const img = (...args: string[]): void => void execFileSync('qemu-img', args, { stdio: 'pipe' })

before(() => (folder = mkdtempSync(join(tmpdir(), 'hf-img-'))))
after(() => rmSync(folder, { recursive: true }))

test('every format is found by content, and read', async () => {
  writeFileSync(at('data.raw'), Buffer.alloc(4 * MiB, 'holdfast'))
  for (const format of ['qcow2', 'vmdk', 'vdi', 'vpc', 'vhdx']) {
    img(
      'convert',
      '-O',
      format,
      ...(format === 'vpc' ? ['-o', 'force_size=on'] : []),
      at('data.raw'),
      at(`x.${format}`),
    )
    const info = await images.info(at(`x.${format}`))
    assert.deepEqual(
      { format: info.format, virtualBytes: info.virtualBytes, outside: info.hasOutsideReference },
      { format, virtualBytes: 4 * MiB, outside: false },
    )
    await images.convert(
      { path: at(`x.${format}`), format },
      { path: at(`${format}.raw`), format: 'raw' },
      () => undefined,
      forever,
    )
    execFileSync('cmp', [at('data.raw'), at(`${format}.raw`)])
  }
  assert.equal((await images.info(at('data.raw'))).format, 'raw')
})

test('images that name other files are told, refused for copies, and those files are never opened', async () => {
  writeFileSync(at('secret'), Buffer.alloc(MiB, 'secret'))
  img('create', '-f', 'qcow2', '-b', at('secret'), '-F', 'raw', at('backed.qcow2'))
  img('create', '-f', 'qcow2', '-o', `data_file=${at('outside')}`, at('data.qcow2'), '1M')
  writeFileSync(
    at('flat.vmdk'),
    `# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 2048 FLAT "${at('secret')}" 0\n`,
  )
  for (const [name, format] of [
    ['backed.qcow2', 'qcow2'],
    ['data.qcow2', 'qcow2'],
    ['flat.vmdk', 'vmdk'],
  ] as const) {
    assert.equal((await images.info(at(name))).hasOutsideReference, true, name)
    await assert.rejects(
      images.convert({ path: at(name), format }, { path: at('stolen'), format: 'raw' }, () => undefined, forever),
      { code: 'bad-image' },
    )
  }
  assert.equal((await images.info(at('backed.qcow2'))).backingFile, at('secret'))
  assert.ok(!readdirSync(folder).includes('stolen'))
})

test('a disk is created, grows, never shrinks, and is checked', async () => {
  await images.create(at('d.qcow2'), 'qcow2', 10 * MiB)
  await images.grow(at('d.qcow2'), 'qcow2', 20 * MiB)
  assert.equal((await images.info(at('d.qcow2'), 'qcow2')).virtualBytes, 20 * MiB)
  await assert.rejects(images.grow(at('d.qcow2'), 'qcow2', 10 * MiB), { code: 'refused' })
  await assert.rejects(images.create(at('d.qcow2'), 'qcow2', MiB), { code: 'wrong-state' })
  await images.check(at('d.qcow2'), 'qcow2')
  await images.create(at('d.raw'), 'raw', 10 * MiB)
  assert.ok(statSync(at('d.raw')).blocks < 100)
  await images.grow(at('d.raw'), 'raw', 30 * MiB)
  assert.equal(statSync(at('d.raw')).size, 30 * MiB)
})

test('a truncated or lying image is bad', async () => {
  img('convert', '-O', 'qcow2', at('data.raw'), at('cut.qcow2'))
  truncateSync(at('cut.qcow2'), 2 * MiB)
  await assert.rejects(images.check(at('cut.qcow2'), 'qcow2'), { code: 'bad-image' })
  writeFileSync(at('lie.qcow2'), 'not an image at all')
  await assert.rejects(images.info(at('lie.qcow2'), 'qcow2'), { code: 'bad-image' })
  await assert.rejects(images.info(at('none'), 'qcow2'), { code: 'not-found' })
  await assert.rejects(images.info(at('lie.qcow2'), 'nbd'), { code: 'bad-image' })
})

test('a copy tells its progress, and an aborted one leaves nothing', async () => {
  const seen: number[] = []
  await images.convert(
    { path: at('data.raw'), format: 'raw' },
    { path: at('copy.qcow2'), format: 'qcow2' },
    (fraction) => seen.push(fraction),
    forever,
  )
  assert.ok(
    seen.length >= 2 && seen.at(-1) === 1 && seen.every((value, n) => n === 0 || value >= (seen[n - 1] ?? 0)),
    String(seen),
  )
  writeFileSync(at('big.raw'), Buffer.alloc(256 * MiB, 'big'))
  const controller = new AbortController()
  const copying = images.convert(
    { path: at('big.raw'), format: 'raw' },
    { path: at('never.qcow2'), format: 'qcow2' },
    () => controller.abort(new Error('changed my mind')),
    controller.signal,
  )
  await assert.rejects(copying, /changed my mind/)
  assert.ok(!readdirSync(folder).some((name) => name.includes('never')))
})

test('an image that a machine writes to is locked', async () => {
  await images.create(at('busy.qcow2'), 'qcow2', MiB)
  await using host = await TestHost.open()
  await host.start(
    await host.config('a', {
      kernelBoot: null,
      memoryMiB: 16,
      disks: [{ key: 1, path: at('busy.qcow2'), format: 'qcow2', bus: 'virtio', slot: '3', cache: 'writeback' }],
    }),
  )
  await assert.rejects(images.info(at('busy.qcow2'), 'qcow2'), { code: 'wrong-state' })
  await assert.rejects(images.check(at('busy.qcow2'), 'qcow2'), { code: 'wrong-state' })
})
