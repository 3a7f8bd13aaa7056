/**
 * VM monitoring, decided: whether a guest hangs or has panicked, and whether it is reset once more. Pure.
 *
 * A guest counts as hung only when all of this holds: an agent in it has answered since it began, that agent has been silent
 * for `hangAfterMs`, and for as long its disks were asked nothing and no frame left it. A guest without an agent is never
 * taken for hung. What its host has not counted (it was paused, moved, held in step, out of space, or its storage did not
 * answer) is in neither time.
 */
import type { VmObservation } from '../../contracts/host.ts'
import type { VmPolicies } from '../../contracts/inventory.ts'
import { defaultMonitoring, type MonitoredVm, type MonitoringPolicy } from '../../contracts/monitoring.ts'
import type { GuestObservation, MonitoringWish, ResetReason } from '../../contracts/monitoring.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { VmId } from '../../base/ids.ts'
import type { HostState } from './cluster-view.ts'

/** A guest is asked for so many signs of life in the time after which it counts as hung. */
const signsInTime = 6
const [soonestMs, usualMs] = [1000, 10_000]
/** A boot that was reset and is still seen after so long was not reset after all: it is tried again. */
const sameBootMs = 30_000

/** The policies with a change; what is not named stays as it is. */
export function changedPolicies(
  before: VmPolicies,
  wish: (Partial<Omit<VmPolicies, 'monitoring'>> & { readonly monitoring?: MonitoringWish }) | undefined,
): VmPolicies {
  const { monitoring, ...rest } = wish ?? {}
  const policies = { ...before, ...rest }
  if (monitoring === undefined) return policies
  return { ...policies, monitoring: { ...defaultMonitoring, ...before.monitoring, ...monitoring } }
}

/** The VMs whose guests the hosts are to watch, for their configuration. */
export function monitoredVms(
  vms: readonly { readonly id: VmId; readonly policies?: Pick<VmPolicies, 'monitoring'> }[],
): MonitoredVm[] {
  return vms.flatMap(({ id, policies }) => {
    const { reset, hangAfterMs } = policies?.monitoring ?? defaultMonitoring
    if (reset === 'off') return []
    const paceMs = Math.round(Math.min(usualMs, Math.max(soonestMs, hangAfterMs / signsInTime)))
    return [{ vm: id, everyMs: reset === 'on-panic-or-hang' ? paceMs : null }]
  })
}

export interface GuestSight {
  readonly run: RunRecord
  /** State of the record's host; null when the record names none. */
  readonly host: HostState | null
  /** The newest word of that host on the VM. */
  readonly observation: VmObservation | undefined
  /** A task works on the VM. */
  readonly isHeld: boolean
}

export type Judgement =
  /** Nothing can be said of it now. */
  | { readonly is: 'not-judged' }
  | { readonly is: 'well' }
  | { readonly is: ResetReason; readonly boot: string; readonly detail: string }

const notJudged: Judgement = { is: 'not-judged' }

export function judgeGuest(policy: MonitoringPolicy, { run, host, observation, isHeld }: GuestSight): Judgement {
  if (policy.reset === 'off' || isHeld || host !== 'connected') return notJudged
  if (run.phase !== 'running' || run.protection) return notJudged
  const guest = observation?.guest
  // A word on an older record may be of a guest that has moved since.
  if (guest === undefined || observation?.generation !== run.generation) return notJudged
  if (guest.isPanicked) return { is: 'panic', boot: guest.boot, detail: 'its kernel said that it has panicked' }
  if (observation.process !== 'running' || observation.outOfSpace) return notJudged
  if (policy.reset !== 'on-panic-or-hang' || !isHung(policy, guest)) return { is: 'well' }
  return { is: 'hang', boot: guest.boot, detail: hangWords(guest) }
}

function isHung({ hangAfterMs, startupGraceMs }: MonitoringPolicy, guest: GuestObservation): boolean {
  if (guest.agent !== 'silent' || guest.upMs < startupGraceMs) return false
  return guest.silentMs >= hangAfterMs && guest.idleMs >= hangAfterMs
}

function hangWords({ silentMs, idleMs }: GuestObservation): string {
  const seconds = (ms: number): string => `${Math.round(ms / 1000)} s`
  return `the agent in it has been silent for ${seconds(silentMs)}, its disks and NICs idle for ${seconds(idleMs)}`
}

/** What the VM's record has of its monitoring. */
export interface MonitoringHistory {
  /** When it was reset, as ISO 8601; none of longer ago than the window is needed. */
  readonly resets: readonly string[]
  /** The boot of the guest that was reset last. */
  readonly lastBoot: string | null
  /** The boot of the guest at which it was given up; null: it is not. */
  readonly gaveUpAt: string | null
}

export const noHistory: MonitoringHistory = { resets: [], lastBoot: null, gaveUpAt: null }

export type ResetDecision =
  | { readonly do: 'nothing' }
  | { readonly do: 'reset'; readonly why: ResetReason; readonly boot: string; readonly detail: string }
  /** It was reset too often: people are told, once for this boot. */
  | { readonly do: 'give-up'; readonly why: ResetReason; readonly boot: string; readonly detail: string }

/** `now`: by the wall clock, as in the history. A time that lies ahead of it (the clock was set back) counts. */
export function decideReset(
  policy: MonitoringPolicy,
  judgement: Judgement,
  history: MonitoringHistory,
  now: number,
): ResetDecision {
  if (judgement.is === 'not-judged' || judgement.is === 'well') return { do: 'nothing' }
  const { is: why, boot, detail } = judgement
  // What is seen may be older than the last reset. That it has failed is as good as certain only later.
  if (history.lastBoot === boot && now - Date.parse(history.resets.at(-1) ?? '') < sameBootMs) return { do: 'nothing' }
  if (recentResets(policy, history, now).length < policy.maxResets) return { do: 'reset', why, boot, detail }
  return history.gaveUpAt === boot ? { do: 'nothing' } : { do: 'give-up', why, boot, detail }
}

/** Those that count. */
export function recentResets({ windowMs }: MonitoringPolicy, { resets }: MonitoringHistory, now: number): string[] {
  return resets.filter((at) => now - Date.parse(at) < windowMs)
}
