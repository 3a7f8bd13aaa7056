/** Pure: what becomes of a task's record, and what is told of it. */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { TaskRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'

export type Problem = NonNullable<TaskRecord['problem']>
export type EndState = 'done' | 'failed' | 'cancelled'

export function isEnded(record: TaskRecord): boolean {
  return record.ended !== null
}

/** Forwards or backwards; what a stuck task was doing when it got stuck. */
export function directionOf(record: TaskRecord): 'running' | 'undoing' {
  if (record.state === 'stuck') return record.stuck?.was ?? 'running'
  return record.state === 'undoing' ? 'undoing' : 'running'
}

/** The failure that a task is being undone for, also while it is stuck in that. */
export function failureOf(record: TaskRecord): TaskRecord['problem'] {
  return record.state === 'stuck' ? (record.stuck?.failure ?? null) : record.problem
}

export function outputsOf(record: TaskRecord, before?: string): Record<string, unknown> {
  const done: Record<string, unknown> = {}
  for (const { step, output } of record.outputs) {
    if (step === before) break
    done[step] = output
  }
  return done
}

export function problemOf(thrown: unknown, step: string): Problem {
  const error = toHoldfastError(thrown)
  const { mend, ...details } = error.details
  return {
    code: error.code,
    detail: error.message,
    ...(mend === undefined ? {} : { mend }),
    details: { ...details, step },
  }
}

export function cancelledProblem(step: string | null): Problem {
  return { code: 'cancelled', detail: 'The task was cancelled and what it had done was undone.', details: { step } }
}

/** `usual` is the name of a file in docs/runbooks; an error that names one of its own is believed. */
export function stuckProblem(thrown: unknown, step: string, usual: string): Problem {
  const problem = problemOf(thrown, step)
  const own = problem.details?.['runbook']
  const runbook = typeof own === 'string' ? own : usual
  return {
    ...problem,
    mend: problem.mend ?? `It is tried again by itself; see docs/runbooks/${runbook}.md.`,
    details: { ...problem.details, runbook },
  }
}

/** A verdict that nothing can be decided now. */
export function undecided(reason: string, runbook: string, step: string): Problem {
  return stuckProblem(new HoldfastError('unreachable', reason), step, runbook)
}

/** `vm.migrate` of `vm.migrate/1`. */
export function operationName(saga: string): string {
  const at = saga.lastIndexOf('/')
  return at < 0 ? saga : saga.slice(0, at)
}

export function goesForward(record: TaskRecord, step: string): TaskRecord {
  return { ...record, state: 'running', step, stuck: null, problem: null }
}

export function goesBack(record: TaskRecord, step: string | null, problem: TaskRecord['problem']): TaskRecord {
  return { ...record, state: 'undoing', step, stuck: null, problem }
}

export function getsStuck(record: TaskRecord, problem: Problem): TaskRecord {
  const stuck = { was: directionOf(record), failure: failureOf(record) }
  return { ...record, state: 'stuck', stuck, problem }
}

export function hasOutput(record: TaskRecord, step: string, output: unknown): TaskRecord {
  return { ...record, outputs: [...record.outputs.filter((entry) => entry.step !== step), { step, output }] }
}

/** What a step returns as the store keeps it, so that the first run and a resumed one read the same. */
export function asStored(output: unknown): unknown {
  return JSON.parse(JSON.stringify(output ?? null)) as unknown
}

export function taskEvent(type: string, record: TaskRecord, message: string, data: Record<string, unknown>): NewEvent {
  return { type, subject: record.target, message, task: record.id, data: { saga: record.saga, ...data } }
}

export function startedEvent(record: TaskRecord): NewEvent {
  return taskEvent('task.started', record, `${about(record)} began`, { startedBy: record.startedBy })
}

export function stuckEvent(record: TaskRecord, problem: Problem): NewEvent {
  const message = `${about(record)} is stuck at step ${record.step ?? 'none'}: ${problem.detail}`
  return taskEvent('task.stuck', record, message, { step: record.step, problem })
}

export function endedEvent(record: TaskRecord, state: EndState): NewEvent {
  const why = state === 'failed' && record.problem !== null ? `: ${record.problem.detail}` : ''
  const words = { done: 'is done', failed: 'failed', cancelled: 'was cancelled' }[state]
  return taskEvent('task.ended', record, `${about(record)} ${words}${why}`, {
    state,
    ...(record.problem === null ? {} : { problem: record.problem }),
  })
}

function about(record: TaskRecord): string {
  const name = operationName(record.saga)
  return record.target === null ? name : `${name} of ${record.target.kind} ${record.target.name}`
}
