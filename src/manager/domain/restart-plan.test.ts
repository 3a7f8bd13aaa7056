import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { HostId, VmId } from '../../base/ids.ts'
import { restartPriorities, type RestartPriority } from '../../contracts/restart-words.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { aCluster, aHost, aRun, aVm } from './cluster-fixture.ts'
import type { ClusterView } from './cluster-view.ts'
import { dependencyCycle } from './dependencies.ts'
import { effectiveLevels, isToRestart, type RestartVm } from './restart-order.ts'
import { planRestarts, type RestartPlan, type RestartWorld } from './restart-plan.ts'

const id = (number: number): VmId => `vm-${number}` as VmId
const host = (number: number): HostId => `host-${number}` as HostId

interface Lost {
  readonly priority?: RestartPriority
  readonly dependsOn?: VmDependency[]
  readonly memoryMiB?: number
  readonly operation?: string
}

/** VMs 1 to n whose host was lost, and three hosts that live. */
function lost(vms: readonly Lost[], change: Partial<RestartWorld> & { cluster?: ClusterView } = {}): RestartWorld {
  const runs = new Map<VmId, RunRecord>(
    vms.map((_vm, at) => [id(at + 1), aRun({ vm: id(at + 1), cause: 'host-lost' })]),
  )
  const records = vms.map(({ priority, dependsOn = [], operation = null }, at): RestartVm => ({
    ...{ id: id(at + 1), name: `v${at + 1}`, power: 'on', operation, dependsOn },
    policies: {
      ...{ allowPostCopy: false, autoConverge: true, restart: 'on-failure' },
      ...(priority === undefined ? {} : { restartPriority: priority }),
    },
  }))
  const views = vms.map(({ memoryMiB = 64 }, at) => ({
    ...aVm(at + 1, null, { memoryMiB }),
    run: runs.get(id(at + 1))!,
  }))
  return {
    ...{
      vms: records,
      runs,
      cluster: aCluster({ vms: views }),
      nowMs: 10_000,
      sinceMs: () => 9000,
      isReady: () => false,
    },
    ...{ begunMs: new Map(), pausing: new Set(), openedMs: 0, unheard: new Set() },
    settings: { levelWaitMs: 60_000, startsPerHost: 4 },
    ...change,
  }
}

const started = (plan: RestartPlan): string[] => plan.start.map(({ vm }) => vm)
const codeOf = (plan: RestartPlan, vm: number): string | undefined =>
  plan.waits.find((each) => each.vm === id(vm))?.code

test('only the highest level is started, and the next when that one runs', () => {
  const world = lost([{ priority: 'low' }, { priority: 'critical' }, {}, { priority: 'critical' }])
  assert.deepEqual(started(planRestarts(world)), ['vm-2', 'vm-4'])
  const runs = new Map(world.runs)
  for (const vm of [2, 4]) runs.set(id(vm), aRun({ vm: id(vm), phase: 'running', host: host(1), cause: null }))
  assert.deepEqual(started(planRestarts({ ...world, runs })), ['vm-3'])
})

test('disabled is not started after the loss of a host, and is after a crash of its own', () => {
  const world = lost([{ priority: 'disabled' }])
  assert.deepEqual(started(planRestarts(world)), [])
  const runs = new Map([[id(1), aRun({ vm: id(1), cause: 'crashed' })]])
  assert.deepEqual(started(planRestarts({ ...world, runs })), ['vm-1'])
})

test('a start under way holds up lower levels for the bound and no longer; one that has failed does not', () => {
  const world = lost([{ priority: 'high', operation: 'task-1' }, {}])
  assert.deepEqual(started(planRestarts({ ...world, begunMs: new Map([[id(1), 0]]) })), [])
  assert.deepEqual(started(planRestarts({ ...world, nowMs: 60_000, begunMs: new Map([[id(1), 0]]) })), ['vm-2'])
  assert.deepEqual(started(planRestarts({ ...lost([{ priority: 'high' }, {}]), pausing: new Set([id(1)]) })), ['vm-2'])
})

