/** What users do with VMs and images, through the command line, on a lab with real guests. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { inflateSync } from 'node:zlib'
import { HoldfastError } from '../../src/base/errors.ts'
import { agentCalls, managerCalls } from '../../src/contracts/agent-routes.ts'
import { exchangeJson } from '../../src/contracts/http-exchange.ts'
import type { Image, Task, Vm } from '../../src/contracts/inventory.ts'
import { importFile } from '../../src/lab/cluster.ts'
import { managerName, nodeFolders, storageFolders } from '../../src/lab/names.ts'
import { Cli } from '../support/cli.ts'
import { GuestLine } from '../support/guest-line.ts'
import { TestLab } from '../support/lab.ts'
import { TickStream } from '../support/tick-stream.ts'

const run = promisify(execFile)
let lab: TestLab
let cli: Cli
let folder: string

before(async () => {
  folder = mkdtempSync('/var/tmp/hfo')
  lab = await TestLab.open({ name: `mo${process.pid % 100_000}`, hosts: 1, diskGiB: 1 })
  cli = new Cli(lab, folder)
})
after(async () => {
  await lab?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** The folder and the manifest of a guest that our scripts make. */
async function guest(name: string): Promise<{ folder: string; manifest: Record<string, never> }> {
  const { stdout } = await run(resolve(import.meta.dirname, '../../dev/guests/build'), [name])
  const at = stdout.trim().split('\n').at(-1) ?? ''
  return { folder: at, manifest: JSON.parse(readFileSync(join(at, 'manifest.json'), 'utf8')) as Record<string, never> }
}

/** Files on the shared datastore whose name holds a word. */
function filesWith(word: string): string[] {
  const { shared } = storageFolders(lab.lab.folder, lab.hosts[0] ?? '')
  return readdirSync(shared, { recursive: true, encoding: 'utf8' }).filter((name) => name.includes(word))
}

/** The same without the notes beside disks. */
const imagesWith = (word: string): string[] => filesWith(word).filter((name) => !name.endsWith('.json'))

/** Each pixel's red, green and blue, of a PNG that Holdfast made: true colour, no filters. */
function pixels(png: Buffer): { width: number; height: number; rgb: (x: number, y: number) => number[] } {
  assert.equal(png.subarray(1, 4).toString(), 'PNG')
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)]
  const data = inflateSync(png.subarray(png.indexOf('IDAT') + 4))
  return { width, height, rgb: (x, y) => [...data.subarray(y * (width * 3 + 1) + 1 + x * 3).subarray(0, 3)] }
}

const small = ['--memory', '96M', '--kernel', 'busybox-kernel', '--initrd', 'busybox-initrd']
const cmdline = (): string[] => ['--cmdline', lab.guest?.cmdline ?? '']

test('a VM is created, started, paused, resumed, reset, shut down, renamed and deleted', async () => {
  const create = ['vm', 'create', 'life', ...small, ...cmdline(), '--disk', '16M,datastore=shared,format=qcow2']
  const created = await cli.json<Task>(...create)
  assert.equal(created.state, 'done')
  const shown = async (): Promise<Vm> => cli.json<Vm>('vm', 'show', 'life')
  const vm = await shown()
  assert.deepEqual([vm.state, vm.host], ['stopped', null])
  const disk = vm.spec.disks[0]?.disk ?? ''
  assert.equal(imagesWith(disk).length, 1)
  assert.equal((await cli.problem(...create)).code, 'name-taken')

  await cli.json('vm', 'start', 'life')
  const running = await shown()
  assert.deepEqual([running.state, running.host, running.addresses.length], ['running', lab.hosts[0], 1])
  {
    using ticks = await TickStream.open(lab, running.addresses[0] ?? '', 180_000)
    await cli.json('vm', 'pause', 'life')
    assert.equal((await shown()).state, 'paused')
    assert.equal(await ticks.goesOn(lab, 500), false)
    await cli.json('vm', 'resume', 'life')
    assert.equal((await shown()).state, 'running')
    await ticks.assertWhole(lab)
    const pids = await lab.qemus(running.host ?? '')
    await cli.json('vm', 'reset', 'life')
    assert.equal(await ticks.goesOn(lab, 1000), false)
    assert.deepEqual(await lab.qemus(running.host ?? ''), pids)
  }
  using _ = await TickStream.open(lab, running.addresses[0] ?? '', 180_000)
  const refused = await cli.problem('vm', 'delete', 'life', '--yes')
  assert.equal(refused.code, 'wrong-state', JSON.stringify(refused))
  await cli.json('vm', 'shutdown', 'life')
  const off = await shown()
  assert.deepEqual([off.state, off.run.cause], ['stopped', 'guest-shutdown'])
  assert.deepEqual(await lab.qemus(lab.hosts[0] ?? ''), [])
  await cli.json('vm', 'rename', 'life', 'afterlife')
  assert.equal((await cli.problem('vm', 'show', 'life')).exitCode, 3)
  await cli.json('vm', 'delete', 'afterlife', '--yes')
  assert.equal((await cli.problem('vm', 'show', 'afterlife')).code, 'not-found')
  await lab.eventually('its disk is gone', async () => filesWith(disk).length === 0)
})

