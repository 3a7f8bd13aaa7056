import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DatastoreId, DiskId, HostId, TaskId } from '../../base/ids.ts'
import type { HostReport, VmProcessState } from '../../contracts/host.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { transitionRun } from '../sagas/run-records.ts'
import { addVm, fakeWorld, host1, host2, host3, hostIds, shared, vm1 } from '../sagas/fake-world.ts'
import { neverProtected } from '../sagas/pair-records.ts'
import { neverStarted } from '../sagas/vm-create.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { DiskRecord, RunRecordStored, VmRecord } from '../store/records.ts'
import { noFigures } from '../../contracts/protection.ts'
import { planClockNews } from './clock-alarm.ts'
import { planFencing } from './confirmed-off.ts'
import { keptRevisions, planCompaction } from './history-retention.ts'
import { planAbsence, planTelling, RunRecordWatch } from './run-record-watch.ts'
import { planProtecting } from './protection.ts'
import { planCleaning } from './stale-copies.ts'
import { planPower } from './vm-power.ts'

const stopped = (cause: RunRecord['cause']): RunRecordStored => {
  const never = neverStarted(vm1, '', 1)
  return { ...never, run: { ...never.run, cause } }
}
const on = (host: HostId, change: Partial<RunRecord> = {}): RunRecordStored => {
  const never = neverStarted(vm1, '', 1)
  return { ...never, run: { ...never.run, phase: 'running', host, cause: null, generation: 3, ...change } }
}
const vm = (change: Partial<VmRecord> = {}): VmRecord =>
  ({ id: vm1, name: 'one', power: 'on', operation: null, policies: { restart: 'on-failure' }, ...change }) as VmRecord
const minute = 60_000

test('a VM that stopped without being asked is started again, and no other', () => {
  const started = (record: VmRecord, run: RunRecordStored) => planPower([record], [run], new Map(), 0).start
  for (const cause of ['crashed', 'host-lost', 'lost-in-move'] as const)
    assert.deepEqual(started(vm(), stopped(cause)), [vm1])
  for (const cause of ['asked', 'guest-shutdown', 'start-failed', 'never-started'] as const) {
    assert.deepEqual(started(vm(), stopped(cause)), [], cause)
  }
  assert.deepEqual(started(vm({ power: 'off' }), stopped('crashed')), [])
  assert.deepEqual(started(vm({ operation: 'task-1' as TaskId }), stopped('crashed')), [])
  assert.deepEqual(started(vm({ policies: { restart: 'never' } as VmRecord['policies'] }), stopped('crashed')), [])
  assert.deepEqual(started(vm(), on(host1)), [])
})

test('restarts come with growing pauses, and end for the hour', () => {
  const crashed = [stopped('crashed')]
  const begun: number[] = []
  for (let now = 0; now < 120 * minute; now += 1000) {
    const plan = planPower([vm()], crashed, new Map([[vm1, { restarts: begun, misses: [] }]]), now)
    if (plan.start.length > 0) begun.push(now)
  }
  const inFirstHour = begun.filter((at) => at < 60 * minute)
  assert.deepEqual(inFirstHour, [0, 10_000, 40_000, 160_000, 760_000])
  assert.deepEqual(
    planPower([vm()], crashed, new Map([[vm1, { restarts: inFirstHour, misses: [] }]]), 30 * minute).exhausted,
    [vm1],
  )
  assert.ok(begun.length > 5, 'it is tried again in the next hour')
})

test('a guest whose hosts are lost one after the other is started again at once, but not for ever', () => {
  const begun: number[] = []
  for (let now = 0; now < 60 * minute; now += 1000) {
    const plan = planPower([vm()], [stopped('host-lost')], new Map([[vm1, { restarts: begun, misses: [] }]]), now)
    if (plan.start.length > 0) begun.push(now)
  }
  assert.deepEqual(begun, [0, 1000, 2000, 12_000, 42_000, 162_000, 762_000])
})

test('starts that found no host are tried again and again, and take nothing from the restarts', () => {
  const misses: number[] = []
  for (let now = 0; now < 60 * minute; now += 1000) {
    const plan = planPower([vm()], [stopped('host-lost')], new Map([[vm1, { restarts: [], misses }]]), now)
    assert.deepEqual(plan.exhausted, [])
    if (plan.start.length > 0) misses.push(now)
  }
  assert.deepEqual(misses.slice(0, 6), [0, 2000, 7000, 22_000, 52_000, 82_000])
  assert.ok(misses.length > 100, String(misses.length))
})

