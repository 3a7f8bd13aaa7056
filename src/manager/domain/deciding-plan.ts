/**
 * When another is to decide between the two copies of a protected VM, and who: one that is gone, or about to go, or has
 * forgotten the pair, is followed by another while both copies live, since afterwards it is too late. Pure.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import { managersArbiter, type ArbiterId } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { chooseArbiter, type Choice } from './protect-plan.ts'

/** A host that decides may be out of reach for so long before another is put in its place. */
export const arbiterSilenceMs = 60_000
/** The managers decide for so long after there is a third host: one that comes and goes is not worth a change. */
export const steadyArbiterMs = 60_000

export interface Pair {
  readonly vm: VmId
  readonly run: RunRecord
  /** Hosts that may still hold a former copy. */
  readonly former: readonly HostId[]
  /** Who decides has said that it knows nothing of the pair. */
  readonly isForgotten: boolean
  /** Attempts in a row that came to nothing. */
  readonly misses: number
}

export interface DecidingSight extends Choice {
  /** For how long the host has been as it is now: in reach and not about to go, or not. */
  heldMs(host: HostId): number
}

export interface NewArbiterPlan {
  readonly vm: VmId
  /** With which the pair began. */
  readonly n: number
  readonly arbiter: ArbiterId
  /** Whether the one before is asked to step back, or cannot be. */
  readonly old: 'asked' | 'gone'
  /** What is the matter with the one before, in words. */
  readonly why: string
}

/** Undefined: who decides is to stay, or nothing can be done about it now. */
export function planNewArbiter(sight: DecidingSight, pair: Pair): NewArbiterPlan | undefined {
  const { run, vm } = pair
  const { protection } = run
  if (run.phase !== 'running' || run.host === null || protection?.phase !== 'protected') return undefined
  const primary = sight.hosts.find(({ id }) => id === run.host)
  if (primary?.state !== 'connected') return undefined
  const matter = whatIsTheMatter(sight, pair, protection.arbiter)
  if (matter === undefined) return undefined
  const arbiter = anotherArbiter(sight, run, pair.former)
  if (arbiter === undefined || (matter.isNoHaste && !isSteady(sight, arbiter))) return undefined
  const { old, why } = matter
  return { vm, n: protection.n, arbiter, old, why }
}

/** Whom to choose instead of the one that decides; undefined: there is nobody else. */
export function anotherArbiter(cluster: Choice, run: RunRecord, former: readonly HostId[]): ArbiterId | undefined {
  const { protection, host } = run
  if (!protection) return undefined
  const not = [host, protection.second, protection.arbiter, ...former]
  const arbiter = chooseArbiter(
    cluster,
    not.filter((each): each is HostId => each !== null && each !== managersArbiter),
  )
  return arbiter === protection.arbiter ? undefined : arbiter
}

interface Matter extends Pick<NewArbiterPlan, 'old' | 'why'> {
  readonly isNoHaste?: boolean
}

function whatIsTheMatter(sight: DecidingSight, pair: Pair, arbiter: ArbiterId): Matter | undefined {
  const { isForgotten, misses } = pair
  if (isForgotten) return { old: 'gone', why: 'has lost its memory of it' }
  if (arbiter === managersArbiter)
    return { old: 'asked', why: 'do so only while there is no third host', isNoHaste: true }
  const host = sight.hosts.find(({ id }) => id === arbiter)
  if (host === undefined) return { old: 'gone', why: 'is no host of the cluster any more' }
  if (host.state === 'confirmed-off') return { old: 'gone', why: 'is off' }
  if (host.state !== 'connected') {
    if (sight.heldMs(host.id) < arbiterSilenceMs) return undefined
    // Its pair may reach it all the same: it is asked first.
    return { old: misses === 0 ? 'asked' : 'gone', why: 'is out of reach' }
  }
  if (host.maintenance === 'off') return undefined
  return { old: misses < 2 ? 'asked' : 'gone', why: 'is in maintenance' }
}

function isSteady(sight: DecidingSight, arbiter: ArbiterId): boolean {
  return arbiter !== managersArbiter && sight.heldMs(arbiter) >= steadyArbiterMs
}
