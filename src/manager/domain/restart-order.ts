/**
 * Who comes first when VMs are started again: each by its restart priority, and a VM that another one waits for no later
 * than that one. Cycles of dependencies are refused when they are made; here they would only share one level. Pure.
 */
import { idNumber, type VmId } from '../../base/ids.ts'
import type { VmPolicies } from '../../contracts/inventory.ts'
import { defaultRestartPriority, restartPriorities, type RestartPriority } from '../../contracts/restart-words.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { ClusterView } from './cluster-view.ts'
import { rulesOf } from './placement-rules.ts'

/** What of a VM's record counts here. */
export interface RestartVm {
  readonly id: VmId
  readonly name: string
  readonly power: 'on' | 'off'
  readonly policies: VmPolicies
  readonly dependsOn?: readonly VmDependency[]
  readonly operation: string | null
}

export function priorityOf(policies: Pick<VmPolicies, 'restartPriority'>): RestartPriority {
  return policies.restartPriority ?? defaultRestartPriority
}

/** Whether a VM that stands like this is to be started again by itself. */
export function isToRestart(vm: RestartVm, run: RunRecord | undefined): boolean {
  if (vm.power !== 'on' || vm.policies.restart !== 'on-failure' || run?.phase !== 'stopped') return false
  // On a host that is well, what its priority says about the loss of hosts has no part in it.
  if (run.cause === 'crashed') return true
  return (run.cause === 'host-lost' || run.cause === 'lost-in-move') && priorityOf(vm.policies) !== 'disabled'
}

/** 0 (disabled) to 4 (critical). */
export function levelOf(vm: RestartVm): number {
  return restartPriorities.indexOf(priorityOf(vm.policies))
}

/** The level of each of these VMs, raised to that of the VMs among them that wait for it. */
export function effectiveLevels(vms: readonly RestartVm[]): Map<VmId, number> {
  const byId = new Map(vms.map((vm) => [vm.id, vm]))
  const levels = new Map<VmId, number>(vms.map((vm) => [vm.id, 0]))
  const raise = (vm: RestartVm, level: number): void => {
    if ((levels.get(vm.id) ?? 0) >= level) return
    levels.set(vm.id, level)
    for (const { vm: id } of vm.dependsOn ?? []) {
      const target = byId.get(id)
      if (target !== undefined) raise(target, level)
    }
  }
  for (const vm of vms) raise(vm, levelOf(vm))
  return levels
}

/** In order of their turn: by level; VMs that rules keep together one after the other; then by id. */
export function inRestartOrder<V extends RestartVm>(
  cluster: Pick<ClusterView, 'rules'>,
  vms: readonly V[],
  levels: ReadonlyMap<VmId, number>,
): V[] {
  const isHere = new Set(vms.map((vm) => vm.id))
  const place = new Map(vms.map((vm) => [vm.id, groupNumber(cluster, vm.id, isHere)]))
  const level = (vm: V): number => levels.get(vm.id) ?? 0
  const group = (vm: V): number => place.get(vm.id) ?? 0
  return [...vms].sort((a, b) => level(b) - level(a) || group(a) - group(b) || idNumber(a.id) - idNumber(b.id))
}

function groupNumber(cluster: Pick<ClusterView, 'rules'>, vm: VmId, isHere: ReadonlySet<VmId>): number {
  const tied = rulesOf(cluster, vm).filter((rule) => rule.kind === 'together' && rule.strength === 'must')
  const numbers = tied.flatMap((rule) => rule.vms.filter((id) => isHere.has(id)).map(idNumber))
  return Math.min(idNumber(vm), ...numbers)
}