test('a serial console through a pipe; power off; agents restarted under a VM leave it alone', async () => {
  await cli.json('vm', 'create', 'talk', ...small, ...cmdline(), '--start')
  const vm = await cli.json<Vm>('vm', 'show', 'talk')
  {
    // Once, so that the guest's shell is surely there.
    using _ = await GuestLine.open(lab, vm.id)
  }
  const { code, out, err } = await cli.run(['vm', 'console', 'talk', '--grace', '5'], '\necho $((41 + 1))-said\n')
  assert.equal(code, 0, err)
  assert.match(out.toString(), /42-said/)
  const host = vm.host ?? ''
  const pids = await lab.qemus(host)
  const agents = await lab.processesOf(host, /cli\/main\.ts agent run/)
  await lab.kill(host, agents, 'SIGTERM')
  await lab.eventually('a new agent', async () => {
    const now = await lab.processesOf(host, /cli\/main\.ts agent run/)
    return now.length === 1 && now[0] !== agents[0]
  })
  await lab.eventually(
    'the VM is seen again',
    async () => (await cli.json<Vm>('vm', 'show', 'talk')).state === 'running',
  )
  assert.deepEqual(await lab.qemus(host), pids)
  await cli.json('vm', 'stop', 'talk')
  assert.deepEqual(await lab.qemus(host), [])
  assert.equal((await cli.json<Vm>('vm', 'show', 'talk')).run.cause, 'asked')
  await cli.json('vm', 'delete', 'talk', '--yes')
})

test('what a QEMU holds for its migrations opens neither the manager nor an agent; a deleted VM is forgotten', async () => {
  await cli.json('vm', 'create', 'holder', '--memory', '64M', '--no-nic', '--start')
  const vm = await cli.json<Vm>('vm', 'show', 'holder')
  const { run: runFolder, data } = nodeFolders(lab.lab.folder, vm.host ?? '')
  const read = (name: string): string => readFileSync(join(runFolder, 'vms', vm.id, 'tls', name), 'utf8')
  await lab.eventually('its certificate', async () => existsSync(join(runFolder, 'vms', vm.id, 'tls/client-cert.pem')))
  const stolen = { ca: read('ca-cert.pem'), cert: read('client-cert.pem'), key: read('client-key.pem') }
  const send = (url: string, serverName: string, body: object): Promise<unknown> =>
    exchangeJson(lab.ports.network, {
      ...{ method: 'POST', url, body: JSON.stringify(body), tls: { ...stolen, serverName } },
      headers: { 'content-type': 'application/json' },
    })
  const host = (await lab.client.call('listHosts')).items.find(({ name }) => name === vm.host)
  assert.ok(host)
  const toManager = send(lab.up.file.url + managerCalls.record.path, 'manager.holdfast', { vm: vm.id })
  await assert.rejects(toManager, { code: 'not-allowed' })
  const agent = `https://${host.addresses.management}:7444`
  const toAgent = send(agent + agentCalls.observe.path, `${host.id}.holdfast`, { vm: vm.id })
  await assert.rejects(toAgent, { code: 'not-allowed' })
  const state = join(data, 'agent/vms', vm.id)
  assert.ok(existsSync(state), state)
  await cli.json('vm', 'stop', 'holder')
  await cli.json('vm', 'delete', 'holder', '--yes')
  await lab.eventually('the host has forgotten it', async () => !existsSync(state))
})

