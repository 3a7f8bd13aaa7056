import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Console, forever, outgoing, record, TestHost, untilState } from './hypervisor-guest.ts'

const plain = { listenHost: '127.0.0.1', peerTlsName: null, nbdDisks: [], allowPostCopy: false } as const

test('a running guest moves: it goes on at the target, and stands still at the source', async () => {
  await using host = await TestHost.open()
  const { machine: source, serial } = await host.boot(await host.config('a'))
  await serial.command('echo remembered > /tmp/x')
  const target = await host.start(await host.config('b'), 'incoming')
  const events = record(target)
  assert.equal(await target.state(), 'incoming')
  const { port } = await target.listen({ ...plain, then: 'complete' })
  const phases = new Set<string>()
  const result = await source.migrateOut(outgoing(port, { onProgress: ({ phase }) => phases.add(phase) }), forever)
  assert.equal(result.outcome, 'sent', result.reason ?? '')
  assert.ok(result.ramBytes > 1e7 && result.totalMs > 0)
  assert.equal(await source.state(), 'sent')
  await untilState(target, 'running')
  assert.ok(events.some((event) => event.kind === 'state' && event.state === 'running'))
  const there = await Console.open(target)
  assert.equal(await there.command('cat /tmp/x'), 'remembered')
  await target.announce()
  await source.quit()
  // It can be paused like any other now, and move on.
  await target.pause()
  assert.equal(await target.state(), 'paused')
  assert.ok(phases.has('memory'))
})

test('a held guest waits for its release', async () => {
  await using host = await TestHost.open()
  const { machine: source } = await host.boot(await host.config('a'))
  const target = await host.start(await host.config('b'), 'incoming')
  const { port } = await target.listen({ ...plain, then: 'hold' })
  const result = await source.migrateOut(outgoing(port), forever)
  assert.equal(result.outcome, 'sent', result.reason ?? '')
  await untilState(target, 'incoming-complete')
  await target[Symbol.asyncDispose]()
  await using adopted = await host.hypervisor.adopt('b', `${host.folder}/b`)
  assert.equal(await adopted?.state(), 'incoming-complete')
  await adopted?.resume()
  assert.equal(await adopted?.state(), 'running')
})
