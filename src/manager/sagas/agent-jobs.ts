/** Long work on a host, followed from here: begun once whatever crashes, shown as it goes, cancelled when asked. */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError, isErrorCode } from '../../base/errors.ts'
import type { AgentApi, JobProgress, JobRequest, JobStatus } from '../../contracts/agent-api.ts'

export interface JobContext {
  readonly clock: Clock
  readonly agent: AgentApi
  readonly signal: AbortSignal
  readonly progress: (fraction: number, detail?: Partial<JobProgress>) => void
}

/** From short, so that small work ends at once, to a pace that costs little. */
export function* pollPauses(longestMs = 1000): Generator<number, never> {
  for (let ms = 20; ; ms = Math.min(longestMs, Math.ceil(ms * 1.5))) yield ms
}

/**
 * Runs a job to its end and returns its result. An agent that has forgotten the job (it restarted) is given it again. An
 * abort cancels the job, and waits for its end. Throws the job's own error, `cancelled`, or `unreachable`.
 */
export async function runJob(context: JobContext, request: JobRequest): Promise<Record<string, unknown>> {
  const { agent, signal, clock } = context
  let status = await agent.startJob(request)
  let isCancelled = false
  for (const pauseMs of pollPauses()) {
    context.progress(status.progress.fraction, status.progress)
    if (status.state !== 'running') return resultOf(status)
    await clock.sleep(pauseMs, isCancelled ? undefined : signal).catch(() => undefined)
    if (signal.aborted && !isCancelled) {
      isCancelled = true
      await agent.cancelJob(request.id).catch(ignoreNotFound)
    }
    status = await agent.job(request.id).catch(async (thrown: unknown) => {
      if (!isNotFound(thrown)) throw thrown
      if (isCancelled) throw new HoldfastError('cancelled', 'The work was cancelled')
      return agent.startJob(request)
    })
  }
  throw new HoldfastError('internal', 'A job was followed without end')
}

function resultOf(status: JobStatus): Record<string, unknown> {
  if (status.state === 'done') return status.result ?? {}
  if (status.state === 'cancelled') throw new HoldfastError('cancelled', 'The work was cancelled')
  throw problemOf(status)
}

/** The error of a failed job. */
export function problemOf(status: JobStatus): HoldfastError {
  const code = status.problem?.code
  const mend = status.problem?.mend
  return new HoldfastError(
    isErrorCode(code) && code !== 'unreachable' && code !== 'timeout' ? code : 'host-error',
    status.problem?.detail ?? 'The host gave no reason',
    mend === undefined ? {} : { mend },
  )
}

/** Sees to it that a job has ended, whatever became of it. Undefined when the agent does not know it. */
export async function endJob(clock: Clock, agent: AgentApi, id: string): Promise<JobStatus | undefined> {
  try {
    let status = await agent.job(id)
    if (status.state === 'running') status = await agent.cancelJob(id)
    for (const pauseMs of pollPauses()) {
      if (status.state !== 'running') return status
      await clock.sleep(pauseMs)
      status = await agent.job(id)
    }
    return undefined
  } catch (thrown) {
    if (isNotFound(thrown)) return undefined
    throw thrown
  }
}

export function isNotFound(thrown: unknown): boolean {
  return thrown instanceof HoldfastError && thrown.code === 'not-found'
}

function ignoreNotFound(thrown: unknown): undefined {
  if (!isNotFound(thrown)) throw thrown
  return undefined
}

/** Whether the outcome of what was asked is not known. */
export function isUnknown(thrown: unknown): boolean {
  return thrown instanceof HoldfastError && thrown.isUnknown
}
