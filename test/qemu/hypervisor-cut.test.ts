/**
 * Exactly one copy runs, wherever the stream between source and target breaks. What is tried here is what outgoing.ts
 * claims of QEMU.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { IncomingOptions, Machine, OutgoingResult } from '../../src/hypervisor/hypervisor.ts'
import { clock, forever, outgoing, TestHost, untilState } from './hypervisor-guest.ts'
import { Wire, type Cut } from './hypervisor-proxy.ts'

const plain: IncomingOptions = {
  listenHost: '127.0.0.1',
  peerTlsName: null,
  nbdDisks: [],
  allowPostCopy: false,
  then: 'complete',
}

async function tryMove(
  host: TestHost,
  source: Machine,
  name: string,
  cut: Cut,
  incoming: IncomingOptions = plain,
): Promise<{ result: OutgoingResult; target: Machine; sent: number }> {
  const target = await host.start(await host.config(name), 'incoming')
  const { port } = await target.listen(incoming)
  await using wire = await Wire.open(port, cut)
  const result = await source.migrateOut(
    outgoing(wire.port, { allowPostCopy: incoming.allowPostCopy, downtimeLimitMs: 2000 }),
    forever,
  )
  return { result, target, sent: wire.sent }
}

/** How the target stands once it does not change any more. */
async function rest(target: Machine): Promise<string> {
  let state = await target.state()
  for (
    const until = clock.monotonic() + 4000;
    state === 'incoming' && clock.monotonic() < until;
    state = await target.state().catch(() => 'gone' as const)
  )
    await clock.sleep(20)
  return state
}

test('a stream that breaks on the way leaves the guest running at the source, and an incomplete target', async () => {
  await using host = await TestHost.open()
  const { machine: source, serial } = await host.boot(await host.config('a'))
  for (const after of [1, 1000, 100_000, 10_000_000]) {
    const { result, target } = await tryMove(host, source, `b${after}`, { after })
    assert.equal(result.outcome, 'not-sent', `cut after ${after}`)
    assert.ok(result.reason)
    assert.equal(await source.state(), 'running')
    assert.match(await rest(target), /incoming-failed|gone/)
    await target.quit()
  }
  assert.equal(await serial.command('echo alive'), 'alive')
  // Nobody says that the way is broken: silence is enough.
  const { result: silent, target: waiting } = await tryMove(host, source, 'silent', { stall: 2_000_000 })
  assert.deepEqual([silent.outcome, silent.reason], ['not-sent', 'the target takes nothing any more'])
  assert.equal(await source.state(), 'running')
  await waiting.quit()
  // The tail of the stream is lost after the source handed it over: it stands still, and may go on once the target is discarded.
  for (const tail of [1, 2, 300, 60_000]) {
    const { result, target } = await tryMove(host, source, `t${tail}`, { tail })
    assert.equal(result.outcome, 'sent', `the last ${tail} bytes lost: ${result.reason ?? ''}`)
    assert.equal(await source.state(), 'sent')
    assert.match(await rest(target), /incoming-failed|gone/, `without the last ${tail} bytes`)
    await target.quit()
    await source.resume()
    assert.equal(await source.state(), 'running')
  }
  assert.equal(await serial.command('echo alive'), 'alive')
  serial.close()
})

test('near the end too, a source that goes on has no complete target beside it', async () => {
  await using host = await TestHost.open()
  const { machine: source } = await host.boot(await host.config('a'))
  const { sent } = await tryMove(host, source, 'whole', {})
  for (const [at, back] of [200_000, 20_000, 1].entries()) {
    if ((await source.state()) === 'sent') await source.resume()
    const { result, target } = await tryMove(host, source, `e${at}`, { after: sent - back })
    const there = await rest(target)
    if (result.outcome === 'not-sent') assert.match(there, /incoming-failed|gone/)
    else assert.equal(await source.state(), 'sent')
    await target.quit()
  }
})

test('with a return path the lost answer lets the source go on: so the target holds', async () => {
  await using host = await TestHost.open()
  const { machine: source } = await host.boot(await host.config('a'))
  const { result, target } = await tryMove(
    host,
    source,
    'b',
    { answers: true },
    { ...plain, allowPostCopy: true, then: 'hold' },
  )
  assert.equal(result.outcome, 'not-sent')
  assert.equal(await source.state(), 'running')
  await untilState(target, 'incoming-complete')
  // Here is the danger that `hold` averts: the target has everything and could run.
  await clock.sleep(500)
  assert.equal(await target.state(), 'incoming-complete')
  await target.quit()
})
