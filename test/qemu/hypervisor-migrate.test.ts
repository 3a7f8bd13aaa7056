import assert from 'node:assert/strict'
import { test } from 'node:test'
import { clock, Console, eventually, forever, outgoing, record, TestHost, untilState } from './hypervisor-guest.ts'

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
  await eventually('an event says that it runs', () =>
    events.some((event) => event.kind === 'state' && event.state === 'running'),
  )
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

test('a move is cancelled, or left by its owner and settled; then it goes over several streams; then by post-copy', async () => {
  await using host = await TestHost.open()
  const { machine: source, serial } = await host.boot(await host.config('a', { memoryMiB: 160 }))
  const slow = 2 * 1024 * 1024

  const first = await host.start(await host.config('b1', { memoryMiB: 160 }), 'incoming')
  const controller = new AbortController()
  const cancelled = await source.migrateOut(
    outgoing((await first.listen({ ...plain, then: 'complete' })).port, {
      maxBandwidth: slow,
      onProgress: ({ fraction }) => fraction > 0.01 && controller.abort(new Error('enough')),
    }),
    controller.signal,
  )
  assert.deepEqual([cancelled.outcome, cancelled.reason], ['not-sent', 'cancelled'])
  assert.equal(await source.state(), 'running')
  await first.quit()

  // Its owner dies in the middle; whoever adopts it finds it outgoing, and settles it.
  const second = await host.start(await host.config('b2', { memoryMiB: 160 }), 'incoming')
  const { port } = await second.listen({ ...plain, then: 'complete' })
  const left = source.migrateOut(outgoing(port, { maxBandwidth: slow }), forever)
  await untilState(source, 'outgoing')
  await source[Symbol.asyncDispose]()
  assert.equal((await left).outcome, 'unknown')
  const adopted = await host.hypervisor.adopt('a', `${host.folder}/a`)
  assert.ok(adopted)
  assert.equal(await adopted.state(), 'outgoing')
  assert.equal((await adopted.settleOutgoing()).outcome, 'not-sent')
  assert.equal(await adopted.state(), 'running')
  await second.quit()

  const third = await host.start(await host.config('b3', { memoryMiB: 160 }), 'incoming')
  const streams = await third.listen({ ...plain, then: 'complete', multifdChannels: 3 })
  const moved = await adopted.migrateOut(outgoing(streams.port, { multifdChannels: 3 }), forever)
  assert.equal(moved.outcome, 'sent', moved.reason ?? '')
  await untilState(third, 'running')
  await adopted.quit()
  await adopted[Symbol.asyncDispose]()
  serial.close()

  const there = await Console.open(third)
  there.type('dirty 24 > /dev/null &\n')
  await clock.sleep(1000)
  const last = await host.start(await host.config('c', { memoryMiB: 160 }), 'incoming')
  const held = await last.listen({ ...plain, allowPostCopy: true, then: 'hold' })
  let asked = 0
  const phases = new Set<string>()
  const result = await third.migrateOut(
    outgoing(held.port, {
      allowPostCopy: true,
      maxBandwidth: 16 * 1024 * 1024,
      downtimeLimitMs: 1,
      onProgress: ({ phase }) => phases.add(phase),
      beforePostCopy: async () => {
        asked++
        assert.equal(await third.state(), 'outgoing')
      },
    }),
    forever,
  )
  assert.equal(result.outcome, 'sent', result.reason ?? '')
  assert.equal(asked, 1)
  await untilState(last, 'running')
  assert.equal(await third.state(), 'sent')
  await third.quit()
  const end = await Console.open(last)
  assert.match(await end.command('kill %1; echo still here'), /still here/)
})

test('a guest that is paused arrives paused', async () => {
  await using host = await TestHost.open()
  const source = await host.start(await host.config('a', { kernelBoot: null, memoryMiB: 32 }))
  await source.resume()
  await source.pause()
  for (const [name, told, isPausedThere] of [
    ['b', { isGuestPaused: true }, false],
    ['c', {}, true],
  ] as const) {
    const target = await host.start(await host.config(name, { kernelBoot: null, memoryMiB: 32 }), 'incoming')
    const { port } = await target.listen({ ...plain, ...told, then: 'complete' })
    if (isPausedThere) await target.pause()
    assert.equal((await source.migrateOut(outgoing(port), forever)).outcome, 'sent')
    await untilState(target, 'paused')
    await target.quit()
    await source.resume()
  }
})
