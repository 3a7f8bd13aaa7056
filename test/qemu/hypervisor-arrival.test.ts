/** The target's owner at the moment of arrival: what it must do, and that it may be dead just then. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { openQmp } from '../../src/hypervisor/qmp.ts'
import { qemuDiskImages } from '../../src/hypervisor/qemu-img.ts'
import type { MachineDisk } from '../../src/hypervisor/hypervisor.ts'
import { clock, deps, eventually, forever, outgoing, TestHost, untilState } from './hypervisor-guest.ts'
import { makeAuthority, makeHost } from './hypervisor-certificates.ts'
import { Wire } from './hypervisor-proxy.ts'

const images = qemuDiskImages(deps)
const small = { kernelBoot: null, memoryMiB: 32 } as const

async function disk(host: TestHost, name: string): Promise<MachineDisk> {
  const path = join(host.folder, name)
  await images.create(path, 'qcow2', 4 * 1024 * 1024)
  return { key: 1, path, format: 'qcow2', bus: 'virtio', slot: '3', cache: 'writeback' }
}

test('a guest with moved disks that arrives while nobody owns it is let go by whoever adopts it', async () => {
  await using host = await TestHost.open()
  const source = await host.start(await host.config('a', { ...small, disks: [await disk(host, 'a.qcow2')] }))
  await source.resume()
  const target = await host.start(
    await host.config('b', { ...small, disks: [await disk(host, 'b.qcow2')] }),
    'incoming',
  )
  const { port, nbdPort, exports } = await target.listen({
    listenHost: '127.0.0.1',
    peerTlsName: null,
    nbdDisks: [1],
    allowPostCopy: false,
    then: 'complete',
  })
  await target[Symbol.asyncDispose]()
  const result = await source.migrateOut(outgoing(port, { nbdPort, exports }), forever)
  assert.equal(result.outcome, 'sent', result.reason ?? '')

  const spare = await openQmp(await deps.network.connectUnix(join(host.folder, 'b/q/qmp2')), clock)
  await eventually(
    'the whole state',
    async () => (await spare.execute<{ status?: string }>('query-migrate')).status === 'completed' || undefined,
  )
  assert.equal((await spare.execute<{ status: string }>('query-status')).status, 'paused')
  spare.close()

  await using adopted = await host.hypervisor.adopt('b', join(host.folder, 'b'))
  assert.ok(adopted)
  await untilState(adopted, 'running')
  await adopted.pause()
  assert.equal(await adopted.state(), 'paused')
  // And its disk is locked like any other's.
  await assert.rejects(images.check(join(host.folder, 'b.qcow2'), 'qcow2'), { code: 'wrong-state' })
  await source.quit()
  const second = await host.config('c', {
    ...small,
    disks: [
      { key: 1, path: join(host.folder, 'b.qcow2'), format: 'qcow2', bus: 'virtio', slot: '3', cache: 'writeback' },
    ],
  })
  await assert.rejects(host.hypervisor.start(second, 'prelaunch'), /lock/)
})

test('a guest without moved disks arrives and runs with no owner at all', async () => {
  await using host = await TestHost.open()
  const source = await host.start(await host.config('a', small))
  await source.resume()
  const target = await host.start(await host.config('b', small), 'incoming')
  const { port } = await target.listen({
    listenHost: '127.0.0.1',
    peerTlsName: null,
    nbdDisks: [],
    allowPostCopy: false,
    then: 'complete',
  })
  await target[Symbol.asyncDispose]()
  assert.equal((await source.migrateOut(outgoing(port), forever)).outcome, 'sent')
  const spare = await openQmp(await deps.network.connectUnix(join(host.folder, 'b/q/qmp2')), clock)
  await eventually(
    'a running guest',
    async () => (await spare.execute<{ status: string }>('query-status')).status === 'running' || undefined,
  )
  spare.close()
  await using adopted = await host.hypervisor.adopt('b', join(host.folder, 'b'))
  assert.equal(await adopted?.state(), 'running')
})

test('over TLS too, a target that lacks the end of the stream is incomplete, and a source that goes on is alone', async () => {
  await using host = await TestHost.open()
  makeAuthority(host.folder)
  const source = await host.start(await host.config('a', { ...small, tlsDirectory: makeHost(host.folder, 'host-a') }))
  const tlsDirectory = makeHost(host.folder, 'host-b')
  await source.resume()
  const seen: string[] = []
  for (const cut of [
    { tail: 1, tailFrom: 20_000 },
    { tail: 40, tailFrom: 20_000 },
    { tail: 5000, tailFrom: 20_000 },
    { after: 3000 },
    { after: 200_000 },
  ]) {
    const target = await host.start(await host.config(`b-${seen.length}`, { ...small, tlsDirectory }), 'incoming')
    const { port } = await target.listen({
      listenHost: '127.0.0.1',
      peerTlsName: 'host-a',
      nbdDisks: [],
      allowPostCopy: false,
      then: 'complete',
    })
    await using wire = await Wire.open(port, cut)
    const { outcome, reason } = await source.migrateOut(outgoing(wire.port, { tlsName: 'host-b' }), forever)
    const there = await eventually('the end of the target', async () => {
      const state = await target.state()
      return state === 'incoming' ? undefined : state
    })
    seen.push(`${JSON.stringify(cut)}: ${outcome} ${there} (${reason ?? ''})`)
    if (outcome === 'not-sent') assert.match(there, /incoming-failed|gone/, seen.join('; '))
    else assert.equal(await source.state(), 'sent')
    await target.quit()
    if (outcome === 'sent') await source.resume()
  }
})

test('a target that is silent while hands are shaken stops the guest for seconds at most', async () => {
  await using host = await TestHost.open()
  makeAuthority(host.folder)
  const source = await host.start(
    await host.config('a', {
      ...small,
      disks: [await disk(host, 'a.qcow2')],
      tlsDirectory: makeHost(host.folder, 'host-a'),
    }),
  )
  await source.resume()
  const target = await host.start(
    await host.config('b', {
      ...small,
      disks: [await disk(host, 'b.qcow2')],
      tlsDirectory: makeHost(host.folder, 'host-b'),
    }),
    'incoming',
  )
  const { port, nbdPort, exports } = await target.listen({
    listenHost: '127.0.0.1',
    peerTlsName: 'host-a',
    nbdDisks: [1],
    allowPostCopy: false,
    then: 'complete',
  })
  await using stream = await Wire.open(port, { stall: 0 })
  await using disks = await Wire.open(nbdPort ?? 0, { stall: 0 })
  for (const options of [
    { nbdPort: disks.port, exports },
    { nbdPort: null, exports: [] },
  ]) {
    const started = clock.monotonic()
    const result = await source.migrateOut(outgoing(stream.port, { ...options, tlsName: 'host-b' }), forever)
    assert.equal(result.outcome, 'not-sent')
    assert.ok(clock.monotonic() - started < 20_000)
    assert.equal(await source.state(), 'running')
  }
})
