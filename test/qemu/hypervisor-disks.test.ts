import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { deps, Console, eventually, forever, outgoing, TestHost, untilState } from './hypervisor-guest.ts'
import { makeAuthority, makeHost } from './hypervisor-certificates.ts'
import type { MachineDisk } from '../../src/hypervisor/hypervisor.ts'
import { qemuDiskImages } from '../../src/hypervisor/qemu-img.ts'

const images = qemuDiskImages(deps)
const MiB = 1024 * 1024

async function disk(
  host: TestHost,
  name: string,
  key = 1,
  format: 'qcow2' | 'raw' = 'qcow2',
  sizeBytes = 48 * MiB,
): Promise<MachineDisk> {
  const path = join(host.folder, name)
  await images.create(path, format, sizeBytes)
  return { key, path, format, bus: 'virtio', slot: String(2 + key), cache: 'writeback' }
}

function assertEqualImages(one: string, other: string): void {
  execFileSync('qemu-img', ['compare', '-q', one, other], { stdio: 'pipe' })
}

test('a guest that writes moves with its disks over TLS, and every block is right', async () => {
  await using host = await TestHost.open()
  makeAuthority(host.folder)
  const tls = (name: string): { tlsDirectory: string } => ({ tlsDirectory: makeHost(host.folder, name) })
  const from = [await disk(host, 'a1.qcow2', 1), await disk(host, 'a2.raw', 2, 'raw', 8 * MiB)]
  const to = [await disk(host, 'b1.qcow2', 1), await disk(host, 'b2.raw', 2, 'raw', 8 * MiB)]
  const { machine: source, serial } = await host.boot(await host.config('a', { disks: from, ...tls('host-a') }))
  assert.match(await serial.command('disk write /dev/vdb 500 7'), /wrote 500/)
  serial.type('disk churn /dev/vda 600\n')
  await serial.until(/good 600 blocks generation 1/)

  const target = await host.start(await host.config('b', { disks: to, ...tls('host-b') }), 'incoming')
  const endpoint = await target.listen({
    listenHost: '127.0.0.1',
    peerTlsName: 'host-a',
    nbdDisks: [1, 2],
    allowPostCopy: false,
    then: 'complete',
  })
  assert.ok(endpoint.nbdPort !== null && endpoint.exports.length === 2)
  const phases = new Set<string>()
  const result = await source.migrateOut(
    outgoing(endpoint.port, {
      nbdPort: endpoint.nbdPort,
      exports: endpoint.exports,
      tlsName: 'host-b',
      onProgress: ({ phase }) => phases.add(phase),
    }),
    forever,
  )
  assert.equal(result.outcome, 'sent', result.reason ?? '')
  // What was never written is not copied.
  assert.ok(result.diskBytes > 4 * MiB, String(result.diskBytes))
  assert.ok(phases.has('disks') && phases.has('memory'))
  await untilState(target, 'running')
  await source.quit()
  const there = await Console.open(target)
  const before = there.text.length
  await eventually(
    'two more generations',
    () => (there.text.slice(before).match(/good 600 blocks/g)?.length ?? 0) >= 2 || undefined,
  )
  there.type('\u0003')
  assert.doesNotMatch(there.text, /BAD/)
  assert.match(await there.command('disk verify /dev/vdb 500 7'), /good 500/)
  await target.quit()
  for (const { path, format } of to) await images.check(path, format)
})

test('a target whose certificate has another name gets nothing, and the source runs on', async () => {
  await using host = await TestHost.open()
  makeAuthority(host.folder)
  const { machine: source, serial } = await host.boot(
    await host.config('a', { tlsDirectory: makeHost(host.folder, 'host-a') }),
  )
  const listen = { listenHost: '127.0.0.1', nbdDisks: [], allowPostCopy: false, then: 'complete' } as const
  const target = await host.start(await host.config('b', { tlsDirectory: makeHost(host.folder, 'host-b') }), 'incoming')
  const { port } = await target.listen({ ...listen, peerTlsName: 'host-a' })
  const result = await source.migrateOut(outgoing(port, { tlsName: 'host-c' }), forever)
  assert.equal(result.outcome, 'not-sent')
  assert.match(result.reason ?? '', /host-c|certificate/i)
  assert.equal(await source.state(), 'running')

  // And one who is not the announced source is turned away.
  const other = await host.start(await host.config('c', { tlsDirectory: join(host.folder, 'host-b') }), 'incoming')
  const stranger = await other.listen({ ...listen, peerTlsName: 'host-x' })
  assert.equal((await source.migrateOut(outgoing(stranger.port, { tlsName: 'host-b' }), forever)).outcome, 'not-sent')
  assert.equal(await serial.command('echo alive'), 'alive')
  assert.notEqual(await other.state(), 'running')
})

