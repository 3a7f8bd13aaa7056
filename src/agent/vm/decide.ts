/**
 * What an agent does about one VM, from the run record and what QEMU says. Pure, total, and the same after a restart as
 * at any other time: nothing here depends on how the two came to be.
 */
import type { HostId } from '../../base/ids.ts'
import type { MachineState } from '../../hypervisor/hypervisor.ts'
import type { ProtectionConfig, PumpPhase } from '../../contracts/protection.ts'
import type { AgentRunEvent, RunRecord, StopCause } from '../../contracts/run-record.ts'
import { decideOfPair, type PairAction } from './decide-pair.ts'
import type { VmState } from './vm-state.ts'

export interface VmView {
  readonly me: HostId
  readonly record: RunRecord
  readonly state: VmState
  readonly machine: MachineState
  /** This agent was connected from before anything could run, and saw nothing run. */
  readonly witnessed: boolean
  /** A migrateOut of this agent process drives the outgoing stream. */
  readonly isDriven: boolean
  /** As the pump of a pair says; undefined while none is known to run. */
  readonly pumpPhase: PumpPhase | undefined
  /** By which configuration, and by whom, the pump of a primary is bound, where the record names an older one. */
  readonly decides?: Pick<ProtectionConfig, 'n' | 'arbiter'>
  /** A guest that has panicked is kept as it is: the manager resets it. */
  readonly keepsPanicked?: boolean
}

export type VmAction =
  | { readonly do: 'nothing' }
  /** Let the vCPUs go: the record permits it. */
  | { readonly do: 'resume' }
  /** End QEMU; the role becomes `none`. */
  | { readonly do: 'quit' }
  /** A copy runs that must not: stand still at once, raise the alarm, then end it. */
  | { readonly do: 'forbid' }
  /** Give up the incoming side, durably. */
  | { readonly do: 'discard' }
  /** An incoming side ended unseen. */
  | { readonly do: 'mark-vanished' }
  /** Nothing is here: forget the role. */
  | { readonly do: 'clear' }
  /** Find out how an outgoing stream that nobody drives ends. */
  | { readonly do: 'settle-outgoing' }
  | { readonly do: 'transition'; readonly event: AgentRunEvent; readonly cause: StopCause | null }
  /** QEMU cannot go on: end it, then tell why. */
  | { readonly do: 'end'; readonly cause: StopCause }
  | PairAction

const nothing: VmAction = { do: 'nothing' }

const transition = (event: AgentRunEvent, cause: StopCause | null = null): VmAction => {
  return { do: 'transition', event, cause }
}

export function decide(view: VmView): VmAction {
  return decideOfPair(view) ?? decideAlone(view)
}

/** Of a VM of which this host holds no part of a pair. */
function decideAlone(view: VmView): VmAction {
  switch (view.machine) {
    case 'gone':
      return whenGone(view)
    case 'prelaunch':
      return isNewlyMine(view, view.state.deployment?.generation ?? 0) ? { do: 'resume' } : { do: 'quit' }
    case 'incoming':
      return isTarget(view) ? nothing : { do: 'discard' }
    case 'incoming-complete':
      if (!isTarget(view)) return { do: 'discard' }
      // Once post-copy has begun the source can never go on, so nobody's word is needed any more.
      return view.record.postCopy ? { do: 'resume' } : nothing
    case 'incoming-failed':
      return { do: 'discard' }
    case 'running':
    case 'paused':
      return whenRunning(view)
    case 'outgoing':
      return whenOutgoing(view)
    case 'sent':
      return whenSent(view)
    case 'panicked':
      return isKept(view) ? nothing : { do: 'end', cause: 'crashed' }
    case 'shutdown':
      return { do: 'end', cause: 'guest-shutdown' }
    case 'failed':
      return { do: 'end', cause: 'crashed' }
  }
}

/** Whether a panicked guest stays: it is this host's by right, and somebody is to look after it. */
export function isKept({ record, me, keepsPanicked }: VmView): boolean {
  return keepsPanicked === true && record.phase === 'running' && record.host === me
}

function isTarget({ record, me }: VmView): boolean {
  return record.phase === 'moving' && record.target === me
}

/** The generation with which the move of this record began. */
function moveOf({ generation, postCopy }: RunRecord): number {
  return generation - (postCopy ? 1 : 0)
}

/** The record names this host, and came to do so after `generation`. */
function isNewlyMine({ record, me }: VmView, generation: number): boolean {
  return (
    (record.phase === 'running' || record.phase === 'moving') && record.host === me && record.generation > generation
  )
}

function whenGone({ record, me, state, witnessed }: VmView): VmAction {
  if (record.phase === 'running' && record.host === me) return transition('stopped', 'crashed')
  const isTargeted = record.phase === 'moving' && record.target === me
  // It ran before it ended: it did arrive, and only then did it stop. What ran here before this move did not come by it.
  if (isTargeted && state.role === 'running' && (state.moveGeneration ?? 0) >= moveOf(record)) {
    return transition('arrived')
  }
  if (state.role === 'incoming') return witnessed || !isTargeted ? { do: 'discard' } : { do: 'mark-vanished' }
  return state.role === 'none' ? nothing : { do: 'clear' }
}

function whenRunning(view: VmView): VmAction {
  const { record, me, state, isDriven } = view
  switch (record.phase) {
    case 'running':
      return record.host === me ? nothing : { do: 'forbid' }
    case 'moving':
      if (record.target === me) return transition('arrived')
      if (record.host !== me) return { do: 'forbid' }
      if (state.outcome?.outcome === 'not-sent') return transition('returned')
      return state.role === 'outgoing' && !isDriven ? { do: 'settle-outgoing' } : nothing
    case 'unknown':
      return transition('adopted')
    case 'stopped':
      return { do: 'forbid' }
  }
}

/** In post-copy the record may name the target while this side still sends what the guest needs there: never end it. */
function whenOutgoing({ record, isDriven }: VmView): VmAction {
  if (record.phase === 'stopped') return { do: 'forbid' }
  return isDriven ? nothing : { do: 'settle-outgoing' }
}

function whenSent(view: VmView): VmAction {
  const { record, me, state } = view
  if (isNewlyMine(view, state.moveGeneration ?? 0) && record.phase === 'running') return { do: 'resume' }
  if (record.phase === 'stopped' || (record.phase === 'running' && record.host !== me)) return { do: 'quit' }
  // The agent that drove it died before it could note how it ended.
  return state.role === 'outgoing' && !view.isDriven ? { do: 'settle-outgoing' } : nothing
}
