/**
 * Long work on this host. A job is known by the id that its asker made, so asking twice starts it once. Jobs are not
 * durable: an agent that starts again knows none, the asker starts them anew, and each kind of work finds what an earlier
 * run left. What has ended is kept for an hour.
 */
import type { Clock } from '../../base/clock.ts'
import { describeError, HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { JobProgress, JobRequest, JobStatus, JobWork } from '../../contracts/agent-api.ts'
import { canonicalJson } from '../../contracts/digest.ts'

const keptAfterEndMs = 3_600_000

export interface JobContext {
  readonly id: string
  readonly task: JobRequest['task']
  readonly signal: AbortSignal
  /** Whole progress, as migrations have it. */
  readonly onProgress: (progress: JobProgress) => void
  /** Bytes done of a total: rates and what remains are made from them. */
  readonly onBytes: (phase: string, done: number, total: number) => void
}

export type JobResult = Readonly<Record<string, unknown>>
export type RunWork = (work: JobWork, context: JobContext) => Promise<JobResult>

interface Job {
  readonly request: JobRequest
  readonly cancel: AbortController
  status: JobStatus
  endedAtMs: number | null
}

const noProgress: JobProgress = {
  fraction: 0,
  phase: 'starting',
  doneBytes: 0,
  totalBytes: 0,
  bytesPerSecond: 0,
  dirtyBytesPerSecond: 0,
  remainingSeconds: null,
}

export class JobTable {
  readonly #jobs = new Map<string, Job>()
  readonly #clock: Clock
  readonly #log: Logger
  readonly #run: RunWork
  readonly #onChange: () => void

  constructor(deps: { clock: Clock; log: Logger; run: RunWork; onChange: () => void }) {
    this.#clock = deps.clock
    this.#log = deps.log
    this.#run = deps.run
    this.#onChange = deps.onChange
  }

  /** Starts the job, or answers how the one with this id stands. Throws `idempotency-mismatch` for other work under it. */
  start(request: JobRequest): JobStatus {
    this.#forgetOld()
    const known = this.#jobs.get(request.id)
    if (known !== undefined) {
      if (canonicalJson(known.request.work) === canonicalJson(request.work)) return known.status
      throw new HoldfastError('idempotency-mismatch', `job ${request.id} was started with other work`)
    }
    const status: JobStatus = { id: request.id, state: 'running', progress: noProgress, result: null, problem: null }
    const job: Job = { request, cancel: new AbortController(), status, endedAtMs: null }
    this.#jobs.set(request.id, job)
    void this.#drive(job)
    this.#onChange()
    return job.status
  }

  /** Throws `not-found` for a job that this agent does not know. */
  status(id: string): JobStatus {
    this.#forgetOld()
    return this.#mustKnow(id).status
  }

  /** Asks the work to end. What had already ended stays as it is. */
  cancel(id: string): JobStatus {
    const job = this.#mustKnow(id)
    job.cancel.abort(new HoldfastError('cancelled', `job ${id} was cancelled`))
    return job.status
  }

  /** Those that run now. */
  running(): { id: string; task: JobRequest['task'] }[] {
    return [...this.#jobs.values()]
      .filter((job) => job.status.state === 'running')
      .map(({ request }) => ({ id: request.id, task: request.task }))
  }

  #mustKnow(id: string): Job {
    const job = this.#jobs.get(id)
    if (job !== undefined) return job
    throw new HoldfastError('not-found', `this agent knows no job ${id}`, { mend: 'Start it again.' })
  }

  async #drive(job: Job): Promise<void> {
    const { id, task } = job.request
    const context: JobContext = {
      id,
      task,
      signal: job.cancel.signal,
      onProgress: (progress) => this.#note(job, progress),
      onBytes: this.#byteProgress(job),
    }
    try {
      const result = await this.#run(job.request.work, context)
      this.#note(job, { ...job.status.progress, fraction: 1, remainingSeconds: 0 })
      this.#end(job, { state: 'done', result: { ...result } })
    } catch (thrown) {
      const error = toHoldfastError(thrown)
      const isCancelled = job.cancel.signal.aborted
      if (!isCancelled) this.#log.warn({ job: id, err: thrown }, 'a job failed')
      const { mend } = error.details
      const problem = { code: error.code, detail: describeError(error), ...(mend === undefined ? {} : { mend }) }
      this.#end(job, { state: isCancelled ? 'cancelled' : 'failed', problem })
    }
  }

  #note(job: Job, progress: JobProgress): void {
    const fraction = Math.max(job.status.progress.fraction, Math.min(1, Math.max(0, progress.fraction)))
    job.status = { ...job.status, progress: { ...progress, fraction } }
  }

  #byteProgress(job: Job): JobContext['onBytes'] {
    const startMs = this.#clock.monotonic()
    return (phase, done, total) => {
      const seconds = Math.max(0.001, (this.#clock.monotonic() - startMs) / 1000)
      const bytesPerSecond = Math.round(done / seconds)
      this.#note(job, {
        fraction: total === 0 ? 0 : done / total,
        phase,
        doneBytes: Math.round(done),
        totalBytes: Math.round(total),
        bytesPerSecond,
        dirtyBytesPerSecond: 0,
        remainingSeconds: bytesPerSecond === 0 ? null : Math.max(0, total - done) / bytesPerSecond,
      })
    }
  }

  #end(job: Job, end: Partial<JobStatus>): void {
    job.status = { ...job.status, ...end }
    job.endedAtMs = this.#clock.monotonic()
    this.#onChange()
  }

  #forgetOld(): void {
    const now = this.#clock.monotonic()
    for (const [id, { endedAtMs }] of this.#jobs) {
      if (endedAtMs !== null && now - endedAtMs > keptAfterEndMs) this.#jobs.delete(id)
    }
  }
}