test('a move with disks that is cancelled leaves the guest and its disk as they were', async () => {
  await using host = await TestHost.open()
  const from = [await disk(host, 'a1.qcow2', 1, 'qcow2', 256 * MiB)]
  const to = [await disk(host, 'b1.qcow2', 1, 'qcow2', 256 * MiB)]
  const { machine: source, serial } = await host.boot(await host.config('a', { disks: from }))
  await serial.command('dd if=/dev/urandom of=/dev/vda bs=1M count=64 2>/dev/null; sync')
  for (const when of ['disks', 'memory'] as const) {
    const target = await host.start(await host.config(`b-${when}`, { disks: to }), 'incoming')
    const { port, nbdPort, exports } = await target.listen({
      listenHost: '127.0.0.1',
      peerTlsName: null,
      nbdDisks: [1],
      allowPostCopy: false,
      then: 'complete',
    })
    const controller = new AbortController()
    const maxBandwidth = when === 'disks' ? 4 * MiB : null
    const result = await source.migrateOut(
      outgoing(port, {
        nbdPort,
        exports,
        maxBandwidth,
        onProgress: ({ phase }) => phase === when && controller.abort(new Error('enough')),
      }),
      controller.signal,
    )
    assert.equal(result.outcome, 'not-sent', when)
    assert.equal(result.reason, 'cancelled', when)
    assert.equal(await source.state(), 'running')
    await target.quit()
  }
  assert.match(await serial.command('disk write /dev/vda 100 3; disk verify /dev/vda 100 3'), /good 100/)
})

test('a disk moves to another file under a writing guest, and only the new one counts after', async () => {
  await using host = await TestHost.open()
  const from = await disk(host, 'a1.qcow2')
  const { machine, serial } = await host.boot(await host.config('a', { disks: [from] }))
  serial.type('disk churn /dev/vda 400\n')
  await serial.until(/good 400 blocks generation 1/)
  const path = join(host.folder, 'moved.raw')
  await images.create(path, 'raw', 48 * MiB)
  const seen: number[] = []
  let isSwitched = false
  const beforeSwitch = async (): Promise<void> => {
    isSwitched = true
    assert.equal(await machine.state(), 'paused')
    // Both are equal while the guest stands still.
    execFileSync('qemu-img', ['compare', '-U', '-q', from.path, path], { stdio: 'pipe' })
  }
  await machine.moveDisk(1, { path, format: 'raw' }, (done) => seen.push(done), forever, beforeSwitch)
  assert.ok(isSwitched && seen.length > 0)
  assert.equal(await machine.state(), 'running')
  // The old file is let go, the new one is held.
  await images.info(from.path, 'qcow2')
  await assert.rejects(images.grow(path, 'raw', 49 * MiB), { code: 'wrong-state' })
  const before = serial.text.length
  await eventually(
    'another generation',
    () => (serial.text.slice(before).match(/good 400 blocks/g)?.length ?? 0) >= 2 || undefined,
  )
  serial.type('\u0003')
  assert.doesNotMatch(serial.text, /BAD/)

  // Back again, given up on the way.
  const controller = new AbortController()
  const back = join(host.folder, 'back.qcow2')
  await images.create(back, 'qcow2', 48 * MiB)
  controller.abort(new Error('enough'))
  await assert.rejects(
    machine.moveDisk(1, { path: back, format: 'qcow2' }, () => undefined, controller.signal),
    /enough/,
  )
  await machine.moveDisk(1, { path: back, format: 'qcow2' }, () => undefined, forever)
  assert.match(await serial.command('disk write /dev/vda 100 9; disk verify /dev/vda 100 9'), /good 100/)
  await machine.quit()
  await images.check(back, 'qcow2')
  assert.ok(existsSync(from.path))
  assert.throws(() => assertEqualImages(path, back))
})
