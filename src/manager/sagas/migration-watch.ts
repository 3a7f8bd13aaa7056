/**
 * Follows a migration until the run record says how it ended: asks both hosts, lets the judge decide, and carries out what
 * it says, over and over. Makes no choice of its own. Used by the transfer, by its settling after a crash, and by the undo.
 */
import { HoldfastError, describeError } from '../../base/errors.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import { MigrateOutcome, type JobProgress, type JobStatus } from '../../contracts/agent-api.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { judgeMigration, type Judgement, type MigrationCase, type Sight } from '../domain/migrate-judge.ts'
import { endJob, isNotFound, pollPauses } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { RecordWake } from './record-wake.ts'
import { transitionRun } from './run-records.ts'
import { needRun } from './vm-records.ts'

export interface Migration {
  readonly vm: VmId
  readonly task: TaskId
  readonly source: HostId
  readonly target: HostId
  readonly runWhen: 'complete' | 'released'
  readonly movesDisks: boolean
  /** The source was never told to send: whatever became of both sides, no stream of this move was ever whole. */
  readonly isNeverSent?: boolean
}

export interface WatchOptions {
  /** Aborted when the migration is no longer wanted: it is cancelled at the source as long as that is possible. */
  readonly wish: AbortSignal
  readonly progress: (fraction: number, detail?: Partial<JobProgress>) => void
  /** How long nothing may be decidable before that is the answer, milliseconds. */
  readonly stuckAfterMs: number
}

export type Final = Exclude<
  Judgement,
  { is: 'follow' | 'discard-target' | 'release-target' | 'resume-source' | 'give-up' }
>

/** What goes on by itself (a target that loads, a source that returns) has this long. */
const overdueMs = 15_000

export function jobIdOf(task: TaskId): string {
  return `${task}/migrate`
}

/** Resolves with the end: `committed`, `not-committed`, or `stuck` when nothing can be decided for `stuckAfterMs`. */
export async function watchMigration(deps: SagaDeps, migration: Migration, options: WatchOptions): Promise<Final> {
  const watch = new Watch(deps, migration, options)
  // A target that is held stands still until it is released from here: that must not take long.
  const pauses = pollPauses(migration.runWhen === 'released' ? 50 : 500)
  using wake = new RecordWake(deps.store, migration.vm)
  for (;;) {
    const { changed } = wake
    const final = await watch.look()
    if (final !== undefined) return final
    const over = new AbortController()
    const wish = options.wish.aborted ? over.signal : AbortSignal.any([over.signal, options.wish])
    await Promise.race([deps.clock.sleep(pauses.next().value, wish).catch(() => undefined), changed])
    over.abort()
  }
}

type JobSight = { readonly state: MigrationCase['job']; readonly reason: string | null }

class Watch {
  readonly #deps: SagaDeps
  readonly #migration: Migration
  readonly #options: WatchOptions
  /** What the target answered when it was told to discard. */
  #answer: 'discarded' | 'running' | 'gone' | null = null
  #isCancelPassedOn = false
  #waitingSince: number | undefined
  #stuckSince: number | undefined
  #reason: string | null = null
  #trouble: string | null = null

  constructor(deps: SagaDeps, migration: Migration, options: WatchOptions) {
    this.#deps = deps
    this.#migration = migration
    this.#options = options
  }

