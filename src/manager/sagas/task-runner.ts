/**
 * Runs one task, one step after the other, from whatever its log says:
 *
 *   running ──step done──▶ running … ──last step done──▶ done
 *      │  ╰─ failed, cancelled, not committed ─▶ undoing … ──first step undone──▶ failed | cancelled
 *      ╰── commit cannot be judged, or a step after it fails ──▶ stuck ──▶ running
 *                                         undoing ── an undo fails ──▶ stuck ──▶ undoing
 *
 * Before each `do` and `undo` the record names the step, so a step that may have begun is always done again or undone.
 * A stuck task is tried again with growing pauses, and at once when nudged.
 */
import { isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { TaskRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { AnyStep, SagaDefinition, SagaEnd, StepContext } from './saga.ts'
import { Pauses, type PauseSettings } from './pauses.ts'
import { LetGo, type Extra, type TaskLog } from './task-log.ts'
import { TaskProgress } from './task-progress.ts'
import * as records from './task-records.ts'

export interface RunnerOptions {
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly retryPauses: PauseSettings
  readonly stuckPauses: PauseSettings
  /** Aborted when the engine closes: whatever runs is let go of, as if the process had died. */
  readonly closed: AbortSignal
  /** Whether no further step may begin. */
  readonly isDraining: () => boolean
  readonly onProgress: (runner: TaskRunner) => void
  /** What else belongs into the commit that ends a task: its VM is released. */
  readonly release: (record: TaskRecord) => Promise<Extra>
}

export type AnySaga = SagaDefinition<unknown, unknown, unknown>
type PlainStep = Extract<AnyStep, { kind: 'step' }>
type CommitStepOf = Extract<AnyStep, { kind: 'commit' }>
type Context = StepContext<unknown, unknown, unknown>
type Outcome<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly error: HoldfastError }

/** An undo, a settle or a step after the commit that fails this often with a definite answer makes the task stuck. */
const definiteTries = 5
/** A commit that cannot be judged, or an undo whose outcome stays unknown, for this long makes the task stuck. */
const settlePatienceMs = 60_000
const defaultPatienceMs = 60_000
/** After these the far side has surely not done the commit. Anything vaguer is settled by asking. */
const vagueCodes = new Set(['unreachable', 'timeout', 'internal', 'cancelled', 'store-error'])

export class TaskRunner {
  readonly log: TaskLog
  readonly progress: TaskProgress
  readonly #definition: AnySaga
  readonly #deps: unknown
  readonly #options: RunnerOptions
  readonly #logger: Logger
  readonly #commitIndex: number
  readonly #cancel = new AbortController()
  readonly #never = new AbortController().signal
  /** The step reached in this process, so that its `do` has not begun yet. */
  #fresh: number
  #wake: () => void = () => undefined
  #trouble: string | null = null

  constructor(definition: AnySaga, deps: unknown, log: TaskLog, isNew: boolean, options: RunnerOptions) {
    this.#definition = definition
    this.#deps = deps
    this.log = log
    this.#options = options
    this.#logger = options.logger.child({ task: log.record.id, saga: definition.name })
    this.#commitIndex = definition.steps.findIndex((step) => step.kind === 'commit')
    this.progress = new TaskProgress(definition.steps, log.record)
    this.#fresh = isNew ? 0 : -1
    if (log.record.cancelAsked) this.#cancel.abort(cancelReason())
  }

  /** What the task waits for, in words: the last failure of a step that is tried again. Null when all goes well. */
  get trouble(): string | null {
    return this.#trouble
  }

  /** Whether a cancel asked now can still take effect. */
  get isCancellable(): boolean {
    return this.#mayCancel(this.log.record)
  }

  /** Runs until the task has ended, or this engine lets go of it. Never rejects. */
  async run(): Promise<void> {
    try {
      while (!records.isEnded(this.log.record)) await this.#go()
    } catch (thrown) {
      if (thrown instanceof LetGo) return this.#logger.info({ err: thrown }, 'the task is let go of')
      this.#logger.error({ err: thrown }, 'the task cannot go on; it stays as its log says until the next start')
      await this.#giveUp(thrown)
    }
  }

  /** A broken expectation of ours: said in the record, and not tried again by this process. */
  async #giveUp(thrown: unknown): Promise<void> {
    const step = this.log.record.step ?? 'none'
    const problem = records.stuckProblem(thrown, step, 'stuck-task')
    const write = this.log.write((record) =>
      record.state === 'stuck' ? undefined : records.getsStuck(record, problem),
    )
    await write.catch((why: unknown) => this.#logger.error({ err: why }, 'nor can that be written'))
  }

  /** Tries again at once if it waits between tries. */
  nudge(): void {
    this.#wake()
  }

  /** Asks for the cancel durably, then aborts the running step. False: too late, nothing was written. */
  async cancel(): Promise<boolean> {
    if (records.directionOf(this.log.record) === 'undoing') return true
    const event = (next: TaskRecord) => records.taskEvent('task.cancel-asked', next, 'The task is to be cancelled', {})
    await this.log.write(
      (record) => (this.#mayCancel(record) && !record.cancelAsked ? { ...record, cancelAsked: true } : undefined),
      async (next) => ({ changes: [], events: [event(next)] }),
    )
    if (!this.log.record.cancelAsked) return records.directionOf(this.log.record) === 'undoing'
    this.#cancel.abort(cancelReason())
    this.#wake()
    return true
  }

  #mayCancel(record: TaskRecord): boolean {
    if (record.state !== 'running') return false
    return this.#commitIndex === -1 || this.#indexOf(record.step) <= this.#commitIndex
  }

  #indexOf(name: string | null): number {
    return this.#definition.steps.findIndex((step) => step.name === name)
  }

  async #go(): Promise<void> {
    if (this.#options.isDraining()) throw new LetGo('the manager is stopping')
    const index = this.#indexOf(this.log.record.step)
    const step = this.#definition.steps[index]
    if (step === undefined) {
      // A saga without steps; the engine never runs one whose step it does not know.
      await this.#end('done')
      return
    }
    if (records.directionOf(this.log.record) === 'undoing') return this.#undo(step, index)
    if (step.kind === 'step') return this.#do(step, index)
    if (this.#fresh === index) return this.#commit(step, index)
    return this.#settle(step, index)
  }

  async #do(step: PlainStep, index: number): Promise<void> {
    const isFinal = this.#commitIndex !== -1 && index > this.#commitIndex
    const pauses = new Pauses(this.#options.random, this.#options.retryPauses)
    const until = this.#options.clock.monotonic() + (step.patienceMs ?? defaultPatienceMs)
    const stuckPauses = new Pauses(this.#options.random, this.#options.stuckPauses)
    for (let definite = 0; ;) {
      if (!isFinal && this.log.record.cancelAsked) return this.#turnBack(step, cancelReason())
      const signal = isFinal ? this.#never : this.#cancel.signal
      const outcome = await this.#call(step, 'do', () => step.do(this.#context(step, index, signal)))
      if (outcome.ok) return this.#done(step, index, outcome.value)
      const { error } = outcome
      const leftMs = until - this.#options.clock.monotonic()
      if (!isFinal && (!error.isUnknown || leftMs <= 0)) return this.#turnBack(step, error)
      // Still tried, but no longer in silence.
      const isHopeless = leftMs <= 0 || (!error.isUnknown && ++definite >= definiteTries)
      if (isFinal && isHopeless) await this.#stuck(step, error)
      const pauseMs = (this.log.record.state === 'stuck' ? stuckPauses : pauses).next()
      await this.#pause(isFinal ? pauseMs : Math.min(pauseMs, leftMs))
    }
  }

  async #commit(step: CommitStepOf, index: number): Promise<void> {
    if (this.log.record.cancelAsked) return this.#turnBack(step, cancelReason())
    this.#fresh = -1
    const outcome = await this.#call(step, 'do', () => step.do(this.#context(step, index, this.#cancel.signal)))
    if (outcome.ok) return this.#done(step, index, outcome.value)
    if (!vagueCodes.has(outcome.error.code)) return this.#turnBack(step, outcome.error)
    return this.#settle(step, index)
  }

  async #settle(step: CommitStepOf, index: number): Promise<void> {
    const pauses = new Pauses(this.#options.random, this.#options.retryPauses)
    const stuckPauses = new Pauses(this.#options.random, this.#options.stuckPauses)
    const until = this.#options.clock.monotonic() + settlePatienceMs
    for (let definite = 0; ;) {
      const context = { ...this.#context(step, index, this.#never), cancelWish: this.#cancel.signal }
      const outcome = await this.#call(step, 'settle', () => step.settle(context))
      if (!outcome.ok) {
        const isOver = this.#options.clock.monotonic() >= until
        if (isOver || (!outcome.error.isUnknown && ++definite >= definiteTries)) await this.#stuck(step, outcome.error)
      } else if (outcome.value.verdict === 'committed') {
        return this.#done(step, index, outcome.value.output)
      } else if (outcome.value.verdict === 'not-committed') {
        return this.#turnBack(step, outcome.value)
      } else {
        await this.#stuck(step, records.undecided(outcome.value.reason, outcome.value.runbook, step.name))
      }
      await this.#pause((this.log.record.state === 'stuck' ? stuckPauses : pauses).next())
    }
  }

  async #undo(step: AnyStep, index: number): Promise<void> {
    const undo = step.kind === 'step' ? step.undo?.bind(step) : undefined
    if (undo !== undefined) await this.#undoUntilDone(step, index, undo)
    const before = this.#definition.steps[index - 1]
    if (before === undefined) return this.#endUndone()
    await this.log.write((record) => records.goesBack(record, before.name, records.failureOf(record)))
  }

  async #undoUntilDone(step: AnyStep, index: number, undo: NonNullable<PlainStep['undo']>): Promise<void> {
    const pauses = new Pauses(this.#options.random, this.#options.retryPauses)
    const stuckPauses = new Pauses(this.#options.random, this.#options.stuckPauses)
    const until = this.#options.clock.monotonic() + settlePatienceMs
    const { output } = this.log.record.outputs.find((entry) => entry.step === step.name) ?? { output: undefined }
    for (let definite = 0; ;) {
      const context = { ...this.#context(step, index, this.#never), output }
      const outcome = await this.#call(step, 'undo', () => undo(context))
      if (outcome.ok) return
      const isOver = this.#options.clock.monotonic() >= until
      if (isOver || (!outcome.error.isUnknown && ++definite >= definiteTries)) await this.#stuck(step, outcome.error)
      await this.#pause((this.log.record.state === 'stuck' ? stuckPauses : pauses).next())
    }
  }

  /** The step is done: its output and the name of the next one go into the log together. */
  async #done(step: AnyStep, index: number, raw: unknown): Promise<void> {
    const output = records.asStored(raw)
    const next = this.#definition.steps[index + 1]
    const isDecided = this.#commitIndex !== -1 && index >= this.#commitIndex
    const withOutput = (record: TaskRecord): TaskRecord => records.hasOutput(record, step.name, output)
    this.progress.finish(index)
    if (next === undefined && (await this.#end('done', withOutput))) return
    // Before the new step is known to anybody: once the log names it, a cancel may come at any time.
    this.#fresh = index + 1
    const written = this.log.write((record) =>
      next === undefined || (record.cancelAsked && !isDecided)
        ? records.goesBack(withOutput(record), step.name, records.cancelledProblem(step.name))
        : records.goesForward(withOutput(record), next.name),
    )
    await written.catch(async (thrown: unknown) => {
      if (thrown instanceof LetGo || isDecided) throw thrown
      await this.#turnBack(step, toHoldfastError(thrown))
    })
    this.#options.onProgress(this)
  }

  async #turnBack(
    step: AnyStep,
    why: HoldfastError | { readonly code: string; readonly reason: string },
  ): Promise<void> {
    const problem =
      why instanceof HoldfastError
        ? records.problemOf(why, step.name)
        : { code: why.code, detail: why.reason, details: { step: step.name } }
    this.#trouble = null
    await this.log.write((record) =>
      records.goesBack(record, step.name, record.cancelAsked ? records.cancelledProblem(step.name) : problem),
    )
  }

  async #stuck(step: AnyStep, why: HoldfastError | records.Problem): Promise<void> {
    const problem = why instanceof HoldfastError ? records.stuckProblem(why, step.name, 'stuck-task') : why
    const before = this.log.record
    if (before.state === 'stuck' && before.problem?.detail === problem.detail) return
    this.#logger.error({ step: step.name, detail: problem.detail }, 'the task is stuck')
    const events = before.state === 'stuck' ? [] : [records.stuckEvent(before, problem)]
    await this.log.write(
      (record) => (record.state === 'stuck' ? { ...record, problem } : records.getsStuck(record, problem)),
      async () => ({ changes: [], events }),
    )
  }

  async #endUndone(): Promise<void> {
    await this.#end(this.log.record.cancelAsked ? 'cancelled' : 'failed')
  }

  /**
   * The last write: end state, result, the VM's release and the events, all or none. False when nothing was written
   * because a cancel came first, and there is no commit step that it would be too late for.
   */
  async #end(state: records.EndState, finish = (record: TaskRecord): TaskRecord => record): Promise<boolean> {
    const ended = isoTime(this.#options.clock.now())
    const isWritten = await this.log.write(
      (record) => {
        if (state === 'done' && record.cancelAsked && this.#commitIndex === -1) return undefined
        const last = finish(record)
        const result = state === 'done' ? this.#resultOf(last) : null
        const problem = state === 'done' ? null : records.failureOf(last)
        return { ...last, state, step: null, stuck: null, problem, result, ended }
      },
      async (next) => {
        const released = await this.#options.release(next)
        const events = [...released.events, ...this.#ownEvents(next, state), records.endedEvent(next, state)]
        return { changes: released.changes, events }
      },
    )
    if (!isWritten) return false
    this.#trouble = null
    this.#logger.info({ state }, 'the task has ended')
    this.#options.onProgress(this)
    return true
  }

  #resultOf(record: TaskRecord): Record<string, unknown> | null {
    try {
      return asResult(records.asStored(this.#definition.resultOf(records.outputsOf(record))))
    } catch (thrown) {
      this.#logger.error({ err: thrown }, 'the result cannot be made; the task is done without one')
      return null
    }
  }

  #ownEvents(record: TaskRecord, state: records.EndState): readonly NewEvent[] {
    const { id: task, params, problem } = record
    const end: SagaEnd<unknown> = { task, params, state, done: records.outputsOf(record), problem }
    try {
      return this.#definition.eventsOf?.(end) ?? []
    } catch (thrown) {
      this.#logger.error({ err: thrown }, 'the events of the end cannot be made')
      return []
    }
  }

  #context(step: AnyStep, index: number, signal: AbortSignal): Context {
    const { record } = this.log
    return {
      task: record.id,
      params: record.params,
      done: records.outputsOf(record, step.name),
      deps: this.#deps,
      signal,
      progress: (fraction, detail) => {
        if (this.log.record.step !== step.name) return
        this.progress.report(index, fraction, detail)
        this.#options.onProgress(this)
      },
    }
  }

  /** Calls into the saga; lets go of it when the engine closes meanwhile. */
  async #call<T>(step: AnyStep, verb: string, act: () => Promise<T>): Promise<Outcome<T>> {
    if (this.#options.closed.aborted) throw new LetGo('the engine is closed')
    try {
      const value = await orClosed(this.#options.closed, act)
      this.#trouble = null
      return { ok: true, value }
    } catch (thrown) {
      if (thrown instanceof LetGo) throw thrown
      const error = toHoldfastError(thrown)
      this.#trouble = `${verb} of ${step.name}: ${error.message}`
      this.#logger.warn({ step: step.name, verb, err: thrown }, 'a step of the task failed')
      return { ok: false, error }
    }
  }

  async #pause(ms: number): Promise<void> {
    const woken = new AbortController()
    this.#wake = () => woken.abort(new Error('woken'))
    const signal = AbortSignal.any([woken.signal, this.#options.closed])
    await this.#options.clock.sleep(Math.max(0, ms), signal).catch(() => undefined)
    this.#wake = () => undefined
    if (this.#options.isDraining()) throw new LetGo('the manager is stopping')
  }
}

function cancelReason(): HoldfastError {
  return new HoldfastError('cancelled', 'the task was cancelled')
}

function asResult(value: unknown): Record<string, unknown> | null {
  if (value === null) return null
  return typeof value === 'object' && !Array.isArray(value) ? (value as Record<string, unknown>) : { value }
}

async function orClosed<T>(closed: AbortSignal, act: () => Promise<T>): Promise<T> {
  const gone = Promise.withResolvers<never>()
  const onClose = (): void => gone.reject(new LetGo('the engine is closed'))
  closed.addEventListener('abort', onClose, { once: true })
  try {
    return await Promise.race([act(), gone.promise])
  } finally {
    closed.removeEventListener('abort', onClose)
  }
}
