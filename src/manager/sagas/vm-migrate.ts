/**
 * Moves a running VM to another host, its disks too where that is asked for.
 *
 *   plan ─▶ move (record: moving) ─▶ prepare (target listens) ─▶ transfer (commit) ─▶ release (source ends, old copies go)
 *
 * The commit is not ours: the target's agent moves the record to `running{target}`, and in the same commit the VM's spec
 * and disks are those of the new place (run-records.ts). Everything here only asks, and judges. Undone, the record is
 * brought home by the judge's rules, whatever had been reached.
 */
import { HoldfastError, type ErrorCode } from '../../base/errors.ts'
import type { DatastoreId, HostId, TaskId, VmId } from '../../base/ids.ts'
import type { MigrateOutcome, MigrateOutRequest, PrepareIncomingResponse } from '../../contracts/agent-api.ts'
import { deploymentFor } from '../domain/host-configuration.ts'
import { precheckMigration, type MigrationPlan, type Precheck } from '../domain/migrate-precheck.ts'
import type { Change } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { deleteCopies } from './disk-copies.ts'
import { bringHome, figuresOf, jobIdOf, watchMigration, type Final, type Migration } from './migration-watch.ts'
import { diskAlsoAt, transitionRun } from './run-records.ts'
import { saga, type StepContext, type Verdict } from './saga.ts'
import { needHost, needRun, needVm } from './vm-records.ts'

export interface MigrateVmParams {
  readonly vm: VmId
  /** Null: placed. */
  readonly host: HostId | null
  /** Where its disks go; null: they stay. */
  readonly datastore: DatastoreId | null
  readonly maxBandwidth: number | null
  readonly downtimeLimitMs: number
  readonly autoConverge: boolean
  readonly allowPostCopy: boolean
  /** Asked for with the move itself, so that a target where it cannot be is refused; else it is only allowed. */
  readonly needsPostCopy?: boolean
  /** A person has said to go there whatever the rules of placement say. */
  readonly ignoresRules?: boolean
  readonly multifdChannels: number
  readonly useTls: boolean
}

interface Planned extends MigrationPlan {
  /** The target, under the name by which its memory is held for it from now on. */
  readonly host: HostId
  readonly generation: number
  readonly allowPostCopy: boolean
}
interface Moved {
  readonly generation: number
}
type Context<Done> = StepContext<MigrateVmParams, Done, SagaDeps>
interface BeforeTransfer {
  readonly plan: Planned
  readonly move: Moved
  readonly prepare: PrepareIncomingResponse
}

export const migrateVmSaga = saga<MigrateVmParams, SagaDeps>('vm.migrate/1')
  .step({ name: 'plan', weight: 1, do: plan })
  .step({ name: 'move', weight: 1, do: beginMove, undo: undoMove })
  .step({ name: 'prepare', weight: 2, patienceMs: 20_000, do: prepareTarget, undo: undoPrepare })
  .commit({ name: 'transfer', weight: 92, do: transfer, settle })
  .step({ name: 'release', weight: 4, do: releaseSource })
  .result((done) => ({ host: done.plan.target, ...done.release }))

/** Ending the source's QEMU takes CPU on both hosts' side just when the guest finds its feet: that can wait. */
const releaseAfterMs = 1000

/** Every reason against this migration, or its plan. Reads only. */
export async function precheck(
  deps: SagaDeps,
  params: Pick<MigrateVmParams, 'vm' | 'host' | 'datastore' | 'needsPostCopy' | 'ignoresRules'>,
): Promise<Precheck> {
  const cluster = await deps.cluster()
  const vm = cluster.vms.find((each) => each.id === params.vm)
  if (vm === undefined) throw new HoldfastError('not-found', `There is no VM ${params.vm}`)
  const report = vm.run.host === null ? undefined : deps.hosts.report(vm.run.host)
  const observation = report?.vms.find((each) => each.vm === params.vm) ?? null
  const { host, datastore, needsPostCopy = false, ignoresRules = false } = params
  return precheckMigration(cluster, { vm, observation, host, datastore, needsPostCopy, ignoresRules })
}

