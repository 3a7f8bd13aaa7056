/**
 * What is to be done about a VM whose primary is confirmed off. While it is protected, its second goes on by itself; a
 * manager only settles what nobody else can settle any more: it asks the arbiter in the name of the primary that is off, and
 * only when the second can surely not be about to win. Pure.
 */
import type { HostId } from '../../base/ids.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { RegisterAnswer } from '../../contracts/protection.ts'
import type { HostState } from './cluster-view.ts'

export type Fencing =
  /** Nothing is protected here: what it ran is down. */
  | { readonly is: 'fence' }
  /** Both are off: the register says which copy is the VM's. */
  | { readonly is: 'claim' }
  /** The second's host answers, and holds no copy any more, or one that was not in step: let it give up for certain, then ask. */
  | { readonly is: 'discard-and-claim'; readonly second: HostId; readonly n: number }
  | { readonly is: 'wait' }

/** `host` and `second` are the states of the record's hosts; `sees` is the second's newest word, while it is connected. */
export function planFencingOf(
  run: RunRecord,
  host: HostState | undefined,
  second: HostState | undefined,
  sees: VmObservation | null | undefined,
): Fencing {
  if (run.phase !== 'running' || host !== 'confirmed-off') return { is: 'wait' }
  const { protection } = run
  if (!protection) return { is: 'fence' }
  if (second === 'confirmed-off') return { is: 'claim' }
  if (second !== 'connected') return { is: 'wait' }
  // The pair may have begun although the record does not say so yet: a second that asks to run does not give up.
  const isSyncing = protection.phase === 'syncing'
  // Undefined is no word yet: a manager that has just begun. Null is a word: nothing of this VM is there.
  const holdsNone = sees === null || sees?.process === 'none'
  return isSyncing || holdsNone
    ? { is: 'discard-and-claim', second: protection.second, n: protection.n }
    : { is: 'wait' }
}

export type Settled =
  /** The primary had it, or has it now: its images are the VM's. */
  | { readonly is: 'primary' }
  /** The second had won before: its images are the VM's. */
  | { readonly is: 'second' }
  /** Nobody can say: a person must bring a host back. */
  | { readonly is: 'unknown'; readonly why: string }

/**
 * What an arbiter's answer to the claim for the primary means. `neverBegan`: the second has given up durably, and the record
 * never said that it was in step; then an arbiter that knows nothing of the pair has never heard of it.
 */
export function settledBy(answer: RegisterAnswer, neverBegan: boolean): Settled {
  if (neverBegan && answer.is === 'unknown') return { is: 'primary' }
  switch (answer.is) {
    case 'won':
      return { is: 'primary' }
    case 'lost':
      return { is: 'second' }
    case 'superseded':
      return { is: 'unknown', why: `its configuration was superseded by ${answer.next.n}` }
    case 'open':
    case 'unknown':
      return { is: 'unknown', why: 'its arbiter has lost its memory' }
  }
}
