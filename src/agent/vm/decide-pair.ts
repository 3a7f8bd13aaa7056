/**
 * What an agent does about a VM that is held in step on two hosts: nothing that its pump could be about to decide. Who may
 * go on is the arbiter's to say, and the pump's to find out; the run record follows. Pure, as decide.ts is.
 */
import type { RunRecord } from '../../contracts/run-record.ts'
import type { MachineState } from '../../hypervisor/hypervisor.ts'
import type { VmAction, VmView } from './decide.ts'
import type { HeldProtection } from './vm-state.ts'

export type PairAction =
  /** Win it for this side: the guest has ended by itself. */
  | { readonly do: 'end-protection' }
  /** Another arbiter decides by now: the record is to say so. */
  | { readonly do: 'tell-arbiter'; readonly decides: NonNullable<VmView['decides']> }
  /** End QEMU alone: the pump follows what comes of it. */
  | { readonly do: 'quit-held' }
  /** The second is wanted no more, and was never bound. */
  | { readonly do: 'drop-second' }
  /** This side is out: end QEMU, durably never again. */
  | { readonly do: 'give-up' }
  /** The record says what the pair came to. */
  | { readonly do: 'forget-protection' }

const nothing: VmAction = { do: 'nothing' }
const transition = (event: 'alone' | 'protected' | 'took-over' | 'adopted'): VmAction => {
  return { do: 'transition', event, cause: null }
}

/** Undefined: as of any other VM. */
export function decideOfPair(view: VmView): VmAction | undefined {
  const { protection } = view.state
  if (protection == null) return whenNotHeld(view)
  switch (protection.outcome) {
    case 'lost':
    case 'dropped':
      return { do: 'give-up' }
    case 'alone':
      return whenAlone(view, protection)
    case 'running':
      return whenTakenOver(view, protection)
    case null:
      return protection.side === 'primary' ? whenPrimary(view, protection) : whenSecond(view, protection)
  }
}

/** The record names a pair that this host holds no part of. */
function whenNotHeld({ record, me, machine, state }: VmView): VmAction | undefined {
  const { protection } = record
  if (record.phase !== 'running' || record.host !== me || protection == null) return undefined
  // It was lost here, and the record does not say so yet: that is the other side's to tell.
  if (protection.n <= (state.givenUp ?? 0)) return machine === 'gone' ? nothing : { do: 'forbid' }
  // It never began here, and never will: a pair begins on a record that names it.
  const hasEnded = machine === 'gone' || machine === 'shutdown' || machine === 'failed' || machine === 'panicked'
  return hasEnded ? transition('alone') : undefined
}

function whenPrimary(view: VmView, held: HeldProtection): VmAction {
  const { record, me, machine, pumpPhase, decides } = view
  if (record.phase === 'unknown' && runs(machine)) return transition('adopted')
  if (machine === 'shutdown') return { do: 'end-protection' }
  // Of a guest that has panicked the pump lets go by itself.
  if (machine === 'panicked' && view.keepsPanicked === true) return nothing
  if (machine === 'failed' || machine === 'panicked') return { do: 'quit-held' }
  if (!isOf(record, held) || record.host !== me) return nothing
  if (record.protection?.phase === 'syncing') return pumpPhase === 'protecting' ? transition('protected') : nothing
  return decides === undefined ? nothing : { do: 'tell-arbiter', decides }
}

function whenSecond({ record, me, pumpPhase }: VmView, held: HeldProtection): VmAction {
  const isWanted = record.phase === 'unknown' || (isOf(record, held) && record.protection?.second === me)
  return isWanted || pumpPhase !== 'candidate' ? nothing : { do: 'drop-second' }
}

function whenAlone({ record, me, machine }: VmView, held: HeldProtection): VmAction {
  if (record.phase === 'unknown') return runs(machine) ? transition('adopted') : nothing
  return isOf(record, held) && record.host === me ? transition('alone') : { do: 'forget-protection' }
}

/** The arbiter's word counts, whatever the record says: the guest is never forbidden. */
function whenTakenOver(view: VmView, held: HeldProtection): VmAction {
  const { record, me, machine } = view
  if (record.phase === 'unknown') return runs(machine) ? transition('adopted') : nothing
  if (record.phase === 'running' && record.host === me) return { do: 'forget-protection' }
  if (isOf(record, held) && record.protection?.second === me) return transition('took-over')
  switch (machine) {
    case 'gone':
      return { do: 'forget-protection' }
    case 'shutdown':
      return { do: 'end', cause: 'guest-shutdown' }
    case 'failed':
      return { do: 'end', cause: 'crashed' }
    case 'panicked':
      return view.keepsPanicked === true ? nothing : { do: 'end', cause: 'crashed' }
    default:
      return nothing
  }
}

function isOf({ phase, protection }: RunRecord, held: HeldProtection): boolean {
  return phase === 'running' && protection?.n === held.n
}

function runs(machine: MachineState): boolean {
  return machine === 'running' || machine === 'paused'
}