test('a guest that is no Linux reaches its screen from a CD-ROM', async () => {
  const screen = await guest('screen')
  const iso = join(screen.folder, screen.manifest['cdrom'] ?? '')
  await cli.json('image', 'import', 'memtest', '--file', iso, '--datastore', 'shared', '--format', 'raw')
  await cli.json('vm', 'create', 'screen', '--memory', '64M', '--cdrom', 'memtest', '--no-nic', '--start')
  const file = join(folder, 'screen.png')
  const [red, green, blue] = screen.manifest['background'] as unknown as number[]
  await lab.eventually(
    'a blue screen',
    async () => {
      await cli.run(['vm', 'screenshot', 'screen', file])
      const { width, height, rgb } = pixels(readFileSync(file))
      const [r, g, b] = rgb(width >> 1, height - 40)
      return r === red && g === green && b === blue
    },
    180_000,
  )
  await cli.json('vm', 'stop', 'screen')
  await cli.json('vm', 'delete', 'screen', '--yes')
})

test('q35, an e1000 NIC and a raw disk behind AHCI', async () => {
  const general = await guest('busybox-general')
  for (const [name, file] of [
    ['general-kernel', 'vmlinuz'],
    ['general-initrd', 'initrd.gz'],
  ] as const) {
    await importFile(
      lab.lab,
      lab.client,
      { name, path: join(general.folder, file), datastore: 'shared' },
      () => undefined,
    )
  }
  const machine = ['--machine', 'q35', '--memory', '256M', '--vcpus', '1']
  const devices = ['--disk', 'size=8M,format=raw,bus=ide,datastore=shared', '--nic', 'default,model=e1000']
  const kernel = [
    '--kernel',
    'general-kernel',
    '--initrd',
    'general-initrd',
    `--cmdline=${String(general.manifest['cmdline'])}`,
  ]
  await cli.json('vm', 'create', 'modern', ...machine, ...devices, ...kernel, '--start')
  const vm = await cli.json<Vm>('vm', 'show', 'modern')
  using _ = await TickStream.open(lab, vm.addresses[0] ?? '', 300_000)
  using line = await GuestLine.open(lab, vm.id)
  assert.match(await line.run('cat /sys/class/dmi/id/product_name'), /Q35/)
  assert.match(await line.run('cat /sys/class/net/eth0/device/device'), /0x100e/)
  await line.writeDisk(3, '/dev/sda', 64)
  await line.verifyDisk(3, '/dev/sda', 64)
  await cli.json('vm', 'stop', 'modern')
  await cli.json('vm', 'delete', 'modern', '--yes')
})

test('UEFI reaches its screen, and refuses a kernel of ours', async () => {
  const machine = ['--firmware', 'uefi', '--machine', 'q35', '--memory', '128M', '--disk', 'size=8M,datastore=shared']
  assert.equal((await cli.problem('vm', 'create', 'uefi', ...machine, ...small.slice(2))).code, 'invalid-request')
  await cli.json('vm', 'create', 'uefi', ...machine, '--no-nic', '--start')
  assert.equal((await cli.json<Vm>('vm', 'show', 'uefi')).state, 'running')
  const file = join(folder, 'uefi.png')
  const isLit = async (): Promise<boolean> => {
    await cli.run(['vm', 'screenshot', 'uefi', file])
    const { width, height, rgb } = pixels(readFileSync(file))
    for (let y = 0; y < height; y += 4) {
      for (let x = 0; x < width; x += 4) if (rgb(x, y).some((part) => part > 60)) return true
    }
    return false
  }
  await lab.eventually('a screen that shows something', isLit, 180_000)
  await cli.json('vm', 'stop', 'uefi')
  await cli.json('vm', 'delete', 'uefi', '--yes')
})

