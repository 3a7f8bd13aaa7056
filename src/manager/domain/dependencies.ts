/** Dependencies between VMs: cycles when they are made, and what a VM still waits for. Pure. */
import type { VmId } from '../../base/ids.ts'
import { defaultDependencySeconds } from '../../contracts/restart-words.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { RestartVm } from './restart-order.ts'

/** The cycle that the VM would be in with these dependencies, in names (`a → b → a`); undefined: none. */
export function dependencyCycle(
  vms: ReadonlyMap<VmId, Pick<RestartVm, 'id' | 'name' | 'dependsOn'>>,
  vm: { readonly id: VmId; readonly name: string },
  dependsOn: readonly VmDependency[],
): string | undefined {
  const seen = new Set<VmId>()
  const search = (path: readonly string[], next: readonly VmDependency[]): string | undefined => {
    for (const { vm: id } of next) {
      if (id === vm.id) return [...path, vm.name].join(' → ')
      const target = seen.has(id) ? undefined : vms.get(id)
      seen.add(id)
      if (target === undefined) continue
      const found = search([...path, target.name], target.dependsOn ?? [])
      if (found !== undefined) return found
    }
    return undefined
  }
  return search([vm.name], dependsOn)
}

export interface DependencyWorld {
  readonly vms: ReadonlyMap<VmId, Pick<RestartVm, 'id' | 'name' | 'power'>>
  readonly runs: ReadonlyMap<VmId, RunRecord>
  readonly nowMs: number
  /** Since when a VM waits to be started, or runs. */
  readonly sinceMs: (vm: VmId) => number
  /** Whether it was seen to be ready in its present life. */
  readonly isReady: (run: RunRecord, dependency: VmDependency) => boolean
}

export interface Unmet {
  readonly dependency: VmDependency
  readonly why: string
  /** Whether it runs, so that it can be asked whether it is ready. */
  readonly canBeAsked: boolean
}

/**
 * The first dependency that keeps the VM from being started; undefined: none. The time limit counts from when both stand as
 * they do: from the later of the moments at which the one began to wait and the other one came to run, or to wait.
 */
export function unmetDependency(world: DependencyWorld, vm: RestartVm): Unmet | undefined {
  for (const dependency of vm.dependsOn ?? []) {
    const target = world.vms.get(dependency.vm)
    const run = world.runs.get(dependency.vm)
    if (target === undefined || run === undefined) continue
    const mayStart = (dependency.onTimeout ?? 'start') === 'start'
    const runs = run.phase === 'running' || run.phase === 'moving'
    if (runs && (dependency.ready === 'running' || world.isReady(run, dependency))) continue
    // Nobody will start it.
    if (!runs && target.power === 'off' && mayStart) continue
    const limitMs = (dependency.timeoutSeconds ?? defaultDependencySeconds) * 1000
    const waitedMs = world.nowMs - Math.max(world.sinceMs(vm.id), world.sinceMs(target.id))
    if (mayStart && waitedMs >= limitMs) continue
    return { dependency, why: waitWords(target, runs, dependency), canBeAsked: runs }
  }
  return undefined
}

function waitWords(target: Pick<RestartVm, 'name' | 'power'>, runs: boolean, dependency: VmDependency): string {
  if (!runs && target.power === 'off') return `it waits for ${target.name}, which is powered off`
  if (!runs) return `it waits for ${target.name}, which does not run yet`
  if (dependency.ready === 'port') return `it waits for port ${dependency.port ?? 0} of ${target.name}`
  return `it waits for the agent in the guest of ${target.name}`
}
