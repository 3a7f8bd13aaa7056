/**
 * Admission control: whether the room that a cluster is to keep for failures of hosts is there. Memory counts as placement
 * counts it (what is promised to VMs, not what they use); VMs of priority `disabled` take room and are not started again. Pure.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import { formatSize, MiB } from '../../base/units.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import { mostHostFailures } from '../../contracts/restart-words.ts'
import type { AdmissionReport, AdmissionSettings, FailureForecast } from '../../contracts/restart.ts'
import { imagesOf, reservedMiB, type ClusterView, type HostView, type VmView } from './cluster-view.ts'
import { shortageAfter, worstFailures, type DemandClass, type FailureWorld, type Shortage } from './failure-search.ts'
import { lastingReasons } from './host-fit.ts'
import { promisedOn } from './host-load.ts'
import { rulesOf } from './placement-rules.ts'

export const admissionOff: AdmissionSettings = { policy: 'off' }

/** The figures of a cluster as it is. */
export function admissionReport(cluster: ClusterView, settings: AdmissionSettings = admissionOff): AdmissionReport {
  const survey = surveyOf(cluster)
  const { hosts } = survey
  const capacityMiB = total(hosts, capacityOf)
  const usedMiB = total(hosts, (host) => promisedOn(cluster, host.id).memoryMiB)
  const survives = survivedFailures(survey)
  const worst = survives + 1 < hosts.length ? worstFailures(survey.world, survives + 1) : undefined
  const reserved = reservedBy(settings, survey, capacityMiB)
  return {
    settings,
    ...{ capacityMiB, usedMiB, reservedMiB: reserved },
    isKept: problemOf(cluster, survey, settings) === undefined,
    survives,
    each: hosts.map((host) => forecast(cluster, survey, shortageAfter(survey.world, new Set([host.id])), [host.id])),
    worst: worst === undefined ? null : forecast(cluster, survey, worst, worst.hosts),
    bound: survey.bound,
  }
}

/** Why the room that is to be kept is not there, with the figures; undefined: it is. */
export function admissionProblem(cluster: ClusterView, settings: AdmissionSettings = admissionOff): string | undefined {
  return settings.policy === 'off' ? undefined : problemOf(cluster, surveyOf(cluster), settings)
}

/** The cluster once this host is empty: its VMs wait for room elsewhere. */
export function withoutHost(cluster: ClusterView, host: HostId): ClusterView {
  const hosts = cluster.hosts.map((each) => (each.id === host ? { ...each, maintenance: 'on' as const } : each))
  return { ...cluster, hosts }
}

interface Survey {
  /** Hosts that take VMs. */
  readonly hosts: readonly HostView[]
  readonly world: FailureWorld
  readonly bound: AdmissionReport['bound']
  /** VMs that would have to be started again if their host failed. */
  readonly vmsOn: ReadonlyMap<HostId | null, readonly VmView[]>
}

function problemOf(cluster: ClusterView, survey: Survey, settings: AdmissionSettings): string | undefined {
  const { hosts } = survey
  if (settings.policy === 'percent') {
    const percent = settings.percent ?? 25
    const capacity = total(hosts, capacityOf)
    const used = total(hosts, (host) => promisedOn(cluster, host.id).memoryMiB)
    const kept = Math.ceil((capacity * percent) / 100)
    if (used + kept <= capacity) return undefined
    return `${percent} % of the memory (${size(kept)} of ${size(capacity)}) is to stay free, and ${size(Math.max(0, capacity - used))} would be`
  }
  if (settings.policy !== 'hosts') return undefined
  const count = settings.hosts ?? 1
  const failures = `${count} host ${count === 1 ? 'failure' : 'failures'}`
  if (hosts.length <= count) {
    return `room for ${failures} is to be kept, and ${hosts.length} ${hosts.length === 1 ? 'host takes' : 'hosts take'} VMs`
  }
  const worst = worstFailures(survey.world, count)
  if (worst === undefined) return undefined
  const { problem } = forecast(cluster, survey, worst, worst.hosts)
  return `room for ${failures} is to be kept: ${problem ?? ''}`
}

function survivedFailures({ hosts, world }: Survey): number {
  let count = 0
  while (count < mostHostFailures && count + 1 < hosts.length && worstFailures(world, count + 1) === undefined)
    count += 1
  return count
}

function reservedBy(settings: AdmissionSettings, { hosts, vmsOn }: Survey, capacityMiB: number): number {
  if (settings.policy === 'percent') return Math.ceil((capacityMiB * (settings.percent ?? 25)) / 100)
  if (settings.policy === 'off') return 0
  const needs = hosts.map((host) => memoryOf(vmsOn.get(host.id) ?? [])).sort((a, b) => b - a)
  return needs.slice(0, settings.hosts ?? 1).reduce((sum, need) => sum + need, 0)
}

function forecast(
  cluster: ClusterView,
  { hosts, world, vmsOn }: Survey,
  shortage: Shortage | undefined,
  failed: readonly HostId[],
): FailureForecast {
  const names = failed.map((id) => cluster.hosts.find((host) => host.id === id)?.name ?? id)
  const displaced = [null, ...failed].flatMap((id) => vmsOn.get(id) ?? [])
  const left = hosts.filter((host) => !failed.includes(host.id))
  const freeMiB = total(left, (host) => Math.max(0, world.free.get(host.id) ?? 0))
  const needMiB = memoryOf(displaced)
  const problem =
    shortage === undefined
      ? null
      : `if ${names.join(' and ')} failed, VMs with ${size(needMiB)} would have to start elsewhere, ${size(freeMiB)} are free on the hosts that would be left, and one of ${size(shortage.sizeMiB)} might find no room`
  return { hosts: names, needMiB, freeMiB, vms: displaced.length, fits: shortage === undefined, problem }
}

