/**
 * Follows a pair until the run record says how it is: brought in step, ended by the primary, taken over by the second. Asks,
 * and makes no choice of its own: who goes on is settled by the pair's arbiter, and said by the agents in the record.
 */
import { HoldfastError, describeError } from '../../base/errors.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { JobProgress, JobRequest, JobStatus } from '../../contracts/agent-api.ts'
import type { UnprotectRequest } from '../../contracts/agent-api.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { HostState } from '../domain/cluster-view.ts'
import { endJob, isNotFound, isUnknown, pollPauses } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { RecordWake } from './record-wake.ts'
import { needRun } from './vm-records.ts'

export interface Syncing {
  readonly vm: VmId
  readonly n: number
  readonly primary: HostId
  readonly second: HostId
  readonly job: JobRequest
}

export interface SyncWatchOptions {
  /** Aborted when it is no longer wanted: the job is cancelled as long as that is possible. */
  readonly wish: AbortSignal
  readonly progress: (fraction: number, detail?: Partial<JobProgress>) => void
  /** How long the primary may not answer before that is the answer, milliseconds. */
  readonly stuckAfterMs: number
}

export type SyncEnd =
  /** `host` runs it: the primary, or the second when that has taken over since. */
  | { readonly is: 'committed'; readonly host: HostId }
  | { readonly is: 'not-committed'; readonly reason: string }
  | { readonly is: 'stuck'; readonly reason: string }

/** The record follows the end of the job at once; an agent that says neither for this long has lost its way. */
const overdueMs = 30_000

/** Begins the job where the primary does not know it, and resolves with how it ended. */
export async function watchSync(deps: SagaDeps, syncing: Syncing, options: SyncWatchOptions): Promise<SyncEnd> {
  const watch = new SyncWatch(deps, syncing, options)
  const pauses = pollPauses(500)
  using wake = new RecordWake(deps.store, syncing.vm)
  for (;;) {
    const { changed } = wake
    const end = await watch.look()
    if (end !== undefined) return end
    const over = new AbortController()
    const wish = options.wish.aborted ? over.signal : AbortSignal.any([over.signal, options.wish])
    await Promise.race([deps.clock.sleep(pauses.next().value, wish).catch(() => undefined), changed])
    over.abort()
  }
}

class SyncWatch {
  readonly #deps: SagaDeps
  readonly #syncing: Syncing
  readonly #options: SyncWatchOptions
  #isCancelPassedOn = false
  #silentSince: number | undefined
  #endedSince: number | undefined

  constructor(deps: SagaDeps, syncing: Syncing, options: SyncWatchOptions) {
    this.#deps = deps
    this.#syncing = syncing
    this.#options = options
  }

