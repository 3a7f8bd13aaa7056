/**
 * The only writer of run records. A transition, and all that follows from it for the VM (the intent after a guest's own
 * shutdown, the spec and the disks' places after a move, whose images are the VM's after a takeover), are one commit, so that no crash leaves one without the other.
 */
import { HoldfastError } from '../../base/errors.ts'
import { isoTime, type Clock } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { transitionBy, type TransitionRequest, type TransitionResponse } from '../../contracts/manager-api.ts'
import { stepRunRecord, type RunRecord, type RunTransition } from '../../contracts/run-record.ts'
import { disksBetween } from '../domain/migrate-precheck.ts'
import type { DiskSide } from '../domain/migrate-judge.ts'
import { takersOf } from './left-behind.ts'
import { endReason, isOfProtection, protectionWords, type OfProtection } from './protection-events.ts'
import { arbiterChanges, pairEnds } from './pair-records.ts'
import type { DiskRecord, RunRecordStored, VmRecord } from '../store/records.ts'
import type { Change, NewEvent, Store, Stored } from '../store/store.ts'

export interface RunDeps {
  readonly store: Pick<Store, 'get' | 'commit'>
  readonly clock: Clock
}

export type TransitionOutcome =
  | { readonly ok: true; readonly run: RunRecord }
  /** Nothing was written; `run` is the record as it is. */
  | { readonly ok: false; readonly reason: string; readonly run: RunRecord }

export interface TransitionOptions {
  /** Only when the record is still of this generation. */
  readonly generation?: number
  /** Remembered, so that the same attempt again is answered as the first time. */
  readonly attempt?: string
  /** With `lost` and `fenced` of a move: whose copies of moved disks are the VM's from now on. Default: the source's. */
  readonly disks?: DiskSide
  /** More that belongs into the same commit, made from the VM as it is read there. */
  readonly alongside?: (vm: Stored<VmRecord>) => Promise<{ vm: VmRecord; changes: readonly Change[] }>
  /** Said before the transition's own event, as an event of this type. */
  readonly because?: { readonly type: string; readonly message: string }
}

const maxRaces = 20

/** Moves a record. Throws `not-found` when there is no such VM, `conflict` when others keep changing it. */
export async function transitionRun(
  deps: RunDeps,
  vm: VmId,
  transition: RunTransition,
  options: TransitionOptions = {},
): Promise<TransitionOutcome> {
  for (let race = 0; race < maxRaces; race++) {
    const stored = await deps.store.get('run', vm)
    if (stored === undefined) throw new HoldfastError('not-found', `There is no VM ${vm}`)
    const { run, lastAttempt } = stored.value
    if (options.attempt !== undefined && options.attempt === lastAttempt) return { ok: true, run }
    if (options.generation !== undefined && options.generation !== run.generation) {
      return { ok: false, reason: 'stale-generation', run }
    }
    const takers = transition.event === 'started' ? await takersOf(deps.store, run) : undefined
    if (transition.event === 'started' && takers?.only?.includes(transition.by) === false) {
      return { ok: false, reason: 'left-behind', run }
    }
    const next = stepRunRecord(run, transition, isoTime(deps.clock.now()))
    if (!next.ok) return { ok: false, reason: next.reason, run }
    const value: RunRecordStored = { ...stored.value, run: next.record, lastAttempt: options.attempt ?? null }
    const follow = await consequences(deps, run, next.record, transition, options)
    const changes: Change[] = [
      { do: 'update', kind: 'run', value, expected: stored.revision },
      ...follow.changes,
      ...(takers?.checks ?? []),
    ]
    const result = await deps.store.commit({ changes, events: follow.events })
    if (result.ok) return { ok: true, run: next.record }
  }
  throw new HoldfastError('conflict', `Others kept changing ${vm}`, { mend: 'Try again in a moment.' })
}

/** Answers an agent: its transition is made, or refused with the record as it is. Throws `not-found`. */
export async function answerTransition(
  deps: RunDeps,
  host: HostId,
  request: TransitionRequest,
): Promise<TransitionResponse> {
  const { vm, generation, event } = request
  // Attempts are named by each host for itself; with the host before it the name is good for all.
  const attempt = `${host}/${generation}/${event}/${request.attempt}`
  const outcome = await transitionRun(deps, vm, transitionBy(host, request), { generation, attempt })
  return { isAccepted: outcome.ok, reason: outcome.ok ? null : outcome.reason, record: outcome.run }
}

interface Consequences {
  readonly changes: readonly Change[]
  readonly events: readonly NewEvent[]
}

