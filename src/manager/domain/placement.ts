/** Which host takes a machine: filter, then score. Deterministic: the same snapshot gives the same host. */
import type { HostId } from '../../base/ids.ts'
import { idNumber } from '../../base/ids.ts'
import { reservedMiB, type ClusterView, type HostView, type Reason } from './cluster-view.ts'
import { reasonsAgainst, type Need } from './host-fit.ts'
import { promisedOn } from './host-load.ts'
import { ruleWeight } from './placement-rules.ts'

export interface HostRefusal {
  readonly host: HostId
  readonly name: string
  readonly reasons: readonly Reason[]
}

export type Placement =
  | { readonly ok: true; readonly host: HostId; readonly ranking: readonly { host: HostId; score: number }[] }
  | { readonly ok: false; readonly refusals: readonly HostRefusal[] }

export interface PlacementWish extends Need {
  /** The one host that is asked for. */
  readonly only?: HostId | undefined
  readonly exclude?: readonly HostId[]
}

/** The best host, with the ranking of all that fit; or why none fits, host by host. */
export function place(cluster: ClusterView, wish: PlacementWish): Placement {
  const candidates = cluster.hosts.filter(
    (host) => (wish.only === undefined || host.id === wish.only) && !(wish.exclude ?? []).includes(host.id),
  )
  const judged = candidates.map((host) => ({ host, reasons: reasonsAgainst(cluster, host, wish) }))
  const ranking = judged
    .filter(({ reasons }) => reasons.length === 0)
    .map(({ host }) => ({
      host: host.id,
      score: score(cluster, host, wish),
      against: wish.ignoresRules === true ? 0 : ruleWeight(cluster, host, wish.vm),
    }))
    .sort((a, b) => a.against - b.against || b.score - a.score || idNumber(a.host) - idNumber(b.host))
  const best = ranking[0]
  if (best !== undefined) return { ok: true, host: best.host, ranking }
  const refusals = judged.map(({ host, reasons }) => ({ host: host.id, name: host.name, reasons }))
  return { ok: false, refusals }
}

/**
 * 0–1, higher is better: what is promised to VMs counts, the share of memory that stays free and the vCPUs for each core.
 * The load weighs little: it says what was a while ago, and of VMs that were placed since it says nothing.
 */
function score(cluster: ClusterView, host: HostView, need: Need): number {
  const total = host.facts?.memoryMiB ?? 0
  const cores = Math.max(1, host.facts?.cpu.cores ?? 1)
  const usable = Math.max(1, total - reservedMiB(total))
  const promised = promisedOn(cluster, host.id, need.vm)
  const free = (usable - promised.memoryMiB - need.spec.memoryMiB) / usable
  const unpromised = 1 / (1 + promised.vcpus / cores)
  const idle = 1 - Math.min(1, host.load1 / cores)
  return Math.round((0.6 * free + 0.35 * unpromised + 0.05 * idle) * 10_000) / 10_000
}

/** The refusals as one sentence for people. */
export function describeRefusals(refusals: readonly HostRefusal[]): string {
  if (refusals.length === 0) return 'there is no host'
  return refusals.flatMap((refusal) => refusal.reasons.map((reason) => reason.message)).join('; ')
}
