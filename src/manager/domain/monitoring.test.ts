import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import type { VmObservation } from '../../contracts/host.ts'
import { defaultMonitoring, type GuestObservation, type MonitoringPolicy } from '../../contracts/monitoring.ts'
import { aRun } from './cluster-fixture.ts'
import { changedPolicies, decideReset, judgeGuest, monitoredVms, noHistory } from './monitoring.ts'
import type { GuestSight, MonitoringHistory } from './monitoring.ts'

const policy: MonitoringPolicy = { ...defaultMonitoring, reset: 'on-panic-or-hang' }
const hung: GuestObservation = {
  ...{ boot: '7-1', upMs: 600_000, agent: 'silent', silentMs: 61_000, idleMs: 60_000, isPanicked: false },
}
const run = aRun({ phase: 'running', host: 'host-1' as HostId, cause: null, generation: 3 })

function sight(guest: Partial<GuestObservation> | undefined, change: Partial<VmObservation> = {}): GuestSight {
  const observation: VmObservation = {
    ...{ vm: 'vm-1' as VmId, process: 'running', generation: 3, discarded: null, problem: null, outOfSpace: false },
    ...{ startedAt: null, cpuSeconds: 0, rssMiB: 0, ...change },
    ...(guest === undefined ? {} : { guest: { ...hung, ...guest } }),
  }
  return { run, host: 'connected', observation, isHeld: false }
}
const judged = (given: GuestSight, by: MonitoringPolicy = policy) => judgeGuest(by, given).is

test('a guest hangs when its agent is silent and its disks and NICs are idle for long enough', () => {
  assert.equal(judged(sight({})), 'hang')
  assert.equal(judged(sight({ silentMs: 59_999 })), 'well')
  assert.equal(judged(sight({ idleMs: 59_999 })), 'well')
  assert.equal(judged(sight({ agent: 'answering' })), 'well')
  assert.equal(judged(sight({ agent: 'never' })), 'well')
  assert.equal(judged(sight({ upMs: 119_999 })), 'well')
  assert.equal(judged(sight({}), { ...policy, reset: 'on-panic' }), 'well')
  assert.equal(judged(sight({}), { ...policy, reset: 'off' }), 'not-judged')
})

test('a panic counts at once, also where hangs do not', () => {
  const panicked = sight({ isPanicked: true, agent: 'never', upMs: 1, silentMs: 0, idleMs: 0 }, { process: 'paused' })
  assert.equal(judged(panicked), 'panic')
  assert.equal(judged(panicked, { ...policy, reset: 'on-panic' }), 'panic')
  assert.equal(judged(panicked, { ...policy, reset: 'off' }), 'not-judged')
})

test('what cannot be judged is not: held, protected, moving, paused, out of space, of an older record or an older agent', () => {
  assert.equal(judged({ ...sight({}), isHeld: true }), 'not-judged')
  for (const host of ['unreachable', 'confirmed-off', 'never-seen', null] as const)
    assert.equal(judged({ ...sight({}), host }), 'not-judged')
  const protection = { n: 1, second: 'host-2' as HostId, arbiter: 'host-3' as HostId, phase: 'protected' as const }
  assert.equal(judged({ ...sight({}), run: { ...run, protection } }), 'not-judged')
  assert.equal(judged({ ...sight({}), run: { ...run, phase: 'moving' } }), 'not-judged')
  assert.equal(judged({ ...sight({}), run: { ...run, phase: 'stopped' } }), 'not-judged')
  assert.equal(judged(sight({}, { process: 'paused' })), 'not-judged')
  assert.equal(judged(sight({}, { process: 'outgoing' })), 'not-judged')
  assert.equal(judged(sight({}, { outOfSpace: true })), 'not-judged')
  assert.equal(judged(sight({}, { generation: 2 })), 'not-judged')
  assert.equal(judged(sight(undefined)), 'not-judged')
  assert.equal(judged({ ...sight({}), observation: undefined }), 'not-judged')
})

const at = (ms: number): string => new Date(ms).toISOString()
const hour = 3_600_000

test('one boot is reset once; the same is tried again only when it is seen long after', () => {
  const judgement = judgeGuest(policy, sight({}))
  const decided = (history: MonitoringHistory, now: number) => decideReset(policy, judgement, history, now).do
  assert.equal(decided(noHistory, hour), 'reset')
  const once = { resets: [at(hour)], lastBoot: '7-1', gaveUpAt: null }
  assert.equal(decided(once, hour + 29_000), 'nothing')
  assert.equal(decided(once, hour + 31_000), 'reset')
  assert.equal(decided({ ...once, lastBoot: '7-0' }, hour + 1), 'reset')
  assert.equal(decideReset(policy, { is: 'well' }, noHistory, hour).do, 'nothing')
})

test('after the most resets within the window it is given up, said once for each boot, until the window is over', () => {
  const judgement = judgeGuest(policy, sight({}))
  const history = { resets: [at(0), at(1000), at(2000)], lastBoot: '7-0', gaveUpAt: null }
  const decided = (given: MonitoringHistory, now: number) => decideReset(policy, judgement, given, now).do
  assert.equal(decided(history, 3000), 'give-up')
  assert.equal(decided({ ...history, gaveUpAt: '7-1' }, 3000), 'nothing')
  assert.equal(decided({ ...history, gaveUpAt: '7-0' }, 3000), 'give-up')
  assert.equal(decided(history, hour - 1), 'give-up')
  assert.equal(decided(history, hour), 'reset')
  // The wall clock was set back: what lies ahead counts.
  assert.equal(decided(history, -hour), 'give-up')
})

test('a policy that is changed in part keeps the rest, and begins with the defaults', () => {
  const before = { allowPostCopy: false, autoConverge: true, restart: 'on-failure' } as const
  assert.deepEqual(changedPolicies(before, { restart: 'never' }), { ...before, restart: 'never' })
  const on = changedPolicies(before, { monitoring: { reset: 'on-panic' } })
  assert.deepEqual(on.monitoring, { ...defaultMonitoring, reset: 'on-panic' })
  assert.deepEqual(changedPolicies(on, { monitoring: { maxResets: 1 } }).monitoring, {
    ...{ ...defaultMonitoring, reset: 'on-panic', maxResets: 1 },
  })
  assert.deepEqual(changedPolicies(on, { allowPostCopy: true }).monitoring, on.monitoring)
})

test('hosts watch the VMs that are monitored, and ask only those of which a hang counts', () => {
  const vm = (id: string, reset?: MonitoringPolicy['reset'], hangAfterMs = 60_000) => {
    return {
      id: id as VmId,
      ...(reset === undefined ? {} : { policies: { monitoring: { ...policy, reset, hangAfterMs } } }),
    }
  }
  const vms = [vm('vm-1'), vm('vm-2', 'off'), vm('vm-3', 'on-panic'), vm('vm-4', 'on-panic-or-hang')]
  assert.deepEqual(
    monitoredVms([...vms, vm('vm-5', 'on-panic-or-hang', 5000), vm('vm-6', 'on-panic-or-hang', 30_000)]),
    [
      { vm: 'vm-3', everyMs: null },
      { vm: 'vm-4', everyMs: 10_000 },
      { vm: 'vm-5', everyMs: 1000 },
      { vm: 'vm-6', everyMs: 5000 },
    ],
  )
})
