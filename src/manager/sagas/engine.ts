/**
 * Runs sagas: many tasks at once, each one step after the other, from a log in the store that survives the death of the
 * manager at any instruction (`recover`).
 *
 * Only the manager that holds the lead starts and recovers tasks. Two that both believe to hold it do no harm to the
 * log: a task's record names the engine that runs it, every write of it is compare-and-set, and the engine that was
 * dispossessed lets go at its next write. Steps being idempotent, and agents refusing old generations, cover the rest.
 */
import { deadline, isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError, ok, refused, type Result } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { TaskRecord } from '../store/records.ts'
import type { Change, Commit, CommitResult, NewEvent, Revision, Store, Stored } from '../store/store.ts'
import { isByItself } from './by-itself.ts'
import { Pauses, type PauseSettings } from './pauses.ts'
import type { SagaDefinition } from './saga.ts'
import { conflict, refusalOf, type StartResult } from './start-result.ts'
import { LetGo, TaskLog } from './task-log.ts'
import * as records from './task-records.ts'
import { TaskRunner, type AnySaga } from './task-runner.ts'
import { viewOfRecord, viewOfRunner, type TaskView } from './task-view.ts'
import { holdVm, releaseVm, type VmLock } from './vm-hold.ts'

export interface EngineOptions {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  /** Between tries of a step whose outcome is unknown. Default 250 ms to 15 s. */
  readonly retryPauses?: PauseSettings
  /** Between tries of a stuck task. Default 5 s to 5 min. */
  readonly stuckPauses?: PauseSettings
}

export interface StartOptions {
  readonly target: TaskRecord['target']
  /** Who asked: the token's name, or the reconciler. */
  readonly startedBy: string
  /** The VM that the task holds until it ends. */
  readonly lock?: VmLock
  /** Written in the same commit as the task. The VM's own record may be among them: it is then marked as held too. */
  readonly changes?: readonly Change[] | ((task: TaskId) => readonly Change[])
  readonly events?: readonly NewEvent[] | ((task: TaskId) => readonly NewEvent[])
}

export interface RecoverResult {
  readonly resumed: readonly TaskId[]
  /** No definition of this name (or step) is registered: an older or newer manager began them. */
  readonly unknown: readonly TaskId[]
}

const unknownSaga = 'unknown-saga'
/** Whoever asks for something waits no longer for what gives way to it. */
const makeWayMs = 15_000

export class SagaEngine implements AsyncDisposable {
  readonly #options: EngineOptions
  /** Names this engine in the records of the tasks that it runs. */
  readonly #id: string
  readonly #definitions = new Map<string, { definition: AnySaga; deps: unknown }>()
  readonly #running = new Map<string, { runner: TaskRunner; ended: Promise<void> }>()
  readonly #listeners = new Set<(view: TaskView) => void>()
  readonly #closed = new AbortController()
  #isDraining = false

  constructor(options: EngineOptions) {
    this.#options = options
    this.#id = options.random.uuid()
  }

  /** Makes a saga known by its name. All are registered before `recover`. Throws `internal` when it is malformed. */
  register<Params, Deps, Result>(definition: SagaDefinition<Params, Deps, Result>, deps: Deps): void {
    const names = new Set(definition.steps.map((step) => step.name))
    const commits = definition.steps.filter((step) => step.kind === 'commit').length
    if (!/^[a-z][a-z0-9.-]*\/[1-9][0-9]*$/.test(definition.name)) {
      throw new HoldfastError('internal', `saga ${definition.name} is not named like vm.migrate/1`)
    }
    if (this.#definitions.has(definition.name) || names.size !== definition.steps.length || commits > 1) {
      throw new HoldfastError('internal', `saga ${definition.name} is registered twice, or its steps are ambiguous`)
    }
    this.#definitions.set(definition.name, { definition: definition as unknown as AnySaga, deps })
  }