test('only records that name a host that is confirmed off are fenced', () => {
  const states = new Map([
    [host1, 'confirmed-off' as const],
    [host2, 'unreachable' as const],
  ])
  const plan = (...runs: RunRecordStored[]) =>
    planFencing(runs, states, () => null).map(({ vm: id, generation, fencing }) => [id, generation, fencing.is])
  assert.deepEqual(plan(on(host1)), [[vm1, 3, 'fence']])
  assert.deepEqual(plan(on(host2), stopped('asked')), [])
  assert.deepEqual(plan(on(host1, { phase: 'moving', target: host2 })), [])
  const protection = { n: 1, second: host2, arbiter: host3, phase: 'protected' as const }
  assert.deepEqual(plan(on(host1, { protection })), [], 'the second may be going on')
})

const report = (host: HostId, process: VmProcessState): HostReport =>
  ({ host, vms: process === 'none' ? [] : [{ vm: vm1, process }] }) as unknown as HostReport

test('a host is told the record where its report disagrees with it', () => {
  const told = (run: RunRecordStored, ...reports: HostReport[]) => planTelling([run], reports).map(({ host }) => host)
  assert.deepEqual(told(on(host1), report(host1, 'running'), report(host2, 'none')), [])
  assert.deepEqual(told(on(host1), report(host1, 'none')), [host1])
  assert.deepEqual(told(on(host1), report(host2, 'running')), [host2])
  assert.deepEqual(told(on(host1), report(host2, 'sent')), [host2])
  assert.deepEqual(told(on(host1, { phase: 'moving', target: host2 }), report(host2, 'incoming')), [])
  assert.deepEqual(told(on(host1, { phase: 'unknown' }), report(host2, 'running')), [host2])
  assert.deepEqual(told(stopped('asked'), report(host1, 'prelaunch')), [])
})

test('absence is proved only when every host answers or is off', () => {
  const unknown = [on(host1, { phase: 'unknown' })]
  const hosts = (state: 'connected' | 'unreachable' | 'confirmed-off') => [
    { id: host1, state },
    { id: host2, state: 'connected' as const },
  ]
  assert.deepEqual(planAbsence(unknown, hosts('unreachable')), [])
  assert.deepEqual(planAbsence(unknown, hosts('confirmed-off')), [{ vm: vm1, generation: 3, ask: [host2] }])
  assert.deepEqual(planAbsence([on(host1)], hosts('connected')), [])
})

test('old copies are cleaned up where they are in reach and nobody works on the VM', () => {
  const disk: DiskRecord = {
    id: 'disk-1' as DiskId,
    v: 1,
    vm: vm1,
    datastore: shared,
    alsoAt: ['ds-2' as DatastoreId],
    kind: 'disk',
    sizeBytes: 1,
  }
  const reach = { datastores: new Set(['ds-2' as DatastoreId]), hosts: new Map() }
  assert.deepEqual(planCleaning([disk], [vm()], [on(host1)], reach), [vm1])
  assert.deepEqual(planCleaning([disk], [vm()], [on(host1)], { ...reach, datastores: new Set() }), [])
  assert.deepEqual(planCleaning([disk], [vm({ operation: 'task-1' as TaskId })], [on(host1)], reach), [])
  assert.deepEqual(planCleaning([disk], [vm()], [on(host1, { phase: 'moving' })], reach), [])
})

test('former copies are cleaned up where their host answers or is off for certain', () => {
  const image = { id: 'disk-7', v: 1, vm: vm1, datastore: shared, sizeBytes: 1, kind: 'disk' } as unknown as DiskRecord
  const former = [{ n: 1, host: host2, side: 'second' as const, disks: [image.id] }]
  const record = vm({ protection: { ...neverProtected, former } })
  const cleaned = (
    state: 'connected' | 'unreachable' | 'confirmed-off' | undefined,
    datastores = new Set([shared]),
  ) => {
    const hosts = new Map(state === undefined ? [] : [[host2, state] as const])
    return planCleaning([image], [record], [on(host1)], { datastores, hosts })
  }
  assert.deepEqual(cleaned('connected'), [vm1])
  assert.deepEqual(cleaned('confirmed-off'), [vm1])
  assert.deepEqual(cleaned(undefined), [vm1], 'a host that is no more')
  assert.deepEqual(cleaned('unreachable'), [])
  assert.deepEqual(cleaned('connected', new Set()), [])
})