test('a VM that no host has room for holds up nobody, and says so with figures', () => {
  const plan = planRestarts(lost([{ priority: 'critical', memoryMiB: 100_000 }, {}]))
  assert.deepEqual(started(plan), ['vm-2'])
  assert.match(plan.waits[0]?.why ?? '', /no host has room for it: h1 has 7 GiB of memory left, 97.7 GiB are needed/)
})

test('a VM that could run on a host that is not heard of holds up lower levels for the bound', () => {
  const cluster = (world: RestartWorld): ClusterView => ({
    ...world.cluster,
    hosts: [aHost(1), aHost(2, { state: 'unreachable' })],
  })
  const world = lost([{ priority: 'high', memoryMiB: 100_000 }, {}])
  assert.deepEqual(started(planRestarts({ ...world, cluster: cluster(world) })), [])
  assert.deepEqual(started(planRestarts({ ...world, cluster: cluster(world), sinceMs: () => -50_000 })), ['vm-2'])
})

test('a VM on a host that a new manager has not heard of yet comes before lower ones, for the bound', () => {
  const world = lost([{ priority: 'critical' }, {}])
  const runs = new Map(world.runs).set(id(1), aRun({ vm: id(1), phase: 'running', host: host(3), cause: null }))
  const unheard = new Set([host(3)])
  assert.deepEqual(started(planRestarts({ ...world, runs, unheard })), [])
  assert.deepEqual(started(planRestarts({ ...world, runs, unheard, openedMs: -50_000 })), ['vm-2'])
  assert.deepEqual(started(planRestarts({ ...world, runs })), ['vm-2'])
})

test('so many start on a host at a time; those that wait for their turn hold up lower levels', () => {
  const many = Array.from({ length: 9 }, (): Lost => ({ priority: 'high' }))
  const plan = planRestarts(lost([...many, {}], { settings: { levelWaitMs: 60_000, startsPerHost: 2 } }))
  assert.equal(plan.start.length, 6)
  for (const number of [1, 2, 3]) assert.equal(plan.start.filter((each) => each.host === host(number)).length, 2)
  assert.equal(codeOf(plan, 9), 'turn')
  assert.equal(codeOf(plan, 10), 'turn')
})

test('a VM waits for the one it depends on: until that runs, is ready, or the time is over', () => {
  const on = (change: Partial<VmDependency> = {}): VmDependency => ({ vm: id(2), ready: 'running', ...change })
  assert.deepEqual(started(planRestarts(lost([{ dependsOn: [on()] }, {}]))), ['vm-2'])
  const ready = lost([{ dependsOn: [on({ ready: 'port', port: 5432 })] }, {}])
  const runs = new Map(ready.runs).set(id(2), aRun({ vm: id(2), phase: 'running', host: host(1), cause: null }))
  const asking = planRestarts({ ...ready, runs })
  assert.deepEqual([started(asking), codeOf(asking, 1)], [[], 'dependency'])
  assert.deepEqual(
    asking.asks.map(({ run, dependency }) => [run.vm, dependency.port]),
    [['vm-2', 5432]],
  )
  assert.deepEqual(started(planRestarts({ ...ready, runs, isReady: () => true })), ['vm-1'])
  assert.deepEqual(started(planRestarts({ ...ready, runs, nowMs: 309_000 })), ['vm-1'], 'five minutes are the default')
  const patient = lost([{ dependsOn: [on({ ready: 'port', port: 5432, onTimeout: 'wait' })] }, {}])
  assert.deepEqual(started(planRestarts({ ...patient, runs, nowMs: 9_999_999 })), [])
})

