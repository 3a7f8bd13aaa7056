/**
 * Moving the run record. Each attempt is durable before it is sent and is sent until the manager answers: no answer means
 * unknown, and the same attempt again is answered as the first time.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { TransitionResponse } from '../../contracts/manager-api.ts'
import type { AgentRunEvent, RunRecord } from '../../contracts/run-record.ts'
import type { VmCore } from './vm-core.ts'
import type { PendingTransition } from './vm-state.ts'

const firstPauseMs = 100
const longestPauseMs = 3000

/** A new attempt on the newest known record; not durable yet. */
export function newAttempt(
  core: VmCore,
  event: AgentRunEvent,
  { cause = null, decides }: Partial<Pick<PendingTransition, 'cause' | 'decides'>> = {},
): PendingTransition {
  const attempt = { event, cause, generation: core.state.generation, attempt: core.ports.random.uuid() }
  return decides === undefined ? attempt : { ...attempt, decides }
}

/** Asks until the manager answers, for as long as this agent lives; undefined when it knows no such VM. */
export async function askUntilAnswered(
  core: VmCore,
  pending: PendingTransition,
): Promise<TransitionResponse | undefined> {
  return persist(core, `transition ${pending.event}`, () => core.ports.manager.transition({ vm: core.vm, ...pending }))
}

/** The manager's record, however long it takes; undefined when it knows no such VM. */
export async function recordUntilKnown(core: VmCore): Promise<RunRecord | undefined> {
  return persist(core, 'record', () => core.ports.manager.record(core.vm))
}

/** Whether there is a record, by one question. Rejects when the manager does not answer it. */
export async function isKnownToManager(core: VmCore): Promise<boolean> {
  try {
    await core.ports.manager.record(core.vm)
    return true
  } catch (err) {
    if (err instanceof HoldfastError && err.code === 'not-found') return false
    throw err
  }
}

async function persist<T>(core: VmCore, what: string, ask: () => Promise<T>): Promise<T | undefined> {
  const { clock, signal } = core.ports
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 2, longestPauseMs)) {
    signal.throwIfAborted()
    try {
      return await ask()
    } catch (err) {
      if (err instanceof HoldfastError && err.code === 'not-found') return undefined
      // Every other error counts as unknown: a manager that breaks in the middle may have moved the record all the same.
      core.log.debug({ err, what }, 'no answer from the manager yet')
    }
    await clock.sleep(pauseMs, signal)
  }
}
