/** Whether a new rule can be kept beside those that there are: contradictions in words, and what is only noteworthy. Pure. */
import type { HostId, VmId } from '../../base/ids.ts'
import { hostsHeldBy, type ClusterView, type RuleView } from './cluster-view.ts'
import { vmOf } from './host-load.ts'

/** Why this rule contradicts others of the same strength; undefined when it does not. */
export function ruleContradiction(cluster: ClusterView, added: RuleView): string | undefined {
  const rules = [...(cluster.rules ?? []), added].filter((rule) => rule.strength === added.strength)
  const groups = togetherGroups(rules)
  const shape = shapeProblem(added)
  if (shape !== undefined) return shape
  for (const apart of rules.filter((rule) => rule.kind === 'apart')) {
    const seen = new Map<Group, VmId>()
    for (const vm of apart.vms) {
      const group = groups.get(vm)
      const other = group === undefined ? undefined : seen.get(group)
      if (group === undefined) continue
      if (other !== undefined) {
        const names = [other, vm].map((id) => vmOf(cluster, id)?.name ?? id).join(' and ')
        return `the rule ${apart.name} keeps ${names} apart, and ${namesOf(group.rules)} keeps them together`
      }
      seen.set(group, vm)
    }
  }
  return hostContradiction(cluster, rules, groups)
}

/** What is noteworthy of a rule as things are now. */
export function ruleWarnings(cluster: ClusterView, rule: RuleView): string[] {
  const warnings: string[] = []
  const hosts = cluster.hosts.filter((host) => host.state === 'connected' && host.maintenance === 'off')
  if (rule.kind === 'apart' && rule.vms.length > hosts.length) {
    warnings.push(`${rule.vms.length} VMs are to be apart, and ${hosts.length} hosts take VMs now`)
  }
  if (rule.kind === 'on-hosts' && !hosts.some((host) => rule.hosts.includes(host.id))) {
    warnings.push('none of its hosts takes VMs now')
  }
  const opposite = (cluster.rules ?? []).find(
    (other) => other.id !== rule.id && other.strength !== rule.strength && areOpposite(other, rule),
  )
  if (opposite !== undefined)
    warnings.push(
      `it is against the rule ${opposite.name}, which ${opposite.strength === 'must' ? 'comes first' : 'comes second'}`,
    )
  const broken = brokenNow(cluster, rule)
  if (broken !== undefined) warnings.push(broken)
  return warnings
}

interface Group {
  readonly rules: RuleView[]
  readonly vms: Set<VmId>
}

function shapeProblem(rule: RuleView): string | undefined {
  const isOfHosts = rule.kind === 'on-hosts' || rule.kind === 'not-on-hosts'
  if (!isOfHosts && new Set(rule.vms).size < 2) return `a rule of the kind ${rule.kind} names two VMs or more`
  if (isOfHosts && rule.hosts.length === 0) return `a rule of the kind ${rule.kind} names hosts`
  if (!isOfHosts && rule.hosts.length > 0) return `a rule of the kind ${rule.kind} names no hosts`
  return undefined
}

/** VMs that rules tie together, directly or through others. */
function togetherGroups(rules: readonly RuleView[]): Map<VmId, Group> {
  const groups = new Map<VmId, Group>()
  for (const rule of rules.filter((each) => each.kind === 'together')) {
    const joined: Group = { rules: [rule], vms: new Set(rule.vms) }
    for (const old of new Set(rule.vms.flatMap((vm) => groups.get(vm) ?? []))) {
      joined.rules.push(...old.rules)
      for (const vm of old.vms) joined.vms.add(vm)
    }
    for (const vm of joined.vms) groups.set(vm, joined)
  }
  return groups
}

/** A VM, or VMs that are together, to which rules leave no host of the inventory. */
function hostContradiction(
  cluster: ClusterView,
  rules: readonly RuleView[],
  groups: ReadonlyMap<VmId, Group>,
): string | undefined {
  const ofHosts = rules.filter((rule) => rule.kind === 'on-hosts' || rule.kind === 'not-on-hosts')
  for (const vm of new Set(ofHosts.flatMap((rule) => rule.vms))) {
    const tied = groups.get(vm)?.vms ?? new Set([vm])
    const concerned = ofHosts.filter((rule) => rule.vms.some((each) => tied.has(each)))
    let left: HostId[] = cluster.hosts.map((host) => host.id)
    for (const rule of concerned) {
      left = left.filter((host) => rule.hosts.includes(host) === (rule.kind === 'on-hosts'))
    }
    if (left.length > 0) continue
    const names = namesOf([...concerned, ...(groups.get(vm)?.rules ?? [])])
    return `${names} would leave no host for ${vmOf(cluster, vm)?.name ?? vm}`
  }
  return undefined
}

function namesOf(rules: readonly RuleView[]): string {
  const names = [...new Set(rules.map((rule) => rule.name))]
  return names.length === 1 ? `the rule ${names[0] ?? ''}` : `the rules ${names.join(', ')} together`
}

function areOpposite(one: RuleView, other: RuleView): boolean {
  const shared = one.vms.filter((vm) => other.vms.includes(vm))
  const kinds = [one.kind, other.kind].sort().join()
  return shared.length >= 2 && kinds === 'apart,together'
}

function brokenNow(cluster: ClusterView, rule: RuleView): string | undefined {
  const placed = rule.vms.flatMap((id) => {
    const vm = vmOf(cluster, id)
    const host = vm === undefined ? undefined : hostsHeldBy(vm)[0]
    return vm === undefined || host === undefined ? [] : [{ name: vm.name, host }]
  })
  const offender = placed.find(({ host }, at) => {
    switch (rule.kind) {
      case 'apart':
        return placed.slice(0, at).some((other) => other.host === host)
      case 'together':
        return placed[0]?.host !== host
      case 'on-hosts':
        return !rule.hosts.includes(host)
      case 'not-on-hosts':
        return rule.hosts.includes(host)
    }
  })
  return offender === undefined
    ? undefined
    : `it is broken now by ${offender.name}: nothing moves by itself, \`vm migrate\` mends it`
}