  /** One look at the record and the job. The end, when it is reached. */
  async look(): Promise<SyncEnd | undefined> {
    const { vm, n, primary } = this.#syncing
    const run = await needRun(this.#deps, vm)
    if (run.protection?.n !== n) return await this.#ended(run)
    if (run.protection.phase === 'protected') return { is: 'committed', host: run.host ?? primary }
    if (await isOff(this.#deps, primary)) return { is: 'not-committed', reason: `${primary} is off` }
    try {
      const status = await this.#job()
      this.#silentSince = undefined
      return this.#judged(status)
    } catch (thrown) {
      if (!isUnknown(thrown)) return { is: 'not-committed', reason: describeError(thrown) }
      return this.#silent(describeError(thrown))
    }
  }

  async #ended(run: RunRecord): Promise<SyncEnd> {
    const { second, primary, job } = this.#syncing
    // It was protected, and the second has taken over already.
    if (run.phase === 'running' && run.host === second) return { is: 'committed', host: second }
    // The record may be told of the end before the work is, which knows why.
    const isThere = (await stateOf(this.#deps, primary)) === 'connected'
    const status = isThere ? await this.#deps.hosts.agent(primary).job(job.id).catch(noAnswer) : undefined
    const reason = `the pair has ended before the second was in step (the VM is ${run.phase})`
    return { is: 'not-committed', reason: status?.problem?.detail ?? reason }
  }

  async #job(): Promise<JobStatus | undefined> {
    const { primary, job } = this.#syncing
    const agent = this.#deps.hosts.agent(primary)
    if (this.#options.wish.aborted && !this.#isCancelPassedOn) {
      const cancelled = await agent.cancelJob(job.id).catch(undefinedWhenUnknown)
      this.#isCancelPassedOn = true
      if (cancelled === undefined) return undefined
    }
    const status = await agent.job(job.id).catch(undefinedWhenUnknown)
    if (status !== undefined || this.#options.wish.aborted) return status
    // It never got it, or was started again since.
    return agent.startJob(job)
  }

  #judged(status: JobStatus | undefined): SyncEnd | undefined {
    if (status === undefined) return { is: 'not-committed', reason: 'it was cancelled' }
    if (status.state === 'running') {
      this.#endedSince = undefined
      this.#options.progress(status.progress.fraction, status.progress)
      return undefined
    }
    if (status.state !== 'done') {
      return { is: 'not-committed', reason: status.problem?.detail ?? `the work ended as ${status.state}` }
    }
    const now = this.#deps.clock.monotonic()
    this.#endedSince ??= now
    if (now - this.#endedSince < overdueMs) return undefined
    return { is: 'not-committed', reason: 'the host says that it is done, and the record does not' }
  }

  #silent(reason: string): SyncEnd | undefined {
    const now = this.#deps.clock.monotonic()
    this.#silentSince ??= now
    return now - this.#silentSince >= this.#options.stuckAfterMs ? { is: 'stuck', reason } : undefined
  }
}

function undefinedWhenUnknown(thrown: unknown): undefined {
  if (!isNotFound(thrown)) throw thrown
  return undefined
}

function noAnswer(): undefined {
  return undefined
}

export async function isOff(deps: SagaDeps, host: HostId): Promise<boolean> {
  const state = await stateOf(deps, host)
  return state === undefined || state === 'confirmed-off'
}

async function stateOf(deps: SagaDeps, host: HostId): Promise<HostState | undefined> {
  const stored = await deps.store.get('host', host)
  return stored === undefined ? undefined : deps.hosts.stateOf(stored.value)
}

/**
 * The record names no second of configuration n any more: the primary has ended the pair, or the second has taken over.
 * Throws `unreachable` while neither can be known. The job that may still bring it in step (`task`'s) is ended first.
 */
export async function endPair(
  deps: SagaDeps,
  { vm, n, task }: { readonly vm: VmId; readonly n: number; readonly task: TaskId | null },
): Promise<RunRecord | undefined> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const run = (await deps.store.get('run', vm))?.value.run
    if (run?.protection?.n !== n || run.host === null) return run
    if (await isOff(deps, run.host)) {
      // Also while the record says that it was syncing: the pair may have begun. The confirmed-off reconciler settles it.
      throw new HoldfastError('unreachable', `${run.host} is off, and who goes on with ${vm} is not settled`, {
        runbook: 'protection-stuck',
      })
    }
    const agent = deps.hosts.agent(run.host)
    if (task !== null) await endJob(deps.clock, agent, `${task}/protect`)
    await tellUnprotect(deps, vm, { generation: run.generation, n, how: 'end' }, run.host)
  }
  throw new HoldfastError('unreachable', `The host has not said yet that ${vm} has no second copy any more`, {
    runbook: 'protection-stuck',
  })
}

/** The record may have moved on since it was read: then it is read again. */
export async function tellUnprotect(deps: SagaDeps, vm: VmId, request: UnprotectRequest, host: HostId): Promise<void> {
  try {
    await deps.hosts.agent(host).unprotect(vm, request)
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'stale-generation') throw thrown
  }
}
