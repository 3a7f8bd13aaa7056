/** What hosts should promise, and whose promise has run out (contracts/host-lease.ts). Pure. */
import type { HostId, VmId } from '../../base/ids.ts'
import { isVouchFor, lossTermMs, type HostPromise, type LeftBy } from '../../contracts/host-lease.ts'
import type { Host, VmPolicies } from '../../contracts/inventory.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { HostState } from './cluster-view.ts'

/** A VM of a closed round, as its run record stood when the round was closed. */
export interface LeftVm {
  readonly vm: VmId
  readonly generation: number
}

/** A host's promise as the managers keep it. */
export interface KeptPromise {
  readonly id: HostId
  readonly promise: HostPromise
  /** The managers have given the host up in this round: nothing of it holds any more. */
  readonly isClosed: boolean
  /** In a closed round: what may be started elsewhere. */
  readonly left?: readonly LeftVm[]
}

interface RunOfVm {
  readonly id: VmId
  readonly run: RunRecord
}

interface HostInQuestion {
  readonly id: HostId
  readonly confirmedOff: boolean
  readonly maintenance: Host['maintenance']
}

/** VMs that this host's watchdog should stop when the host is cut off. One that is held in step has its arbiter instead. */
export function wishedArmed(
  host: HostId,
  vms: readonly { readonly id: VmId; readonly policies: Pick<VmPolicies, 'isolation'> }[],
  runOf: (vm: VmId) => RunRecord | undefined,
): VmId[] {
  return vms.flatMap(({ id, policies }) => {
    if (policies.isolation !== 'stop') return []
    const run = runOf(id)
    return run?.phase === 'running' && run.host === host && !run.protection ? [id] : []
  })
}

/**
 * Hosts that this one must ask before it goes on without a manager: all that could be given its VMs. Not those that are off,
 * are being emptied, or have lost a round themselves: nothing is started there until they have begun another.
 */
export function wishedWitnesses<H extends HostInQuestion>(
  host: HostId,
  hosts: readonly H[],
  promises: ReadonlyMap<HostId, KeptPromise>,
): H[] {
  return hosts.filter((each) => {
    const promise = promises.get(each.id)
    return each.id !== host && !each.confirmedOff && each.maintenance !== 'on' && promise?.isClosed === false
  })
}

export interface HostSilence {
  readonly host: HostId
  readonly state: HostState
  /** Since this manager has heard it, or has begun to lead. */
  readonly silentMs: number
  /** By its newest report. */
  readonly vouchedFor: readonly LeftBy[]
}

/**
 * Hosts whose round is over: silent for all of its terms, while at least one that they must ask has been heard just now and has
 * not vouched for them. Without such a one it is this manager that may be cut off, and all of them may have been released.
 */
export function planClosing(promises: readonly KeptPromise[], silences: readonly HostSilence[]): KeptPromise[] {
  return promises.filter(({ id, promise, isClosed }) => {
    const silence = silences.find(({ host }) => host === id)
    if (isClosed || silence === undefined || silence.state === 'connected') return false
    const left = { host: id, round: promise.round }
    const isHeard = promise.witnesses.some((witness) => {
      const heard = silences.find(({ host }) => host === witness)
      if (heard === undefined || heard.silentMs >= promise.terms.termMs / 2) return false
      return !heard.vouchedFor.some((vouch) => isVouchFor(vouch, left))
    })
    return isHeard && silence.silentMs >= lossTermMs(promise)
  })
}

/**
 * VMs that a host leaves behind when its round is closed: armed, and written down as running there. One whose record has moved
 * since is another matter: the host may have come back meanwhile.
 */
export function leftBehind({ id, promise }: KeptPromise, runs: readonly RunOfVm[]): LeftVm[] {
  const armed = new Set(promise.armed)
  return runs
    .filter((stored) => armed.has(stored.id) && stored.run.phase === 'running' && stored.run.host === id)
    .filter(({ run }) => !run.protection)
    .map((stored) => ({ vm: stored.id, generation: stored.run.generation }))
}

/** What of that is still written down as running. */
export function planLeaving(
  promises: readonly KeptPromise[],
  runs: readonly RunOfVm[],
): { readonly host: HostId; readonly left: LeftVm }[] {
  const closed = promises.filter(({ isClosed, left = [] }) => isClosed && left.length > 0)
  if (closed.length === 0) return []
  const generationOf = new Map(runs.map((stored) => [stored.id, stored.run.generation]))
  return closed.flatMap(({ id, left = [] }) =>
    left.filter(({ vm, generation }) => generationOf.get(vm) === generation).map((one) => ({ host: id, left: one })),
  )
}

/** Whether the store may take this promise in place of the one that it has. */
export function mayPromise(known: KeptPromise | undefined, next: HostPromise): boolean {
  if (known === undefined) return true
  const { promise, isClosed } = known
  if (next.round === promise.round) return !isClosed && next.number >= promise.number
  return next.round > promise.round && (!isClosed || promise.round < next.since)
}

/** Hosts that may start what was left behind; undefined: any may, since the host is known to be off, or has begun anew. */
export function mayTake(
  left: LeftBy | null | undefined,
  host: Pick<HostInQuestion, 'confirmedOff'> | undefined,
  known: KeptPromise | undefined,
): readonly HostId[] | undefined {
  if (left == null || host === undefined || host.confirmedOff) return undefined
  if (known?.promise.round !== left.round) return undefined
  return known.promise.witnesses
}
