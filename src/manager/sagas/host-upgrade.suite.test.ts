import assert from 'node:assert/strict'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { UpgradeReport } from '../../contracts/host-upgrade.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { TaskRecord } from '../store/records.ts'
import { addVm, fakeWorld, host1, host2, shared, type FakeWorld } from './fake-world.ts'
import { upgradeHostOperation, upgradeHostSaga } from './host-upgrade.ts'
import type { HostUpgradeDeps } from './host-upgrade-deps.ts'
import { beginOptions } from './fake-operation.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'
import { commitChanges } from './vm-records.ts'

/** VMs move in no time, as the tasks of another engine would have it: the suite's own has one task. */
async function place(world: FakeWorld, vm: VmId, host: HostId): Promise<TaskId> {
  await commitChanges(world.deps, async () => {
    const stored = await world.deps.store.get('run', vm)
    if (stored?.value.run.host === host || stored === undefined) return undefined
    const { run } = stored.value
    const moved: RunRecord = { ...run, host, generation: run.generation + 1 }
    return [{ do: 'update', kind: 'run', value: { ...stored.value, run: moved }, expected: stored.revision }]
  })
  return `task-9${vm.replace('vm-', '')}` as TaskId
}

interface Scene {
  readonly world: FakeWorld
  readonly deps: HostUpgradeDeps
  /** How often its program was run. */
  readonly ran: Set<TaskId>
}

async function scene(tools: SuiteTools): Promise<Scene> {
  const world = await fakeWorld(tools)
  for (const name of ['one', 'two']) await addVm(world, { on: host1, datastore: shared, name })
  const ran = new Set<TaskId>()
  let startedAt = 0
  const report = (host: HostId): HostReport | undefined => {
    const said = world.deps.hosts.report(host)
    if (said === undefined || host !== host1) return said
    const isRenewed = ran.size > 0 && tools.clock.now() - startedAt > 3000
    const [task] = ran
    if (task === undefined) return { ...said, vms: [] }
    const upgrade: UpgradeReport = {
      ...{ task, state: isRenewed ? 'ended' : 'running', code: isRenewed ? 0 : null, lastLines: '' },
      ...{ startedAt: new Date(startedAt).toISOString(), endedAt: null },
    }
    return { ...said, vms: [], upgrade, session: isRenewed ? 'new' : said.session }
  }
  const api = {
    configure: async () => undefined,
    report: async () => report(host1),
    startUpgrade: async ({ task }: { task: TaskId }) => {
      if (!ran.has(task)) startedAt = tools.clock.now()
      ran.add(task)
    },
  }
  const hosts = { ...world.deps.hosts, report, agent: () => api as never }
  const deps: HostUpgradeDeps = {
    ...{ ...world.deps, hosts },
    operations: {
      leaveHost: (vm) => place(world, vm, host2),
      ended: async (id) => ({ id, state: 'done', ended: 'now' }) as unknown as TaskRecord,
      cancel: () => Promise.resolve(),
    },
    moveTo: (vm, host) => place(world, vm, host),
  }
  return { world, deps, ran }
}

/** Done: it was renewed, takes VMs, and has them back. Else it takes VMs again, or is kept empty because it may be half renewed. */
async function check({ world, ran }: Scene, end: TrialEnd): Promise<void> {
  const { store } = world.deps
  const { maintenance, renewal, upgraded } = (await store.get('host', host1))!.value
  assert.equal(renewal ?? null, null)
  const hosts = (await store.list('run')).items.map(({ value }) => value.run.host)
  const events = await store.events({ revision: 0, sequence: 0 }, 1000)
  assert.ok(events !== 'relist')
  const told = events.filter(({ type }) => type === 'host.upgraded').length
  assert.equal(told, upgraded === undefined ? 0 : 1)
  if (end.state === 'done') {
    assert.deepEqual([maintenance, ran.size, told], ['off', 1, 1])
    assert.deepEqual(hosts, [host1, host1])
    return
  }
  assert.notEqual(maintenance, 'entering')
  if (maintenance === 'on') assert.notEqual(ran.size === 0 && end.state === 'cancelled', true, 'nobody works on it')
  if (ran.size === 0 && maintenance === 'on') assert.equal(end.state, 'failed')
  if (upgraded !== undefined) assert.equal(maintenance, 'off')
}

sagaSuite({
  definition: upgradeHostSaga,
  faultyDeps: ['store', 'operations', 'moveTo', 'cluster'],
  world: async (tools) => {
    const set = await scene(tools)
    const params = { roll: 'task-99' as TaskId, host: host1, isByHand: false, timeoutSeconds: 1800 }
    const begin = async () => upgradeHostOperation(params, 'host1')
    return { ...(await beginOptions(begin)), deps: set.deps, check: (end) => check(set, end) }
  },
})
