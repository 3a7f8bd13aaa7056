import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, TaskId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import type { Operation } from '../sagas/operation.ts'
import type { FenceHostParams } from '../sagas/host-fence.ts'
import { fenceHostSaga } from '../sagas/host-fence.ts'
import type { HostRecord, TaskRecord } from '../store/records.ts'
import { FenceHosts, type FenceReconcilerDeps } from './fence-hosts.ts'

const id = (n: number): HostId => `host-${n}` as HostId

/** Of six hosts the first three are lost. What is begun is in the inventory only when `tasks` says so. */
function sixHosts() {
  const clock = new VirtualClock()
  const records = [1, 2, 3, 4, 5, 6].map(
    (n) =>
      ({
        id: id(n),
        name: `h${n}`,
        facts: {},
        maintenance: 'off',
        confirmedOff: false,
        fence: { levels: [[{}]] },
      }) as never,
  ) as HostRecord[]
  const tasks: TaskRecord[] = []
  const begun: HostId[] = []
  const lists: Record<string, readonly unknown[]> = { host: records, run: [], task: tasks, cluster: [] }
  const deps = {
    ...{ clock, log: silentLogger, inventory: { list: (kind: string) => lists[kind] ?? [] } },
    store: {
      get: async (_: string, host: HostId) => ({ value: records.find((each) => each.id === host), revision: 1 }),
      commit: async () => ({ ok: true }),
    },
    hosts: {
      report: () => undefined,
      silentMs: (host: HostId) => (records.findIndex((each) => each.id === host) < 3 ? clock.monotonic() : 0),
      steadyMs: () => 60_000,
    },
    begin: async (_: string, build: () => Promise<Operation<FenceHostParams>>) => {
      begun.push((await build()).params.host)
      return `task-${begun.length}` as TaskId
    },
  }
  return { clock, tasks, begun, fencer: new FenceHosts(deps as unknown as FenceReconcilerDeps) }
}

test('a fencing that was begun counts before the inventory shows it', async () => {
  const { clock, tasks, begun, fencer } = sixHosts()
  await clock.advance(10_000)
  await fencer.look()
  await clock.advance(250)
  await fencer.look()
  assert.deepEqual(begun, [id(1)], 'one at a time')
  const task = { id: 'task-1', saga: fenceHostSaga.name, target: { kind: 'host', id: id(1) }, state: 'done' }
  const now = new Date(clock.now()).toISOString()
  tasks.push({ ...task, created: now, ended: now } as never)
  await clock.advance(250)
  await fencer.look()
  assert.equal(begun.length, 2, 'the first has ended by the inventory')
})