test('a VM that is to be protected and is not gets a second copy, with growing pauses where that fails', () => {
  const wanted = vm({ protection: { ...neverProtected, isWanted: true } })
  const due = (record: VmRecord, run: RunRecordStored) => planProtecting([record], [run], new Map(), 0)
  assert.deepEqual(due(wanted, on(host1)), [vm1])
  assert.deepEqual(due(vm(), on(host1)), [])
  assert.deepEqual(due(wanted, stopped('asked')), [])
  assert.deepEqual(due({ ...wanted, operation: 'task-1' as TaskId }, on(host1)), [])
  assert.deepEqual(due({ ...wanted, power: 'off' }, on(host1)), [])
  const protection = { n: 1, second: host2, arbiter: host3, phase: 'syncing' as const }
  assert.deepEqual(due(wanted, on(host1, { protection })), [])
  const tries: number[] = []
  for (let now = 0; now < 20 * minute; now += 1000) {
    const misses = tries.length === 0 ? new Map() : new Map([[vm1, { count: tries.length, at: tries.at(-1)! }]])
    if (planProtecting([wanted], [on(host1)], misses, now).length > 0) tries.push(now)
  }
  assert.deepEqual(tries.slice(0, 5), [0, 5_000, 20_000, 80_000, 380_000])
})

test('history is forgotten in large pieces', () => {
  assert.equal(planCompaction(1, 1000), undefined)
  assert.equal(planCompaction(1, keptRevisions + 1000), undefined)
  assert.equal(planCompaction(1, keptRevisions + 20_000), 20_000)
})

test('after a restore nothing is started before each VM is adopted, or found nowhere', async () => {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  const world = await fakeWorld({ store, clock, random: new SeededRandom(1) })
  await addVm(world, { on: host2, datastore: shared })
  // As the store's own restore leaves it.
  await transitionRun({ store, clock }, vm1, { event: 'restored', incarnation: 2 })
  const run = async () => (await store.get('run', vm1))!.value.run
  assert.deepEqual([(await run()).phase, (await run()).incarnation], ['unknown', 2])
  const started = await transitionRun({ store, clock }, vm1, { event: 'started', by: host3 })
  assert.equal(started.ok, false)
  const watch = new RunRecordWatch({
    ...world.deps,
    inventory: { list: (kind) => lists.get(kind) as never },
    begin: () => Promise.reject(new Error('not used')),
    nudge: () => undefined,
  })
  const lists = new Map<string, unknown[]>()
  const look = async () => {
    for (const kind of ['host', 'run'] as const)
      lists.set(
        kind,
        (await store.list(kind)).items.map(({ value }) => value),
      )
    await watch.look()
  }
  await look()
  assert.equal((await run()).phase, 'unknown', 'host-2 still has it')
  for (const host of hostIds) world.agents.agent(host).crash()
  for (const host of hostIds) world.agents.agent(host).isUp = true
  await look()
  assert.deepEqual([(await run()).phase, (await run()).cause], ['stopped', 'host-lost'])
})

test('a clock that falls too far behind is news once, and once more when it is right again', () => {
  const held = on(host1, { protection: { n: 2, second: host2, arbiter: host3, phase: 'protected' } })
  const syncing = on(host1, { protection: { n: 2, second: host2, arbiter: host3, phase: 'syncing' } })
  const news = (isBeyondLimit: boolean | null, said: boolean | undefined, run = held, n = 2): number => {
    const protection = { ...neverProtected, ...(said === undefined ? {} : { isClockBehind: said }) }
    const clock = isBeyondLimit === null ? null : { lagMs: 1200, isMeasured: false, isBeyondLimit }
    const word = { side: 'primary', n, phase: 'protecting', ...noFigures, clock } as const
    return planClockNews([vm({ protection })], [run], () => word).length
  }
  assert.equal(news(true, false, held, 5), 1, 'another arbiter decides about the same pair')
  assert.equal(news(true, false, held, 1), 0, 'a word about an earlier pair')
  assert.deepEqual([news(true, undefined), news(true, false), news(true, true)], [1, 1, 0])
  assert.deepEqual([news(false, true), news(false, false), news(false, undefined)], [1, 0, 0])
  assert.deepEqual([news(null, true), news(true, false, syncing), news(true, false, stopped('asked'))], [0, 0, 0])
})