/** Sends the rest. Of a piece whose connection broke some may have come in since the offset was asked: it is told then. */
async function goOn(id: string, bytes: Buffer, offset: number): Promise<void> {
  await lab.client.upload(id, offset, bytes.subarray(offset)).catch(async (thrown: unknown) => {
    const known = thrown instanceof HoldfastError && thrown.code === 'conflict' ? thrown.details['offset'] : undefined
    if (typeof known !== 'number') throw thrown
    await lab.client.upload(id, known, bytes.subarray(known))
  })
}

test('an upload goes on after a broken connection; what is not what it says is refused', async () => {
  const bytes = Buffer.alloc(3 * 2 ** 20)
  for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE((at * 2654435761) >>> 0, at)
  const upload = await lab.client.call('createUpload', { body: { sizeBytes: bytes.length, datastore: 'shared' } })
  const torn = Readable.from(
    (async function* () {
      yield bytes.subarray(0, 2 ** 20)
      throw new Error('the line is cut')
    })(),
  )
  await assert.rejects(lab.client.upload(upload.id, 0, torn))
  const { offset } = await lab.eventually('the manager knows where it stands', () =>
    lab.client.call('getUpload', { params: { upload: upload.id } }),
  )
  assert.ok(offset <= 2 ** 20, String(offset))
  await goOn(upload.id, bytes, offset)
  const body = { name: 'torn', upload: upload.id, format: 'raw' as const }
  const sha256 = createHash('sha256').update(bytes).digest('hex')
  const wrong = await lab.client.call('importImage', {
    body: { ...body, sha256: sha256.replace(/^./, (d) => (d === '0' ? '1' : '0')) },
  })
  await assert.rejects(lab.finish(wrong), /checksum|SHA-256|digest/i)
  assert.ok(!(await cli.json<Image[]>('image', 'list')).some(({ name }) => name === 'torn'))

  const file = join(folder, 'torn.raw')
  writeFileSync(file, bytes)
  await cli.json(
    'image',
    'import',
    'torn',
    '--file',
    file,
    '--datastore',
    'shared',
    '--sha256',
    sha256,
    '--format',
    'raw',
  )
  const image = (await cli.json<Image[]>('image', 'list')).find(({ name }) => name === 'torn')
  assert.deepEqual([image?.state, image?.sha256, image?.fileBytes], ['ready', sha256, bytes.length])

  const unsaid = await cli.problem('image', 'import', 'unsaid', '--file', file)
  assert.deepEqual([unsaid.code, unsaid.mend], ['bad-image', 'If it is a raw disk, say so with --format raw.'])
  const backed = join(folder, 'backed.qcow2')
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', file, '-F', 'raw', backed])
  assert.equal((await cli.problem('image', 'import', 'thief', '--file', backed)).code, 'bad-image')
  const liar = await cli.problem('image', 'import', 'liar', '--file', file, '--format', 'qcow2')
  assert.equal(liar.code, 'bad-image')
})

test('a create in whose middle the manager dies is finished or undone, and leaves no file that is nobody’s', async () => {
  const known = new Set(filesWith('disk-'))
  const disks = [1, 2, 3].map(() => ({ sizeBytes: 2 ** 24, datastore: 'shared' }))
  const task = await lab.client.call('createVm', { body: { name: 'torn', memoryMiB: 64, disks } })
  await lab.kill(managerName, await lab.processesOf(managerName, /cli\/main\.ts manager run/))
  const end = await lab.eventually('the end of the create', async () => {
    const now = await lab.client.call('getTask', { params: { task: task.id }, query: {} })
    return now.state !== 'running' && now.state !== 'undoing' && now
  })
  const made = imagesWith('disk-').filter((name) => !known.has(name))
  if (end.state === 'done') {
    const vm = await lab.vm('torn')
    assert.deepEqual([vm.state, vm.operation, vm.spec.disks.length], ['stopped', null, 3])
    assert.equal(made.length, 3)
    await cli.json('vm', 'delete', 'torn', '--yes')
  } else {
    assert.equal((await lab.client.call('listVms', { query: { name: 'torn' } })).items.length, 0)
  }
  await lab.eventually('no file is left', async () => filesWith('disk-').every((name) => known.has(name)))
})