function surveyOf(cluster: ClusterView): Survey {
  const hosts = cluster.hosts.filter(
    (host) => host.state === 'connected' && host.maintenance === 'off' && host.facts !== null,
  )
  const isUsable = new Set(hosts.map((host) => host.id))
  const groups = new Map<string, { hosts: Set<HostId>; barred: number; sizes: Map<HostId | null, number[]> }>()
  const bound: AdmissionReport['bound'][number][] = []
  const vmsOn = new Map<HostId | null, VmView[]>()
  const candidates = new Map<string, { hosts: Set<HostId>; barred: number; key: string }>()
  for (const vm of cluster.vms) {
    if ((vm.restartPriority ?? 'medium') === 'disabled') continue
    const home = homeOf(vm)
    if (home === undefined) continue
    const from = home !== null && isUsable.has(home) ? home : null
    const signature = signatureOf(cluster, vm)
    const able = candidates.get(signature) ?? candidatesOf(cluster, hosts, vm)
    candidates.set(signature, able)
    const others = able.hosts.size - (from !== null && able.hosts.has(from) ? 1 : 0) - able.barred
    if (others < 1) {
      bound.push({ vm: vm.id, name: vm.name, why: boundWords(able) })
      continue
    }
    const group = groups.get(able.key) ?? {
      hosts: able.hosts,
      barred: able.barred,
      sizes: new Map<HostId | null, number[]>(),
    }
    groups.set(able.key, group)
    push(group.sizes, from, vm.spec.memoryMiB)
    push(vmsOn, from, vm)
  }
  const free = new Map(hosts.map((host) => [host.id, capacityOf(host) - promisedOn(cluster, host.id).memoryMiB]))
  const classes: DemandClass[] = [...groups.values()]
  return { hosts, world: { classes, free }, bound, vmsOn }
}

/** Where the VM runs, or will; null: it waits for a host; undefined: it is off. */
function homeOf({ run, startingOn, isAwaited = false }: VmView): HostId | null | undefined {
  if (run.phase === 'stopped') return startingOn ?? (isAwaited ? null : undefined)
  return run.target ?? run.host
}

function candidatesOf(
  cluster: ClusterView,
  hosts: readonly HostView[],
  vm: VmView,
): { hosts: Set<HostId>; barred: number; key: string } {
  const rules = rulesOf(cluster, vm.id).filter((rule) => rule.strength === 'must')
  const able = hosts.filter(
    (host) =>
      lastingReasons(cluster, host, { vm: vm.id, spec: vm.spec }).length === 0 &&
      rules.every((rule) => rule.kind !== 'on-hosts' || rule.hosts.includes(host.id)) &&
      rules.every((rule) => rule.kind !== 'not-on-hosts' || !rule.hosts.includes(host.id)),
  )
  const apart = rules.filter((rule) => rule.kind === 'apart')
  const barred = apart.reduce((sum, rule) => sum + rule.vms.length - 1, 0)
  return { hosts: new Set(able.map((host) => host.id)), barred, key: `${able.map((host) => host.id).join()}/${barred}` }
}

function boundWords(able: { hosts: Set<HostId>; barred: number }): string {
  if (able.hosts.size === 0) return 'no host that takes VMs now could run it'
  if (able.barred > 0) return 'rules that keep VMs apart leave it no other host'
  return 'no other host has what it needs, such as its storage'
}

const signatures = new WeakMap<MachineSpec, string>()

/** VMs with the same signature can be taken by the same hosts. */
function signatureOf(cluster: ClusterView, vm: VmView): string {
  const { spec } = vm
  let own = signatures.get(spec)
  if (own === undefined) {
    const datastores = [...spec.disks.map((disk) => disk.datastore), spec.nvram?.datastore ?? '']
    const needs = [spec.cpu, spec.vcpus, spec.minQemu, spec.machineType, imagesOf(spec).sort()]
    own = JSON.stringify([
      needs,
      [...new Set(datastores)].sort(),
      [...new Set(spec.nics.map((nic) => nic.network))].sort(),
    ])
    signatures.set(spec, own)
  }
  const rules = rulesOf(cluster, vm.id)
  return rules.length === 0 ? own : `${own} ${rules.map((rule) => rule.id).join()}`
}

function capacityOf(host: HostView): number {
  const memory = host.facts?.memoryMiB ?? 0
  return memory - reservedMiB(memory)
}

function memoryOf(vms: readonly VmView[]): number {
  return vms.reduce((sum, vm) => sum + vm.spec.memoryMiB, 0)
}

function total(hosts: readonly HostView[], what: (host: HostView) => number): number {
  return hosts.reduce((sum, host) => sum + what(host), 0)
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key)
  if (list === undefined) map.set(key, [value])
  else list.push(value)
}

function size(memoryMiB: number): string {
  return formatSize(memoryMiB * MiB)
}

/** What a VM would need, for the words of a refusal. */
export function admissionRefusal(cluster: ClusterView, vm: VmId, problem: string): string {
  const view = cluster.vms.find((each) => each.id === vm)
  return `${view?.name ?? vm} needs ${size(view?.spec.memoryMiB ?? 0)}: ${problem}`
}
