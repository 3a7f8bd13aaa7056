/** A VM's protection for people, from what should be, what the record says, and what the two hosts see. Pure. */
import { isOfPair, type GuestClock, type ProtectionObservation } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { Protection } from '../../contracts/vm-protection.ts'
import type { HostState } from './cluster-view.ts'

export interface ProtectionSight {
  readonly isWanted: boolean
  /** Why it is wanted and is not so, when the manager has said it. */
  readonly reason: string | null
  readonly run: RunRecord
  /** Of the primary; null when the record names none. */
  readonly host: HostState | null
  /** Names of the second's host and of who decides, and how their hosts are: null for the managers, or a host that is no more. */
  readonly second: string
  readonly arbiter: string
  readonly secondState: HostState | null
  readonly arbiterState: HostState | null
  /** The newest words of the two hosts, while they are connected. */
  readonly primarySees: ProtectionObservation | null
  readonly secondSees: ProtectionObservation | null
}

/** What people are shown. Total over all records. */
export function protectionState(sight: ProtectionSight): Protection {
  const { protection } = sight.run
  if (!protection) return withoutSecond(sight)
  const pair = { second: sight.second, arbiter: sight.arbiter, n: protection.n }
  const ofThisPair = (seen: ProtectionObservation | null): ProtectionObservation | null =>
    seen !== null && isOfPair(seen, protection) ? seen : null
  const [primary, second] = [ofThisPair(sight.primarySees), ofThisPair(sight.secondSees)]
  if (protection.phase === 'syncing') {
    return { state: 'syncing', ...pair, progress: primary?.progress ?? 0, bytesPerSecond: primary?.bytesPerSecond ?? 0 }
  }
  const isGoingOn = second?.phase === 'claiming' || second?.phase === 'running'
  if (isGoingOn && sight.host !== 'connected') return { state: 'failing-over', ...pair }
  const seen = primary ?? second
  return {
    state: 'protected',
    ...pair,
    lagMs: seen?.lagMs ?? null,
    epoch: seen?.epoch ?? null,
    epochMs: seen?.epochMs ?? null,
    pauseMs: seen?.pauseMs ?? null,
    bytesPerSecond: seen?.bytesPerSecond ?? null,
    heldBack: seen?.heldBack ?? null,
    clock: seen?.clock ?? null,
    problem: problemOf(sight, seen),
  }
}

function withoutSecond({ isWanted, reason, run }: ProtectionSight): Protection {
  if (!isWanted) return { state: 'unprotected' }
  if (run.phase === 'stopped') return { state: 'unprotected-because', reason: 'it is off' }
  if (run.phase === 'unknown') return { state: 'unprotected-because', reason: 'whether it runs is not known' }
  return { state: 'unprotected-because', reason: reason ?? 'its second copy is about to be made' }
}

function problemOf(sight: ProtectionSight, seen: ProtectionObservation | null): string | null {
  const { host, second, secondState, arbiter, arbiterState } = sight
  if (seen !== null && seen.problem !== null) return seen.problem
  if (host === 'connected') {
    if (arbiterState === null || arbiterState === 'connected') return clockProblem(seen?.clock ?? null)
    return `${arbiter}, which decides, is ${howItIs(arbiterState)}: nobody could go on alone until it is back or another decides`
  }
  const itself = `its host is ${howItIs(host)}`
  if (secondState === 'connected') return itself
  return `${itself}, and so is ${second}, which may have gone on with it: bring ${second} back`
}

function howItIs(state: HostState | null): string {
  return state === 'confirmed-off' ? 'confirmed off' : 'out of reach'
}

function clockProblem(clock: GuestClock | null): string | null {
  if (clock?.isBeyondLimit !== true) return null
  const unless = clock.isMeasured ? '' : ', unless something in it has set it right'
  return `its clock is ${(clock.lagMs / 1000).toFixed(1)} s behind${unless}`
}
