/**
 * The cluster's rules of placement: what forbids a host to a VM (`must`), and what speaks against it (`should`). Pure.
 *
 * VMs that belong together follow those of them that run: only hosts that keep their VMs count, so that a host which is
 * emptied, or lost, binds nobody.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import {
  hostsHeldBy,
  reservedMiB,
  type ClusterView,
  type HostView,
  type Reason,
  type RuleView,
} from './cluster-view.ts'
import { promisedOn, vmOf } from './host-load.ts'

const kept = new WeakMap<readonly RuleView[], ReadonlyMap<VmId, readonly RuleView[]>>()

/** The rules that name a VM. */
export function rulesOf(cluster: Pick<ClusterView, 'rules'>, vm: VmId): readonly RuleView[] {
  const { rules = [] } = cluster
  if (rules.length === 0) return []
  let byVm = kept.get(rules)
  if (byVm === undefined) {
    const made = new Map<VmId, RuleView[]>()
    for (const rule of rules) {
      for (const each of rule.vms) {
        const own = made.get(each) ?? []
        own.push(rule)
        made.set(each, own)
      }
    }
    kept.set(rules, made)
    byVm = made
  }
  return byVm.get(vm) ?? []
}

/** Why rules that must be kept forbid this host to the VM. */
export function ruleReasons(cluster: ClusterView, host: HostView, vm: VmId): Reason[] {
  return rulesOf(cluster, vm).flatMap((rule): Reason[] => {
    if (rule.strength !== 'must') return []
    const why = broken(cluster, rule, host, vm)
    return why === undefined ? [] : [{ code: 'rule', message: `the rule ${rule.name} forbids ${host.name}: ${why}` }]
  })
}

/** How much speaks against this host for the VM, 0 where nothing does: broken `should` rules, a group that finds no room. */
export function ruleWeight(cluster: ClusterView, host: HostView, vm: VmId): number {
  let weight = 0
  for (const rule of rulesOf(cluster, vm)) {
    if (rule.strength === 'should' && broken(cluster, rule, host, vm) !== undefined) weight += 1
    if (rule.kind === 'together' && rule.strength === 'must' && !hasRoomForGroup(cluster, rule, host)) weight += 1
  }
  return weight
}

/** Why the VM would break this rule on this host, in words; undefined: it would not. */
function broken(cluster: ClusterView, rule: RuleView, host: HostView, vm: VmId): string | undefined {
  switch (rule.kind) {
    case 'on-hosts':
      return rule.hosts.includes(host.id) ? undefined : onlyOn(cluster, rule)
    case 'not-on-hosts':
      return rule.hosts.includes(host.id) ? 'it is to run on other hosts' : undefined
    case 'apart': {
      const other = partners(cluster, rule, vm).find((each) => each.hosts.includes(host.id))
      return other === undefined ? undefined : `${other.name} is there`
    }
    case 'together': {
      const placed = partners(cluster, rule, vm).flatMap((each) => {
        const hosts = each.hosts.filter((id) => keepsVms(cluster, id))
        return hosts.length === 0 ? [] : [{ name: each.name, hosts }]
      })
      const elsewhere = placed.find((each) => !each.hosts.includes(host.id))
      return elsewhere === undefined ? undefined : `${elsewhere.name} is on another host`
    }
  }
}

function onlyOn(cluster: ClusterView, rule: RuleView): string {
  const names = rule.hosts.flatMap((id) => cluster.hosts.find((each) => each.id === id)?.name ?? [])
  return names.length === 0 ? 'none of its hosts is there any more' : `it is to run on ${names.join(', ')}`
}

function partners(cluster: ClusterView, rule: RuleView, vm: VmId): { name: string; hosts: HostId[] }[] {
  return rule.vms.flatMap((id) => {
    const other = id === vm ? undefined : vmOf(cluster, id)
    return other === undefined ? [] : [{ name: other.name, hosts: hostsHeldBy(other) }]
  })
}

function keepsVms(cluster: ClusterView, id: HostId): boolean {
  const host = cluster.hosts.find((each) => each.id === id)
  return host?.state === 'connected' && host.maintenance === 'off'
}

/** Whether those of the group that run nowhere would all fit: the first of them chooses for the rest. */
function hasRoomForGroup(cluster: ClusterView, rule: RuleView, host: HostView): boolean {
  const total = host.facts?.memoryMiB ?? 0
  const free = total - reservedMiB(total) - promisedOn(cluster, host.id).memoryMiB
  const nowhere = rule.vms.flatMap((id) => vmOf(cluster, id) ?? []).filter((each) => hostsHeldBy(each).length === 0)
  return nowhere.reduce((sum, each) => sum + each.spec.memoryMiB, 0) <= free
}