test('a dependency that somebody has powered off is not waited for, unless it is to be waited for always', () => {
  const off = (dependency: VmDependency): RestartWorld => {
    const world = lost([{ dependsOn: [dependency] }, {}])
    return { ...world, vms: world.vms.map((vm) => (vm.id === id(2) ? { ...vm, power: 'off' } : vm)) }
  }
  assert.deepEqual(started(planRestarts(off({ vm: id(2), ready: 'running' }))), ['vm-1'])
  assert.deepEqual(started(planRestarts(off({ vm: id(2), ready: 'running', onTimeout: 'wait' }))), [])
})

test('what a critical VM waits for comes no later than itself', () => {
  const plan = planRestarts(
    lost([{}, { priority: 'low' }, { priority: 'critical', dependsOn: [{ vm: id(2), ready: 'running' }] }]),
  )
  assert.deepEqual(started(plan), ['vm-2'])
})

test('a cycle is named', () => {
  const vms = new Map(
    [1, 2, 3].map((n) => [
      id(n),
      { id: id(n), name: `v${n}`, dependsOn: n === 3 ? [] : [{ vm: id(n + 1), ready: 'running' as const }] },
    ]),
  )
  assert.equal(dependencyCycle(vms, { id: id(3), name: 'v3' }, [{ vm: id(1), ready: 'running' }]), 'v3 → v1 → v2 → v3')
  assert.equal(dependencyCycle(vms, { id: id(1), name: 'v1' }, [{ vm: id(3), ready: 'running' }]), undefined)
  assert.equal(dependencyCycle(vms, { id: id(1), name: 'v1' }, [{ vm: id(1), ready: 'running' }]), 'v1 → v1')
})

/** Dependencies on VMs of lower numbers alone: no cycles. */
const anyVms = fc.array(
  fc.record({ priority: fc.constantFrom(...restartPriorities), on: fc.option(fc.nat(20), { nil: undefined }) }),
  { minLength: 1, maxLength: 12 },
)

test('whatever the priorities and dependencies are: all are started, in order, none before what it depends on', () => {
  fc.assert(
    fc.property(anyVms, (drawn) => {
      const vms = drawn.map(({ priority, on }, at): Lost => {
        const dependsOn = on === undefined || at === 0 ? [] : [{ vm: id((on % at) + 1), ready: 'running' as const }]
        return { priority, dependsOn }
      })
      const order = startAll(lost(vms))
      const wanted = vms.flatMap(({ priority }, at) => (priority === 'disabled' ? [] : [id(at + 1)]))
      assert.deepEqual([...order].sort(), wanted.sort(), 'each once')
      const world = lost(vms)
      const levels = effectiveLevels(world.vms.filter((vm) => isToRestart(vm, world.runs.get(vm.id))))
      const reached = order.map((vm) => levels.get(vm) ?? 0)
      for (const [at, level] of reached.entries()) {
        // What waits past its time limit may come later; nothing comes before a higher level that could be started.
        const dependency = vms[Number(order[at]?.slice(3)) - 1]?.dependsOn?.[0]?.vm
        const isAfter = dependency === undefined || !wanted.includes(dependency) || order.indexOf(dependency) < at
        assert.ok(isAfter, `${order[at] ?? ''} is started before ${dependency ?? ''}`)
        const hasUnmet = vms.some(({ dependsOn }) => dependsOn?.some((each) => !wanted.includes(each.vm)))
        if (!hasUnmet) assert.ok(level >= (reached[at + 1] ?? 0), `${reached.join()} is not in order`)
      }
    }),
    { numRuns: 300 },
  )
})

/** Plans and starts until nothing is left; gives the order. */
function startAll(world: RestartWorld): VmId[] {
  const order: VmId[] = []
  const runs = new Map(world.runs)
  for (let round = 0; round < 100; round++) {
    const plan = planRestarts({ ...world, runs, nowMs: 10_000 + round * 30_000 })
    for (const { vm, host: on } of plan.start) {
      order.push(vm)
      runs.set(vm, aRun({ vm, phase: 'running', host: on, cause: null }))
    }
  }
  return order
}
