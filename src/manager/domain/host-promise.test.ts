import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import { lossTermMs, usualLeaseTerms, type HostPromise } from '../../contracts/host-lease.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import {
  leftBehind,
  mayPromise,
  mayTake,
  planClosing,
  planLeaving,
  wishedArmed,
  wishedWitnesses,
} from './host-promise.ts'
import type { KeptPromise } from './host-promise.ts'

const [host1, host2, host3] = ['host-1', 'host-2', 'host-3'] as HostId[] as [HostId, HostId, HostId]
const [vm1, vm2] = ['vm-1', 'vm-2'] as VmId[] as [VmId, VmId]
const promise = (change: Partial<HostPromise> = {}): HostPromise => ({
  ...{
    round: 3,
    number: 7,
    since: 3,
    armed: [vm1],
    witnesses: [host2, host3],
    terms: usualLeaseTerms,
    watchdogMs: null,
  },
  ...change,
})
const kept = (change: Partial<KeptPromise> = {}): KeptPromise => ({
  ...{ id: host1, promise: promise(), isClosed: false },
  ...change,
})
const run = (id: VmId, change: Partial<RunRecord> = {}): { id: VmId; run: RunRecord } => ({
  id,
  run: { vm: id, phase: 'running', host: host1, protection: null, generation: 5, ...change } as RunRecord,
})
const host = (id: HostId, change: { confirmedOff?: boolean; maintenance?: 'off' | 'on' } = {}) => ({
  ...{ id, confirmedOff: false, maintenance: 'off' as const },
  ...change,
})

test('armed are the VMs of the host whose policy asks for it, but none that is held in step', () => {
  const vm = (id: VmId, isolation?: 'stop' | 'leave-running') => ({
    id,
    policies: isolation === undefined ? {} : { isolation },
  })
  const armed = (one: ReturnType<typeof vm>, its: ReturnType<typeof run>): VmId[] =>
    wishedArmed(host1, [one], (vm) => (vm === its.id ? its.run : undefined))
  assert.deepEqual(armed(vm(vm1, 'stop'), run(vm1)), [vm1])
  assert.deepEqual(armed(vm(vm1), run(vm1)), [], 'a record from before')
  assert.deepEqual(armed(vm(vm1, 'leave-running'), run(vm1)), [])
  assert.deepEqual(armed(vm(vm1, 'stop'), run(vm1, { host: host2 })), [])
  assert.deepEqual(armed(vm(vm1, 'stop'), run(vm1, { phase: 'stopped' })), [])
  const protection = { n: 1, second: host2, arbiter: host3, phase: 'protected' as const }
  assert.deepEqual(armed(vm(vm1, 'stop'), run(vm1, { protection })), [])
})

test('asked are all hosts that could be given its VMs', () => {
  const promises = new Map([host1, host2, host3].map((id) => [id, kept({ id })]))
  const asked = (second: ReturnType<typeof host>, known = promises): HostId[] =>
    wishedWitnesses(host1, [host(host1), second, host(host3)], known).map(({ id }) => id)
  assert.deepEqual(asked(host(host2)), [host2, host3])
  assert.deepEqual(asked(host(host2, { confirmedOff: true })), [host3])
  assert.deepEqual(asked(host(host2, { maintenance: 'on' })), [host3])
  assert.deepEqual(asked(host(host2), new Map([...promises, [host2, kept({ id: host2, isClosed: true })]])), [host3])
  assert.deepEqual(asked(host(host2), new Map([[host3, kept({ id: host3 })]])), [host3], 'an older agent')
})

test('the time until a round may be closed is the sum of its terms, with the hardware behind it', () => {
  const { termMs, askingMs, stopMs } = usualLeaseTerms
  assert.equal(lossTermMs(promise()), Math.ceil((termMs + askingMs + stopMs) * 1.01) + 200)
  assert.ok(lossTermMs(promise({ watchdogMs: 2000 })) >= lossTermMs(promise()) + 2000)
})

test('a round is closed after all of its terms, by who hears another host that has not vouched for it', () => {
  const term = lossTermMs(promise())
  const closed = (
    silentMs: number,
    other: number,
    vouches: { host: HostId; round: number }[] = [],
    state: 'unreachable' | 'connected' | 'confirmed-off' = 'unreachable',
  ) =>
    planClosing(
      [kept()],
      [
        { host: host1, state, silentMs, vouchedFor: [] },
        { host: host2, state: 'connected', silentMs: other, vouchedFor: vouches },
        { host: host3, state: 'unreachable', silentMs: 1e6, vouchedFor: [{ host: host1, round: 3 }] },
      ],
    ).length
  assert.equal(closed(term, 100), 1)
  assert.equal(closed(term, 100, [], 'confirmed-off'), 1)
  assert.equal(closed(term - 1, 100), 0)
  assert.equal(closed(term, 4000), 0, 'the managers may be cut off from all')
  assert.equal(closed(term, 100, [{ host: host1, round: 3 }]), 0)
  assert.equal(closed(term, 100, [{ host: host1, round: 2 }]), 1, 'that was for an earlier round')
  assert.equal(closed(term, 100, [{ host: host3, round: 3 }]), 1, 'that is for another host')
  assert.equal(closed(term, 100, [], 'connected'), 0)
  assert.deepEqual(
    planClosing([kept({ isClosed: true })], [{ host: host1, state: 'unreachable', silentMs: 1e6, vouchedFor: [] }]),
    [],
  )
})

test('left behind is what was armed and ran there as the round was closed, and only while its record has not moved', () => {
  const left = leftBehind(kept(), [run(vm1), run(vm2)])
  assert.deepEqual(left, [{ vm: vm1, generation: 5 }])
  assert.deepEqual(leftBehind(kept(), [run(vm1, { host: host2 })]), [])
  const closed = kept({ isClosed: true, left })
  assert.deepEqual(planLeaving([closed], [run(vm1)]), [{ host: host1, left: left[0] }])
  assert.deepEqual(planLeaving([closed], [run(vm1, { generation: 6 })]), [])
  assert.deepEqual(planLeaving([kept({ left })], [run(vm1)]), [])
})

test('a promise may be changed in its round until that is closed, and after that in a later one', () => {
  const may = (known: KeptPromise | undefined, change: Partial<HostPromise>): boolean =>
    mayPromise(known, promise(change))
  assert.equal(may(undefined, { round: 1 }), true)
  assert.equal(may(kept(), { armed: [vm2] }), true)
  assert.equal(may(kept({ isClosed: true }), {}), false)
  assert.equal(may(kept(), { round: 2 }), false)
  assert.equal(may(kept(), { round: 5, since: 2 }), true)
  assert.equal(may(kept({ isClosed: true }), { round: 4, since: 3 }), false, 'what runs on was started elsewhere')
  assert.equal(may(kept({ isClosed: true }), { round: 4, since: 4 }), true)
  assert.equal(may(kept(), { number: 7 }), true, 'the same one, sent again')
  assert.equal(may(kept(), { number: 6, armed: [vm1, vm2] }), false, 'an older one that was long on its way')
})

test('what was left behind is started by those who were asked, until the host is off or has begun anew', () => {
  const left = { host: host1, round: 3 }
  const closed = kept({ isClosed: true })
  assert.deepEqual(mayTake(left, host(host1), closed), [host2, host3])
  assert.equal(mayTake(left, host(host1, { confirmedOff: true }), closed), undefined)
  assert.equal(mayTake(left, undefined, undefined), undefined)
  assert.equal(mayTake(left, host(host1), kept({ promise: promise({ round: 4 }) })), undefined)
  assert.equal(mayTake(null, host(host1), closed), undefined)
})
