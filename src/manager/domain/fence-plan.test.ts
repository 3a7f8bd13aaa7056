import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId } from '../../base/ids.ts'
import type { HostReport } from '../../contracts/host.ts'
import {
  hasWitness,
  judgeSilence,
  planFence,
  usualFencing,
  type FenceCandidate,
  type FencingTask,
} from './fence-plan.ts'

const id = (n: number): HostId => `host-${n}` as HostId

/** Hosts by how long each is silent. */
function hosts(...silentMs: number[]): FenceCandidate[] {
  const usual = { steadyMs: 60_000, isKnown: true, hasDevices: true, isConfirmedOff: false, isIdle: false }
  return silentMs.map((silent, at) => ({ id: id(at + 1), silentMs: silent, ...usual }))
}

function plan(
  candidates: readonly FenceCandidate[],
  tasks: readonly FencingTask[] = [],
  change = {},
  paused: HostId[] = [],
) {
  return planFence(candidates, tasks, { ...usualFencing, ...change }, new Set(paused))
}

test('a host that is silent while another reports is fenced', () => {
  assert.deepEqual(plan(hosts(4000, 500, 900)), { fence: [id(1)], held: [] })
  assert.deepEqual(plan(hosts(3999, 500, 900)).fence, [])
})

test('when all fall silent together nobody is fenced, however they were out of step', () => {
  // Each reports every two seconds; the network broke at once for all. The longest silence reaches its term first.
  for (let ms = 0; ms < 20_000; ms += 100) {
    const candidates = hosts(ms + 1990, ms + 1000, ms)
    assert.deepEqual(plan(candidates).fence, [], `after ${ms} ms`)
  }
})

test('a witness must have reported well after the host fell silent', () => {
  assert.ok(hasWitness(id(1), hosts(4000, 1000)))
  assert.ok(!hasWitness(id(1), hosts(4000, 1001)))
  assert.ok(!hasWitness(id(1), hosts(4000)))
  assert.ok(!hasWitness(id(1), hosts(20_000, 3001)), 'it is as lost as this manager may be')
  const [lost, other] = hosts(9000, 0)
  assert.ok(!hasWitness(id(1), [lost!, { ...other!, isKnown: false }]), 'a host that never reported is none')
})

test('a host that has only just begun to report again is no witness', () => {
  const [lost, other] = hosts(9000, 0)
  assert.ok(!hasWitness(id(1), [lost!, { ...other!, steadyMs: 4999 }]))
  assert.ok(hasWitness(id(1), [lost!, { ...other!, steadyMs: 5000 }]))
})

test('the only host is never fenced', () => {
  assert.deepEqual(plan(hosts(60_000)), { fence: [], held: [{ host: id(1), reason: 'only-host' }] })
})

test('of several lost hosts one is fenced at a time, and never more than half within ten minutes', () => {
  const six = hosts(9000, 9000, 9000, 9000, 100, 100)
  const first = plan(six)
  assert.deepEqual(first.fence, [id(1)])
  assert.deepEqual(
    first.held.map(({ reason }) => reason),
    ['at-once', 'at-once', 'at-once'],
  )
  const done = (n: number, endedAgoMs: number): FencingTask => ({ host: id(n), endedAgoMs, ageMs: endedAgoMs + 1000 })
  const three = [done(1, 1000), done(2, 1000), done(3, 1000)]
  const rest = six.map((host, at) => (at < 3 ? { ...host, isConfirmedOff: true } : host))
  assert.deepEqual(plan(rest, three), { fence: [], held: [{ host: id(4), reason: 'share' }] })
  assert.deepEqual(plan(rest, [done(1, 600_000), done(2, 1000), done(3, 1000)]).fence, [id(4)])
  assert.deepEqual(plan(rest, three, { mostShare: 1 }).fence, [id(4)])
})

test('a host that was fenced and reports steadily again does not count against the others', () => {
  const done: FencingTask = { host: id(1), endedAgoMs: 30_000, ageMs: 31_000 }
  const [back, lost, other] = hosts(100, 9000, 100)
  const held = [{ host: id(2), reason: 'share' }]
  assert.deepEqual(plan([back!, lost!, other!], [done]).fence, [id(2)])
  assert.deepEqual(plan([{ ...back!, steadyMs: 4999 }, lost!, other!], [done]).held, held, 'it only just came back')
  assert.deepEqual(plan([{ ...back!, silentMs: 3500 }, lost!, other!], [done]).held, held, 'it may be lost again')
  assert.deepEqual(plan([{ ...back!, isConfirmedOff: true }, lost!, other!], [done]).held, held)
  assert.deepEqual(plan([back!, lost!, other!], [{ ...done, endedAgoMs: null }], { atOnce: 2 }).held, held)
})

test('more than one may be fenced at a time where that is set', () => {
  assert.deepEqual(plan(hosts(9000, 9000, 9000, 0, 0, 0), [], { atOnce: 2 }).fence, [id(1), id(2)])
})

test('a fencing that does not succeed keeps others from theirs for a minute only', () => {
  const at = (ageMs: number): FencingTask => ({ host: id(1), endedAgoMs: null, ageMs })
  assert.equal(plan(hosts(90_000, 9000, 0, 0), [at(59_000)]).held[0]?.reason, 'at-once')
  assert.deepEqual(plan(hosts(90_000, 9000, 0, 0), [at(61_000)]).fence, [id(2)])
  assert.equal(plan(hosts(90_000, 9000, 0), [at(599_000)]).held[0]?.reason, 'share')
  assert.deepEqual(plan(hosts(700_000, 9000, 0), [at(601_000)]).fence, [id(2)], 'of three hosts too, after ten minutes')
})

test('a host is let be that is confirmed off, idle, without devices, never seen, paused, or being fenced', () => {
  for (const change of [{ isConfirmedOff: true }, { isIdle: true }, { hasDevices: false }, { isKnown: false }]) {
    const [lost, ...others] = hosts(9000, 0, 0)
    assert.deepEqual(plan([{ ...lost!, ...change }, ...others]), { fence: [], held: [] }, JSON.stringify(change))
  }
  assert.deepEqual(plan(hosts(9000, 0, 0), [], {}, [id(1)]).fence, [])
  assert.deepEqual(plan(hosts(9000, 0, 0), [{ host: id(1), endedAgoMs: null, ageMs: 90_000 }]).fence, [])
  assert.deepEqual(plan(hosts(9000, 0, 0), [], { automatic: false }), { fence: [], held: [] })
})

test('a report after the devices said off is a lie of theirs, or comes from a new life of the host', () => {
  const report = (session: string, sequence: number) => ({ session, sequence }) as HostReport
  const mark = { session: 'a', sequence: 5 }
  assert.equal(judgeSilence(mark, report('a', 5)), 'silent')
  assert.equal(judgeSilence(mark, undefined), 'silent')
  assert.equal(judgeSilence(mark, report('a', 6)), 'lied')
  assert.equal(judgeSilence(mark, report('b', 1)), 'rebooted')
  assert.equal(judgeSilence(null, report('b', 1)), 'rebooted')
  assert.equal(judgeSilence(null, undefined), 'silent')
})
