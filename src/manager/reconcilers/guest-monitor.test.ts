import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import type { VmObservation } from '../../contracts/host.ts'
import { defaultMonitoring } from '../../contracts/monitoring.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { fakeWorld, host1, host2 } from '../sagas/fake-world.ts'
import { neverStarted } from '../sagas/vm-create.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { HostRecord, RunRecordStored, VmRecord } from '../store/records.ts'
import type { ReconcilerDeps } from './deps.ts'
import { GuestMonitor } from './guest-monitor.ts'

const ids = Array.from({ length: 200 }, (_, at) => `vm-${at + 1}` as VmId)
const hostOf = (at: number): HostId => (at % 2 === 0 ? host1 : host2)

const vm = (id: VmId): VmRecord =>
  ({
    ...{ id, name: id, power: 'on', operation: null },
    policies: { restart: 'never', monitoring: { ...defaultMonitoring, reset: 'on-panic' } },
  }) as unknown as VmRecord
const run = (id: VmId, at: number): RunRecordStored => {
  const never = neverStarted(id, '', 1)
  return { ...never, run: { ...never.run, phase: 'running', host: hostOf(at), cause: null, generation: 1 } }
}
const panicked = (id: VmId): VmObservation =>
  ({
    ...{ vm: id, process: 'paused', generation: 1 },
    guest: { boot: '1-1', upMs: 1, agent: 'never', silentMs: 0, idleMs: 0, isPanicked: true },
  }) as unknown as VmObservation

test('each monitored VM is looked up, never searched for, and its host is asked once a look', async () => {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  const world = await fakeWorld({ store, clock, random: new SeededRandom(1) })
  const hosts = (await store.list('host')).items.map(({ value }) => value)
  const lists: Record<string, readonly unknown[]> = { vm: ids.map(vm), run: ids.map(run), host: hosts }
  const asked = { hosts: 0, states: 0, begun: 0 }
  const deps: ReconcilerDeps = {
    ...world.deps,
    hosts: {
      ...world.deps.hosts,
      report: () => assert.fail('no report is searched'),
      stateOf: (host: HostRecord) => (asked.states++, world.deps.hosts.stateOf(host)),
      observation: (host: HostId | null, id: VmId) => (id === 'vm-7' && host === host1 ? panicked(id) : undefined),
    },
    inventory: { list: (kind) => ((asked.hosts += Number(kind === 'host')), lists[kind] as never) },
    begin: () => Promise.resolve(((asked.begun += 1), 'task-1' as never)),
    nudge: () => undefined,
  }
  await new GuestMonitor(deps).look()
  assert.deepEqual(asked, { hosts: 1, states: hosts.length, begun: 1 })
})