  /**
   * Creates the task, holds its VM and writes the caller's changes in one commit, then runs it. Throws what the store
   * throws (`unreachable`: it may have been started), and `unreachable` when the engine is closing.
   */
  async start<Params, Deps, Result>(
    definition: SagaDefinition<Params, Deps, Result>,
    params: Params,
    options: StartOptions,
  ): Promise<StartResult> {
    this.#throwIfStopping()
    const { store } = this.#options
    const known = this.#definitionOf(definition.name)
    const heldBy =
      options.lock === undefined ? null : ((await store.get('vm', options.lock.vm))?.value.operation ?? null)
    if (heldBy !== null) return refusalOf(options.lock?.vm ?? '', { heldBy })
    const id = (await store.nextId('task')) as TaskId
    const record = this.#newRecord(id, known.definition, params, options)
    const asked = typeof options.changes === 'function' ? options.changes(id) : (options.changes ?? [])
    const changes = options.lock === undefined ? { changes: asked } : await holdVm(store, options.lock, id, asked)
    if (!('changes' in changes)) return refusalOf(options.lock?.vm ?? '', changes)
    const events = typeof options.events === 'function' ? options.events(id) : (options.events ?? [])
    this.#throwIfStopping()
    const result = await this.#create(
      {
        changes: [{ do: 'create', kind: 'task', value: record }, ...changes.changes],
        events: [records.startedEvent(record), ...events],
      },
      id,
    )
    if (!result.ok) return this.#lostStart(options, result)
    this.#launch(known, { value: record, revision: result.revision }, true)
    return ok(id)
  }

  /** As `start`; a refusal is thrown as the HoldfastError that the API answers with. */
  async startOrThrow<Params, Deps, Result>(
    definition: SagaDefinition<Params, Deps, Result>,
    params: Params,
    options: StartOptions,
  ): Promise<TaskId> {
    const started = await this.start(definition, params, options)
    if (started.ok) return started.value
    throw new HoldfastError(started.reason, started.message, started.details)
  }

  /** Takes up every open task, each from its log. Called when this manager starts, or takes the lead. */
  async recover(): Promise<RecoverResult> {
    const resumed: TaskId[] = []
    const unknown: TaskId[] = []
    const { items } = await this.#options.store.list('task')
    for (const stored of items) {
      if (records.isEnded(stored.value) || this.#running.has(stored.value.id)) continue
      const known = this.#definitions.get(stored.value.saga)
      const { id } = stored.value
      const isKnown = known?.definition.steps.some((step) => step.name === stored.value.step) === true
      if (known !== undefined && (isKnown || stored.value.step === null)) {
        if (await this.#takeOver(stored, known)) resumed.push(id)
      } else {
        await this.#declareUnknown(stored)
        unknown.push(id)
      }
    }
    return { resumed, unknown }
  }

  /**
   * Asks a task to end and undo what it did. Resolves when that is durable, not when it is undone. Refused with
   * `wrong-state` past the commit, when stuck, and when ended. The step that runs sees its signal aborted and must end by
   * itself: nothing is undone beside a step that still works.
   */
  async cancel(task: TaskId): Promise<Result<TaskView, 'wrong-state' | 'not-found'>> {
    const entry = this.#running.get(task)
    if (entry !== undefined && (await cancelled(entry.runner))) return ok(viewOfRunner(entry.runner))
    const view = await this.view(task)
    if (view === undefined) return refused('not-found', `there is no task ${task}`)
    const state = view.record.state
    const why = state === 'running' ? 'past its point of no return' : state
    return refused('wrong-state', `task ${task} is ${why} and cannot be cancelled`)
  }

  /**
   * Calls off a task that the manager began by itself and can begin again, and waits for its end. False: it is another
   * kind of task, it is past its point of no return, or it has not ended after fifteen seconds.
   */
  async makeWay(task: TaskId): Promise<boolean> {
    const record = (await this.view(task))?.record
    if (record === undefined || records.isEnded(record)) return true
    const givesWay = this.#definitions.get(record.saga)?.definition.givesWay === true
    if (!givesWay || !isByItself(record.startedBy) || !(await this.cancel(task)).ok) return false
    using limit = deadline(this.#options.clock, makeWayMs, stopping())
    return await this.wait(task, limit.signal).then(
      ({ record: ended }) => records.isEnded(ended),
      () => false,
    )
  }

  /**
   * Resolves when the task has ended; at once when this engine does not run it. Rejects with the signal's reason, with
   * `not-found`, and with `unreachable` when the engine lets go of it first.
   */
  async wait(task: TaskId, signal: AbortSignal): Promise<TaskView> {
    const entry = this.#running.get(task)
    if (entry !== undefined) {
      await untilAborted(entry.ended, signal)
      const { record } = entry.runner.log
      if (!records.isEnded(record) && record.state !== 'stuck') throw stopping()
      return viewOfRunner(entry.runner)
    }
    const view = await this.view(task)
    if (view === undefined) throw new HoldfastError('not-found', `there is no task ${task}`)
    return view
  }

  /** The task now; undefined when there is none of this id. */
  async view(task: TaskId): Promise<TaskView | undefined> {
    const entry = this.#running.get(task)
    if (entry !== undefined) return viewOfRunner(entry.runner)
    const stored = await this.#options.store.get('task', task)
    return stored === undefined ? undefined : this.viewOf(stored)
  }

  /** A record that was read from the store (a list of tasks), with what is known in memory. */
  viewOf(stored: Stored<TaskRecord>): TaskView {
    const entry = this.#running.get(stored.value.id)
    if (entry !== undefined) return viewOfRunner(entry.runner)
    return viewOfRecord(stored, this.#definitions.get(stored.value.saga)?.definition.steps.length ?? 0)
  }

  /** Tries again at once what waits: one task, or all (a host came back). */
  nudge(task?: TaskId): void {
    for (const [id, { runner }] of this.#running) if (task === undefined || id === task) runner.nudge()
  }

  /** Calls back whenever a running task has gone on, at its rate of reports: the listener thins them out. */
  onProgress(listener: (view: TaskView) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  /** Ids of the tasks that this engine runs. */
  get runningTasks(): readonly string[] {
    return [...this.#running.keys()]
  }

  /**
   * Stops working without ending tasks: no step begins any more, steps that run get `graceMs` to end, then they are let
   * go of as if the process had died. The next start's `recover` goes on from the log. Their signals are not aborted.
   */
  async close(graceMs = 0): Promise<void> {
    this.#isDraining = true
    this.nudge()
    const all = Promise.all([...this.#running.values()].map((entry) => entry.ended))
    const over = new AbortController()
    const grace = graceMs > 0 ? this.#options.clock.sleep(graceMs, over.signal).catch(() => undefined) : undefined
    await Promise.race([all, grace])
    over.abort(new Error('drained'))
    this.#closed.abort(stopping())
    await all
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #definitionOf(name: string): { definition: AnySaga; deps: unknown } {
    const known = this.#definitions.get(name)
    if (known === undefined) throw new HoldfastError('internal', `saga ${name} is not registered with this engine`)
    return known
  }

  #throwIfStopping(): void {
    if (this.#isDraining) throw stopping()
  }

  #newRecord(id: TaskId, definition: AnySaga, params: unknown, options: StartOptions): TaskRecord {
    return {
      id,
      v: 1,
      saga: definition.name,
      target: options.target,
      params: records.asStored(params),
      state: 'running',
      step: definition.steps[0]?.name ?? null,
      outputs: [],
      cancelAsked: false,
      problem: null,
      result: null,
      holds: options.lock?.vm ?? null,
      runner: this.#id,
      stuck: null,
      startedBy: options.startedBy,
      created: isoTime(this.#options.clock.now()),
      ended: null,
    }
  }

  /** A commit whose reply was lost is looked up: else the task would be there, and hold its VM, and nobody run it. */
  async #create(commit: Commit, task: TaskId): Promise<CommitResult> {
    try {
      return await this.#options.store.commit(commit)
    } catch (thrown) {
      if (!(thrown instanceof HoldfastError) || !thrown.isUnknown) throw thrown
      const stored = await this.#options.store.get('task', task)
      if (stored?.value.runner !== this.#id) throw thrown
      return { ok: true, revision: stored.revision }
    }
  }

  /** The commit of a start lost a race: perhaps to another operation on the same VM. */
  async #lostStart(
    options: StartOptions,
    lost: { readonly kind: string; readonly id: string; readonly actual: Revision },
  ): Promise<StartResult> {
    const vm = options.lock?.vm
    if (vm !== undefined && lost.kind === 'vm' && lost.id === vm) {
      const heldBy = (await this.#options.store.get('vm', vm))?.value.operation ?? null
      if (heldBy !== null) return refusalOf(vm, { heldBy })
    }
    return conflict(lost.kind, lost.id, lost.actual)
  }

  /** Writes this engine into the record, which fences off the one that ran it before. */
  async #takeOver(stored: Stored<TaskRecord>, known: { definition: AnySaga; deps: unknown }): Promise<boolean> {
    const wasUnknown = stored.value.state === 'stuck' && stored.value.problem?.details?.['reason'] === unknownSaga
    const { stuck } = stored.value
    const restored: TaskRecord = wasUnknown
      ? { ...stored.value, state: stuck?.was ?? 'running', problem: stuck?.failure ?? null, stuck: null }
      : stored.value
    const value: TaskRecord = { ...restored, runner: this.#id }
    const change: Change = { do: 'update', kind: 'task', value, expected: stored.revision }
    const result = await this.#options.store.commit({ changes: [change], events: [] })
    if (!result.ok) return false
    this.#launch(known, { value, revision: result.revision }, false)
    return true
  }

  async #declareUnknown(stored: Stored<TaskRecord>): Promise<void> {
    if (stored.value.state === 'stuck') return
    const problem = {
      code: 'internal',
      detail: `This manager does not know the operation ${stored.value.saga} (step ${stored.value.step ?? 'none'}).`,
      mend: 'Run the version of Holdfast that began it until it has ended, then upgrade again.',
      details: { reason: unknownSaga },
    }
    this.#options.logger.error({ task: stored.value.id, saga: stored.value.saga }, 'a task of an unknown operation')
    const value: TaskRecord = { ...records.getsStuck(stored.value, problem), runner: this.#id }
    await this.#options.store.commit({
      changes: [{ do: 'update', kind: 'task', value, expected: stored.revision }],
      events: [records.stuckEvent(stored.value, problem)],
    })
  }

  #launch(known: { definition: AnySaga; deps: unknown }, stored: Stored<TaskRecord>, isNew: boolean): void {
    const { store, clock, random, logger } = this.#options
    const retryPauses = this.#options.retryPauses ?? { firstMs: 250, longestMs: 15_000 }
    const stuckPauses = this.#options.stuckPauses ?? { firstMs: 5_000, longestMs: 300_000 }
    const closed = this.#closed.signal
    const pauses = new Pauses(random, retryPauses)
    const log = new TaskLog({ store, clock, logger, runner: this.#id, pauses, closed }, stored)
    const runner = new TaskRunner(known.definition, known.deps, log, isNew, {
      clock,
      random,
      logger,
      retryPauses,
      stuckPauses,
      closed,
      isDraining: () => this.#isDraining,
      onProgress: (of) => this.#tell(of),
      release: (record) => releaseVm(store, record),
    })
    const ended = runner.run().finally(() => this.#running.delete(stored.value.id))
    this.#running.set(stored.value.id, { runner, ended })
  }

  #tell(runner: TaskRunner): void {
    if (this.#listeners.size === 0) return
    const view = viewOfRunner(runner)
    for (const listener of this.#listeners) {
      try {
        listener(view)
      } catch (err) {
        this.#options.logger.error({ err, task: view.record.id }, 'a listener to progress failed')
      }
    }
  }
}

function stopping(): HoldfastError {
  return new HoldfastError('unreachable', 'this manager is stopping', { mend: 'Try again in a moment.' })
}

/** Throws `unreachable` when the engine lets go of the task meanwhile. */
async function cancelled(runner: TaskRunner): Promise<boolean> {
  try {
    return await runner.cancel()
  } catch (thrown) {
    throw thrown instanceof LetGo ? stopping() : thrown
  }
}

/** The promise, or the signal's reason, whichever comes first. */
async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => aborted.reject(signal.reason as Error)
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await Promise.race([promise, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