async function plan({ params, deps }: Context<unknown>): Promise<Planned> {
  const checked = await precheck(deps, params)
  if (!checked.ok) await mustHaveHeard(deps, params)
  if (!checked.ok) {
    const message = checked.reasons.map((reason) => reason.message).join('; ')
    throw new HoldfastError('refused', `The VM cannot be moved: ${message}`, { reasons: checked.reasons })
  }
  const { generation } = await needRun(deps, params.vm)
  // After post-copy has begun only the target's disks could be right, and a mirror must have ended: not together.
  const allowPostCopy = params.allowPostCopy && checked.plan.canPostCopy
  return { ...checked.plan, host: checked.plan.target, generation, allowPostCopy }
}

/** Nothing is refused for what a manager that has just begun cannot know: hosts report within seconds. */
async function mustHaveHeard(deps: SagaDeps, params: MigrateVmParams): Promise<void> {
  const { host: source } = await needRun(deps, params.vm)
  for (const host of [source, params.host]) {
    if (host === null || deps.hosts.report(host) !== undefined) continue
    if ((await deps.store.get('host', host)) === undefined) continue
    throw new HoldfastError('unreachable', `${host} has not reported since this manager began`)
  }
}

function runWhenOf(planned: Planned): 'complete' | 'released' {
  return planned.allowPostCopy ? 'released' : 'complete'
}

function migrationOf(vm: VmId, task: TaskId, planned: Planned): Migration {
  const { source, target, movingDisks } = planned
  return { vm, task, source, target, runWhen: runWhenOf(planned), movesDisks: movingDisks.length > 0 }
}

/** The record says `moving` before anything moves; with it, where the disks will be and where copies may be. */
async function beginMove({ params, deps, done, task }: Context<{ plan: Planned }>): Promise<Moved> {
  const { target, movingDisks, spec, generation } = done.plan
  const before = await needRun(deps, params.vm)
  if (before.phase === 'moving' && before.task === task) return { generation: before.generation }
  const outcome = await transitionRun(
    deps,
    params.vm,
    { event: 'move', target, task },
    {
      generation,
      alongside: async ({ value }) => {
        const changes: Change[] = []
        for (const { disk, to } of movingDisks) {
          const stored = await deps.store.get('disk', disk)
          if (stored === undefined) throw new HoldfastError('not-found', `The disk ${disk} has no record`)
          changes.push({ do: 'update', kind: 'disk', value: diskAlsoAt(stored.value, to), expected: stored.revision })
        }
        return { vm: movingDisks.length === 0 ? value : { ...value, specAfterMove: spec }, changes }
      },
    },
  )
  if (outcome.ok) return { generation: outcome.run.generation }
  throw new HoldfastError('wrong-state', `The VM cannot be moved now: it is ${outcome.run.phase} (${outcome.reason})`)
}

async function undoMove({ params, deps, done, task }: Context<{ plan: Planned }>): Promise<void> {
  const run = await deps.store.get('run', params.vm)
  if (run?.value.run.phase === 'moving' && run.value.run.task === task) {
    await bringHome(deps, migrationOf(params.vm, task, done.plan))
  }
  // What cannot be reached now is cleaned up later (reconcilers/stale-copies.ts).
  await deleteCopies(deps, params.vm, task)
}

async function prepareTarget(context: Context<{ plan: Planned; move: Moved }>): Promise<PrepareIncomingResponse> {
  const { params, deps, done, task } = context
  const { source, target, movingDisks, spec, allowPostCopy } = done.plan
  const { value: vm } = await needVm(deps, params.vm)
  const cluster = await deps.cluster()
  const { process } = await deps.hosts.agent(source).observe(params.vm)
  const { tlsName, streamTlsName } = await needHost(deps, source)
  return deps.hosts.agent(target).prepareIncoming({
    deployment: deploymentFor(cluster, { ...vm, spec }, target, done.move.generation),
    source,
    sourceTlsName: streamTlsName ?? tlsName,
    movingDisks: [...movingDisks],
    allowPostCopy,
    runWhen: runWhenOf(done.plan),
    useTls: params.useTls,
    multifdChannels: allowPostCopy ? 0 : params.multifdChannels,
    isGuestPaused: process === 'paused',
    task,
  })
}

/**
 * While this step has no output the transfer was never begun. That is known here alone: with it both sides may be down,
 * and the disks at the source are the VM's all the same.
 */
