/**
 * A host's lease: what lets its VMs be started elsewhere although nobody could switch it off (docs/design/0012).
 *
 * A host promises that the VMs that it has armed are stopped by its watchdog when no manager has answered it for `termMs` and
 * not every other host has vouched, within `askingMs`, that the managers are lost altogether. The promise is a record in the
 * store, of a *round*. The managers close the round when the host has been silent for longer than all of its terms together;
 * from then on nothing of the round holds, and the host begins another one when it is back.
 *
 * A host that vouches for another in a round starts no VM that this one left behind in that round, and one that has started
 * such a VM does not vouch. So either every VM of the round stays, or no host that could take one has vouched.
 */
import type { HostId } from '../base/ids.ts'
import { HostIdSchema, VmIdSchema } from './ids.ts'
import { Count, Nullable, OneOf, Open, Type, type Static } from './schema.ts'

/** What a host does with a VM when it hears no manager any more and others do. */
export const isolationPolicies = ['leave-running', 'stop'] as const

const Milliseconds = Type.Integer({ minimum: 0, maximum: 86_400_000 })

/** Terms of a lease, milliseconds each; the next begins when the one before is over. */
export const LeaseTerms = Open({
  /** From the sending of the last report that was answered, until the host doubts. */
  termMs: Milliseconds,
  /** Within which the other hosts are asked whether they hear a manager. */
  askingMs: Milliseconds,
  /** Within which the watchdog ends what is armed. */
  stopMs: Milliseconds,
})
export type LeaseTerms = Static<typeof LeaseTerms>

/** What the managers ask for, and what a host's agent of this version keeps. */
export const usualLeaseTerms: LeaseTerms = { termMs: 5000, askingMs: 2000, stopMs: 1000 }
/** How often a host reports while it holds a lease, milliseconds; and after a report that nobody answered. */
export const [leaseReportMs, leaseRetryMs] = [1000, 400]

/** Another host, as it is asked. */
export const Witness = Open({
  host: HostIdSchema,
  /** `https://…` of its agent. */
  url: Type.String(),
  tlsName: Type.String(),
})
export type Witness = Static<typeof Witness>

/** What a host promises, as the store keeps it. */
export const HostPromise = Open({
  /** Raised by one with each new beginning; a closed round is never used again. */
  round: Count,
  /** VMs that its watchdog stops. */
  armed: Type.Array(VmIdSchema),
  /** Hosts that must all vouch before it goes on without a manager. */
  witnesses: Type.Array(HostIdSchema),
  terms: LeaseTerms,
  /** Term of the hardware watchdog that resets the machine when the program that stops VMs does not live; null: there is none. */
  watchdogMs: Nullable(Milliseconds),
  /** Raised with each promise of a host: one that comes late does not take the place of a newer one. */
  number: Count,
  /**
   * Nothing that was armed in a round before this one is left on the host; what was armed in this one or a later one may run.
   * So a round can follow a closed one only when all of that was ended.
   */
  since: Count,
})
export type HostPromise = Static<typeof HostPromise>

/**
 * In the answer to a report. While the round is not closed the lease is held for its term from the sending of the report on,
 * whatever has become of newer promises.
 */
export const LeaseAnswer = Open({
  /** Of the promise that the store holds; 0: none. */
  round: Count,
  number: Count,
  /** All that was armed in the round is to be ended. */
  isClosed: Type.Boolean(),
  /** In a closed round: what the managers may have started elsewhere. */
  left: Type.Array(VmIdSchema),
  terms: LeaseTerms,
  /** What the promise should say. */
  armed: Type.Array(VmIdSchema),
  witnesses: Type.Array(Witness),
})
export type LeaseAnswer = Static<typeof LeaseAnswer>

/** Why a VM may be started only by certain hosts: it was left behind, armed, in a round that was closed. */
export const LeftBy = Open({ host: HostIdSchema, round: Count })
export type LeftBy = Static<typeof LeftBy>

/**
 * - `none`: no lease, nothing armed (one manager alone, or none has answered yet).
 * - `held`: a manager answered lately.
 * - `asking`: none did; the other hosts are asked.
 * - `released`: every other host has vouched that the managers are lost; all runs on.
 * - `stopping`: the host is cut off: what is armed is being stopped, or was.
 */
export const leaseStates = ['none', 'held', 'asking', 'released', 'stopping'] as const
export type LeaseState = (typeof leaseStates)[number]

/** In a host's report. */
export const LeaseReport = Open({
  state: OneOf(leaseStates),
  /** For whom this host has vouched, and in which of their rounds. */
  vouchedFor: Type.Array(LeftBy),
})
export type LeaseReport = Static<typeof LeaseReport>

/** A host asks another one: do you too hear no manager? */
export const VouchRequest = Open({ host: HostIdSchema, round: Count })
export type VouchRequest = Static<typeof VouchRequest>

/** `isVouched` is durable: this host starts nothing that the asking one leaves behind in that round. */
export const VouchAnswer = Open({ isVouched: Type.Boolean(), why: Type.String() })
export type VouchAnswer = Static<typeof VouchAnswer>

/** What one host sees of another that is silent to the managers. */
export const NeighbourLook = Open({
  host: HostIdSchema,
  /** Its agent answers this host. */
  network: Type.Boolean(),
  /** Its mark on a shared datastore changes; null: they share none. */
  storage: Nullable(Type.Boolean()),
})
export type NeighbourLook = Static<typeof NeighbourLook>

/**
 * How long a host must have been silent until its round may be closed, milliseconds: the sum of its terms, with one per cent
 * for clocks that run at different speeds and a fifth of a second for timers that fire late.
 */
export function lossTermMs({ terms, watchdogMs }: Pick<HostPromise, 'terms' | 'watchdogMs'>): number {
  const sum = terms.termMs + terms.askingMs + terms.stopMs + (watchdogMs ?? 0)
  return Math.ceil(sum * 1.01) + 200
}

/** Whether a vouch in one round covers what was left behind in another. */
export function isVouchFor(vouch: LeftBy, left: { readonly host: HostId; readonly round: number }): boolean {
  return vouch.host === left.host && vouch.round >= left.round
}