  /** One round: look, judge, act. The end, when it is reached. */
  async look(): Promise<Final | undefined> {
    const run = await needRun(this.#deps, this.#migration.vm)
    if (run.phase !== 'moving' || run.task !== this.#migration.task) return this.#judged(run, unseen, unseen, noJob)
    await this.#passCancelOn()
    const job = await this.#job()
    // While the source's agent drives the stream, nobody else needs to be asked.
    if (job.state === 'running' && !this.#options.wish.aborted) return undefined
    const { source, target } = this.#migration
    const [from, to] = await Promise.all([this.#sight(source, null), this.#sight(target, run)])
    return this.#judged(run, from, to, job)
  }

  async #judged(run: RunRecord, source: Sight, target: Sight, job: JobSight): Promise<Final | undefined> {
    const { migration, now } = { migration: this.#migration, now: this.#deps.clock.monotonic() }
    const judgement = judgeMigration({
      record: run,
      move: migration,
      source,
      target,
      job: job.state,
      runWhen: migration.runWhen,
      movesDisks: migration.movesDisks,
      isOverdue: this.#waitingSince !== undefined && now - this.#waitingSince >= overdueMs,
    })
    this.#reason = job.reason ?? this.#reason
    if (judgement.is === 'follow' && job.state !== 'running') this.#waitingSince ??= now
    switch (judgement.is) {
      case 'committed':
        return judgement
      case 'not-committed':
        return this.#reason === null ? judgement : { ...judgement, reason: `${judgement.reason}: ${this.#reason}` }
      case 'stuck':
        this.#stuckSince ??= now
        return now - this.#stuckSince >= this.#options.stuckAfterMs ? judgement : undefined
      case 'follow':
        return this.#waitedTooLong(now)
      default:
        return this.#carryOut(judgement, run, now)
    }
  }

  /** Far beyond what goes on by itself: something is wrong that no rule covers. */
  #waitedTooLong(now: number): Final | undefined {
    if (this.#waitingSince === undefined || now - this.#waitingSince < 4 * overdueMs) return undefined
    this.#waitingSince = undefined
    const reason = this.#trouble ?? 'the move neither ends nor goes on'
    return { is: 'stuck', reason, runbook: 'migration-stuck' }
  }

  async #carryOut(
    judgement: Extract<Judgement, { is: 'discard-target' | 'release-target' | 'resume-source' | 'give-up' }>,
    run: RunRecord,
    now: number,
  ): Promise<Final | undefined> {
    try {
      await this.#act(judgement, run)
      this.#stuckSince = undefined
      return undefined
    } catch (thrown) {
      // What could not be done now is judged anew in the next round; if that goes on, it is said.
      this.#trouble = describeError(thrown)
      this.#stuckSince ??= now
      const reason = `${judgement.is} failed: ${this.#trouble}`
      if (now - this.#stuckSince < this.#options.stuckAfterMs) return undefined
      return { is: 'stuck', reason, runbook: 'migration-stuck' }
    }
  }

  async #act(
    judgement: Extract<Judgement, { is: 'discard-target' | 'release-target' | 'resume-source' | 'give-up' }>,
    run: RunRecord,
  ): Promise<void> {
    const { vm, source, target } = this.#migration
    const { generation } = run
    const { hosts } = this.#deps
    switch (judgement.is) {
      case 'discard-target':
        this.#answer = (await hosts.agent(target).discardIncoming(vm, generation)).outcome
        return
      case 'release-target':
        await hosts.agent(target).releaseIncoming(vm, generation)
        return
      case 'resume-source': {
        const { targetDiscarded } = judgement
        const request = { generation, verdict: 'resume' as const, targetDiscarded, movedDisks: [] }
        await hosts.agent(source).settle(vm, request)
        return
      }
      case 'give-up':
        await this.#giveUp(judgement, run)
        return
    }
  }

  async #giveUp(judgement: Extract<Judgement, { is: 'give-up' }>, run: RunRecord): Promise<void> {
    const { vm, source, target } = this.#migration
    const { event, disks } = judgement
    const transition = event === 'lost' ? ({ event, cause: 'lost-in-move' } as const) : ({ event } as const)
    const outcome = await transitionRun(this.#deps, vm, transition, { generation: run.generation, disks })
    if (!outcome.ok) return
    // What is left of it on either host ends when its agent learns of this; the next report would tell it too.
    for (const host of [source, target]) {
      this.#deps.hosts
        .agent(host)
        .tellRecord(outcome.run)
        .catch((err: unknown) => this.#deps.log.debug({ vm, host, err }, 'a host could not be told of the record'))
    }
  }

  async #passCancelOn(): Promise<void> {
    if (!this.#options.wish.aborted || this.#isCancelPassedOn) return
    try {
      await this.#deps.hosts.agent(this.#migration.source).cancelJob(jobIdOf(this.#migration.task))
      this.#isCancelPassedOn = true
    } catch (thrown) {
      this.#isCancelPassedOn = isNotFound(thrown)
    }
  }

  async #job(): Promise<JobSight> {
    const { source, task, isNeverSent } = this.#migration
    if (isNeverSent === true) return { state: 'not-sent', reason: null }
    if (await this.#isOff(source)) return noJob
    let status: JobStatus
    try {
      status = await this.#deps.hosts.agent(source).job(jobIdOf(task))
    } catch (thrown) {
      return { state: isNotFound(thrown) ? 'none' : 'unknown', reason: null }
    }
    if (status.state === 'running') {
      this.#waitingSince = undefined
      this.#stuckSince = undefined
      this.#options.progress(status.progress.fraction, status.progress)
      return { state: 'running', reason: null }
    }
    const outcome = outcomeOf(status)
    return { state: outcome?.outcome ?? 'unknown', reason: outcome?.reason ?? status.problem?.detail ?? null }
  }

  async #isOff(host: HostId): Promise<boolean> {
    const stored = await this.#deps.store.get('host', host)
    return stored === undefined || this.#deps.hosts.stateOf(stored.value) === 'confirmed-off'
  }

  /** What a side says of itself; with `run`, the side is the target. */
  async #sight(host: HostId, run: RunRecord | null): Promise<Sight> {
    if (await this.#isOff(host)) return { at: 'off' }
    try {
      const seen = await this.#deps.hosts.agent(host).observe(this.#migration.vm)
      const moveGeneration = run === null ? Infinity : run.generation - (run.postCopy ? 1 : 0)
      const hasDiscarded = seen.discarded !== null && seen.discarded >= moveGeneration
      return {
        at: 'seen',
        process: seen.process,
        answer: hasDiscarded ? 'discarded' : run === null ? null : this.#answer,
      }
    } catch (thrown) {
      this.#trouble = describeError(thrown)
      return { at: 'unreachable' }
    }
  }
}

const unseen: Sight = { at: 'unreachable' }
const noJob: JobSight = { state: 'none', reason: null }

/** The outcome in a migration job's result; undefined while, or where, there is none. */
export function outcomeOf(status: JobStatus): MigrateOutcome | undefined {
  const { result } = status
  const outcome = result?.['outcome']
  return outcome === 'sent' || outcome === 'not-sent' || outcome === 'unknown' ? (result as MigrateOutcome) : undefined
}

/** The figures of a migration that has ended; undefined when the source's agent does not know them. */
export async function figuresOf(deps: SagaDeps, migration: Migration): Promise<MigrateOutcome | undefined> {
  const agent = deps.hosts.agent(migration.source)
  const id = jobIdOf(migration.task)
  for (const pauseMs of pollPauses()) {
    const status = await agent.job(id).catch((thrown: unknown) => {
      if (isNotFound(thrown)) return undefined
      throw thrown
    })
    if (status?.state !== 'running') return status === undefined ? undefined : outcomeOf(status)
    await deps.clock.sleep(pauseMs)
  }
  return undefined
}

/** Brings the record out of `moving` after a move that is not wanted any more. Throws `unreachable` while that cannot be. */
export async function bringHome(deps: SagaDeps, migration: Migration): Promise<void> {
  const wish = AbortSignal.abort(new HoldfastError('cancelled', 'the move is undone'))
  await endJob(deps.clock, deps.hosts.agent(migration.source), jobIdOf(migration.task)).catch(() => undefined)
  const final = await watchMigration(deps, migration, { wish, progress: () => undefined, stuckAfterMs: 5_000 })
  if (final.is === 'stuck') throw new HoldfastError('unreachable', final.reason, { runbook: final.runbook })
}
