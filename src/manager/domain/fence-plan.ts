/**
 * Which lost hosts are fenced now. A host that says nothing may be down, or the manager may be cut off; so nobody is fenced
 * without a witness: another host that went on reporting after this one fell silent. And whatever happens, only few are
 * fenced at once, and no more than a share of all within ten minutes: many silent hosts are a broken network of ours. Pure.
 */
import type { HostId } from '../../base/ids.ts'
import type { FencingSettings } from '../../contracts/fence.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { RunRecord } from '../../contracts/run-record.ts'

export const usualFencing: FencingSettings = {
  automatic: true,
  afterMs: 4000,
  atOnce: 1,
  mostShare: 0.5,
  agentTimeoutMs: 20_000,
}

/** What was set of it; the rest is as usual. */
export function withUsual(set: Partial<FencingSettings> | undefined): FencingSettings {
  return { ...usualFencing, ...set }
}

/** Whether a VM runs on the host, or is on its way to or from it. */
export function holdsVms(host: HostId, runs: readonly { readonly run: RunRecord }[]): boolean {
  return runs.some(({ run }) => {
    return run.phase !== 'stopped' && (run.host === host || run.target === host || run.protection?.second === host)
  })
}

/**
 * By so much longer must a host be silent than its witness. Hosts report every two seconds, each at its own moment: when all
 * fall silent together, their silences differ by less than this.
 */
export const witnessMs = 3000

/** A witness that has been silent for longer is none: this manager may have slept meanwhile. */
export const freshMs = 3000

/**
 * For so long must a witness have gone on reporting. When a network that was cut is whole again, the first host to report
 * says nothing of those whose turn comes up to one interval later.
 */
export const steadyMs = 5000

/** Within this the share of all hosts is counted, but for those that were fenced and are back. */
export const shareWindowMs = 600_000

/** A fencing that has not ended after this long, as one that goes on failing, keeps no other host from being fenced. */
export const fruitlessMs = 60_000

export interface FenceCandidate {
  readonly id: HostId
  /** It has reported once, to whichever manager. */
  readonly isKnown: boolean
  readonly silentMs: number
  /** For how long it has gone on reporting without a gap. */
  readonly steadyMs: number
  readonly hasDevices: boolean
  readonly isConfirmedOff: boolean
  /** In maintenance and empty: whoever works on it switches it off and on as he likes. */
  readonly isIdle: boolean
}

export interface FencingTask {
  readonly host: HostId
  /** Null while it runs. */
  readonly endedAgoMs: number | null
  readonly ageMs: number
}

export type HeldReason = 'only-host' | 'no-witness' | 'at-once' | 'share'

export interface FencePlan {
  readonly fence: readonly HostId[]
  /** Lost, and not fenced now. */
  readonly held: readonly { readonly host: HostId; readonly reason: HeldReason }[]
}

/** Whether another host went on reporting after this one fell silent, and has done so for a while. */
export function hasWitness(
  host: HostId,
  hosts: readonly Pick<FenceCandidate, 'id' | 'isKnown' | 'silentMs' | 'steadyMs'>[],
): boolean {
  const silentMs = hosts.find(({ id }) => id === host)?.silentMs ?? 0
  return hosts.some((other) => {
    return other.id !== host && other.isKnown && isSteady(other) && silentMs - other.silentMs >= witnessMs
  })
}

/** It reports, and has gone on doing so for a while. */
function isSteady(host: Pick<FenceCandidate, 'silentMs' | 'steadyMs'>): boolean {
  return host.silentMs <= freshMs && host.steadyMs >= steadyMs
}

/** Silent for its term, and to be fenced for that if nothing speaks against it. */
export function isLost(host: FenceCandidate, { afterMs }: Pick<FencingSettings, 'afterMs'>): boolean {
  return host.isKnown && host.silentMs >= afterMs && !host.isConfirmedOff && !host.isIdle && host.hasDevices
}

/** `paused`: hosts whose last fencing came to nothing a moment ago. */
export function planFence(
  hosts: readonly FenceCandidate[],
  tasks: readonly FencingTask[],
  settings: FencingSettings,
  paused: ReadonlySet<HostId>,
): FencePlan {
  const known = hosts.filter(({ isKnown }) => isKnown)
  const running = tasks.filter(({ endedAgoMs }) => endedAgoMs === null)
  let slots = settings.atOnce - running.filter(({ ageMs }) => ageMs < fruitlessMs).length
  const back = new Set(known.filter((host) => isSteady(host) && !host.isConfirmedOff).map(({ id }) => id))
  // One that goes on failing for longer switches nothing off: it must not keep others on for ever.
  const counts = ({ host, endedAgoMs, ageMs }: FencingTask): boolean =>
    (endedAgoMs ?? ageMs) < shareWindowMs && (endedAgoMs === null || !back.has(host))
  const recent = new Set(tasks.filter(counts).map(({ host }) => host))
  const most = Math.max(1, Math.floor(known.length * settings.mostShare))
  const [fence, held]: [HostId[], { host: HostId; reason: HeldReason }[]] = [[], []]
  if (!settings.automatic) return { fence, held }
  for (const host of known) {
    if (!isLost(host, settings) || paused.has(host.id) || running.some((task) => task.host === host.id)) continue
    const reason = whyHeld(host.id, known, { slots, recent, most })
    if (reason !== null) {
      held.push({ host: host.id, reason })
      continue
    }
    fence.push(host.id)
    slots--
    recent.add(host.id)
  }
  return { fence, held }
}

function whyHeld(
  host: HostId,
  known: readonly FenceCandidate[],
  { slots, recent, most }: { slots: number; recent: ReadonlySet<HostId>; most: number },
): HeldReason | null {
  if (known.length < 2) return 'only-host'
  if (!hasWitness(host, known)) return 'no-witness'
  if (slots <= 0) return 'at-once'
  return !recent.has(host) && recent.size >= most ? 'share' : null
}

export const heldWords: Record<HeldReason, string> = {
  'only-host': 'it is the only host: there is nowhere to start its VMs',
  'no-witness': 'no other host has reported since: this manager may be cut off itself',
  'at-once': 'another host is being fenced',
  share: 'too many hosts were fenced within ten minutes: that looks like a broken network',
}

/** The newest report of a host when it was switched off; null: there was none. */
export type ReportMark = { readonly session: string; readonly sequence: number } | null

export function markOf(report: HostReport | undefined): ReportMark {
  return report === undefined ? null : { session: report.session, sequence: report.sequence }
}

/** Whether a report came after the mark was set. */
export function isNewer(mark: ReportMark, report: HostReport | undefined): boolean {
  if (report === undefined) return false
  return mark?.session !== report.session || report.sequence > mark.sequence
}

/**
 * What a host's newest report says of its fencing. `silent`: it has said nothing since. `rebooted`: another agent speaks, so
 * it was off and is on again (or was never off), and speaks for itself. `lied`: the one that was switched off goes on.
 */
export function judgeSilence(mark: ReportMark, report: HostReport | undefined): 'silent' | 'rebooted' | 'lied' {
  if (!isNewer(mark, report)) return 'silent'
  return mark?.session === report?.session ? 'lied' : 'rebooted'
}