async function undoPrepare(
  context: Context<{ plan: Planned; move: Moved }> & { readonly output: PrepareIncomingResponse | undefined },
): Promise<void> {
  const { params, deps, done, task, output } = context
  if (output !== undefined) return
  const run = await deps.store.get('run', params.vm)
  if (run?.value.run.phase !== 'moving' || run.value.run.task !== task) return
  await bringHome(deps, { ...migrationOf(params.vm, task, done.plan), isNeverSent: true })
}

function requestOf(params: MigrateVmParams, done: BeforeTransfer): MigrateOutRequest {
  const { movingDisks, allowPostCopy } = done.plan
  const { maxBandwidth, downtimeLimitMs, autoConverge, useTls } = params
  return {
    generation: done.move.generation,
    incoming: done.prepare,
    movingDisks: [...movingDisks],
    runWhen: runWhenOf(done.plan),
    useTls,
    maxBandwidth,
    downtimeLimitMs,
    autoConverge,
    allowPostCopy,
    multifdChannels: allowPostCopy ? 0 : params.multifdChannels,
  }
}

async function transfer(context: Context<BeforeTransfer>): Promise<{ host: HostId }> {
  const { params, deps, done, task, signal, progress } = context
  const work = { kind: 'migrate-out' as const, vm: params.vm, request: requestOf(params, done) }
  await deps.hosts.agent(done.plan.source).startJob({ id: jobIdOf(task), task, work })
  const migration = migrationOf(params.vm, task, done.plan)
  const final = await watchMigration(deps, migration, { wish: signal, progress, stuckAfterMs: 5_000 })
  if (final.is === 'committed') return { host: done.plan.target }
  throw new HoldfastError(final.is === 'stuck' ? 'unreachable' : codeOf(final), final.reason)
}

async function settle(
  context: Context<BeforeTransfer> & { readonly cancelWish: AbortSignal },
): Promise<Verdict<{ host: HostId }>> {
  const { params, deps, done, task, cancelWish, progress } = context
  const migration = migrationOf(params.vm, task, done.plan)
  const final = await watchMigration(deps, migration, { wish: cancelWish, progress, stuckAfterMs: 10_000 })
  switch (final.is) {
    case 'committed':
      return { verdict: 'committed', output: { host: done.plan.target } }
    case 'not-committed':
      return { verdict: 'not-committed', code: codeOf(final), reason: final.reason }
    case 'stuck':
      return { verdict: 'stuck', reason: final.reason, runbook: final.runbook }
  }
}

function codeOf(final: Extract<Final, { is: 'not-committed' }>): ErrorCode {
  return final.code === 'superseded' ? 'wrong-state' : 'host-error'
}

/** The source lets go of what it still holds, and the copies that the move has left behind are deleted. */
async function releaseSource(
  context: Context<BeforeTransfer>,
): Promise<Partial<Pick<MigrateOutcome, 'totalMs' | 'downtimeMs' | 'ramBytes' | 'diskBytes'>>> {
  const { params, deps, done, task } = context
  const { source, movingDisks } = done.plan
  let figures: MigrateOutcome | undefined
  const letGo = async (generation: number): Promise<void> => {
    const movedDisks = [...movingDisks]
    const request = { generation, verdict: 'release' as const, targetDiscarded: false, movedDisks, task }
    await deps.hosts.agent(source).settle(params.vm, request)
  }
  // By the record the source's agent ends what it holds as soon as it can: nobody need wait for that, but for old disks.
  const tell = (err: unknown): void =>
    deps.log.info({ vm: params.vm, host: source, err }, 'the source of a move could not be told to let go')
  try {
    figures = await figuresOf(deps, migrationOf(params.vm, task, done.plan))
    // As the record is now: of a guest that comes back before it is said, this host will know better.
    const { generation } = await needRun(deps, params.vm)
    const later = (): Promise<void> => letGo(generation)
    if (movingDisks.length > 0) await letGo(generation)
    else deps.clock.sleep(releaseAfterMs).then(later).catch(tell)
  } catch (err) {
    tell(err)
  }
  await deleteCopies(deps, params.vm, task)
  if (figures === undefined) return {}
  const { totalMs, downtimeMs, ramBytes, diskBytes } = figures
  return { totalMs, downtimeMs, ramBytes, diskBytes }
}