async function consequences(
  deps: RunDeps,
  before: RunRecord,
  after: RunRecord,
  transition: RunTransition,
  options: TransitionOptions,
): Promise<Consequences> {
  const stored = await deps.store.get('vm', after.vm)
  if (stored === undefined) return { changes: [], events: [] }
  let vm = stored.value
  const changes: Change[] = []
  if (transition.event === 'stopped' && transition.cause === 'guest-shutdown') vm = { ...vm, power: 'off' }
  if (before.phase === 'moving' && after.phase !== 'moving') {
    const takesTarget = transition.event === 'arrived' || options.disks === 'target'
    if (takesTarget) changes.push(...(await movedDisks(deps, vm)))
    vm = { ...vm, spec: takesTarget ? (vm.specAfterMove ?? vm.spec) : vm.spec, specAfterMove: null }
  }
  if (transition.event === 'new-arbiter') vm = arbiterChanges(vm, transition)
  if (before.protection && !after.protection) {
    const reason = transition.event === 'alone' ? await endReason(deps, vm, before) : null
    vm = pairEnds(vm, before, after, vm.protection?.isWanted === true ? reason : null)
  }
  if (options.alongside !== undefined) {
    const more = await options.alongside({ ...stored, value: vm })
    vm = more.vm
    changes.push(...more.changes)
  }
  if (vm !== stored.value) changes.push({ do: 'update', kind: 'vm', value: vm, expected: stored.revision })
  const event = await eventOf(deps, stored.value, before, after, transition)
  const { because } = options
  return { changes, events: because === undefined ? [event] : [{ ...event, ...because }, event] }
}

/** The disks' places after a move; what they leave behind is noted, so that it is cleaned up whatever happens. */
async function movedDisks(deps: RunDeps, vm: VmRecord): Promise<Change[]> {
  if (vm.specAfterMove === undefined || vm.specAfterMove === null) return []
  const changes: Change[] = []
  for (const { disk, to } of disksBetween(vm.spec, vm.specAfterMove)) {
    const stored = await deps.store.get('disk', disk)
    if (stored === undefined || stored.value.datastore === to) continue
    changes.push({ do: 'update', kind: 'disk', value: diskNowAt(stored.value, to), expected: stored.revision })
  }
  return changes
}

/** A disk whose file at `to` is the valid one from now on. */
export function diskNowAt(disk: DiskRecord, to: DiskRecord['datastore']): DiskRecord {
  const others = new Set([...(disk.alsoAt ?? []), disk.datastore])
  others.delete(to)
  return { ...disk, datastore: to, alsoAt: [...others] }
}

/** A disk of which there may be a copy at `place` too. */
export function diskAlsoAt(disk: DiskRecord, place: DiskRecord['datastore']): DiskRecord {
  if (disk.datastore === place || (disk.alsoAt ?? []).includes(place)) return disk
  return { ...disk, alsoAt: [...(disk.alsoAt ?? []), place] }
}

const words: Record<
  Exclude<RunTransition['event'], OfProtection>,
  (vm: string, from: string, to: string) => [type: string, text: string]
> = {
  started: (vm, _from, to) => ['vm.started', `${vm} runs on ${to}`],
  stopped: (vm, from) => ['vm.stopped', `${vm} stopped on ${from}`],
  revoke: (vm) => ['vm.start-revoked', `a start of ${vm} was called off`],
  move: (vm, from, to) => ['vm.moving', `${vm} moves from ${from} to ${to}`],
  'post-copy': (vm) => ['vm.post-copy', `the move of ${vm} went over to post-copy`],
  arrived: (vm, from, to) => ['vm.migrated', `${vm} moved from ${from} to ${to}`],
  returned: (vm, _from, to) => ['vm.move-ended', `${vm} stays on ${to}; its move did not complete`],
  lost: (vm) => ['vm.lost-in-move', `the memory of ${vm} was lost while it moved`],
  fenced: (vm, from) => ['vm.host-lost', `${vm} is down: ${from} is confirmed off`],
  restored: (vm) => ['vm.run-unknown', `whether ${vm} runs is not known after the restore`],
  adopted: (vm, _from, to) => ['vm.adopted', `${vm} was found running on ${to}`],
  absent: (vm) => ['vm.absent', `${vm} runs nowhere`],
}

async function eventOf(
  deps: RunDeps,
  vm: VmRecord,
  before: RunRecord,
  after: RunRecord,
  transition: RunTransition,
): Promise<NewEvent> {
  const nameOf = async (id: HostId | null): Promise<string> =>
    id === null ? 'no host' : ((await deps.store.get('host', id))?.value.name ?? id)
  const [type, text] = isOfProtection(transition.event)
    ? await protectionWords(deps, vm, before, after, transition.event)
    : words[transition.event](vm.name, await nameOf(before.host), await nameOf(after.target ?? after.host))
  const message = after.cause === null ? text : `${text} (${after.cause})`
  const { phase, host, target, cause, generation } = after
  const second = after.protection?.second ?? before.protection?.second
  const data = {
    phase,
    from: before.host,
    host,
    target,
    cause,
    generation,
    ...(second === undefined ? {} : { second }),
  }
  const subject = { kind: 'vm', id: vm.id, name: vm.name }
  return { type, subject, message, task: before.task ?? after.task ?? vm.operation, data }
}
