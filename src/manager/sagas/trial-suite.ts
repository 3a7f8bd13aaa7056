/** Test code: one run of a saga in a fake world with faults, over the lives of as many managers as it takes. */
import assert from 'node:assert/strict'
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { TaskRecord } from '../store/records.ts'
import { SagaEngine, type StartOptions } from './engine.ts'
import { Life, withStepFaults, type Faults } from './fault-suite.ts'
import type { SagaDefinition } from './saga.ts'
import type { AnySaga } from './task-runner.ts'

export interface SuiteTools {
  readonly store: MemoryStore
  readonly clock: VirtualClock
  readonly random: SeededRandom
}

export interface SagaWorld<Params, Deps> {
  readonly deps: Deps
  readonly params: Params
  readonly start: StartOptions
  /** Throws when the world is not as it must be after such an end: all done, or all as before. */
  check(end: TrialEnd): Promise<void> | void
}

export interface TrialEnd {
  readonly state: 'done' | 'failed' | 'cancelled'
  readonly record: TaskRecord
}

export interface SagaSuiteOptions<Params, Deps, Result> {
  readonly definition: SagaDefinition<Params, Deps, Result>
  /** A fresh world; called for every run. It may write into the store. */
  readonly world: (tools: SuiteTools) => Promise<SagaWorld<Params, Deps>> | SagaWorld<Params, Deps>
  /** Names of deps whose calls are made to fail one by one (`agents`, `store`). */
  readonly faultyDeps?: readonly (keyof Deps & string)[]
  /** Virtual time that a run may take. Default two hours. */
  readonly withinMs?: number
  /** How many runs with random faults. Default 100. */
  readonly randomRuns?: number
}

export interface TrialReport {
  /** Undefined: the manager died before the task was there. */
  readonly end: TrialEnd | undefined
  /** Commits of the engine, over all lives. */
  readonly commits: number
  /** Calls of faulty deps, over all lives. */
  readonly depCalls: number
}

const mostLives = 200

/** Runs the saga once, to its end and the world's check. Throws what does not hold. */
export async function runTrial<Params, Deps extends object, Result>(
  options: SagaSuiteOptions<Params, Deps, Result>,
  faults: Faults,
  seed = 1,
): Promise<TrialReport> {
  const clock = new VirtualClock()
  const tools = { clock, store: new MemoryStore(clock), random: new SeededRandom(seed) }
  const world = await options.world(tools)
  return new Trial(options, faults, tools, world).run()
}

class Trial<Params, Deps extends object, Result> {
  readonly #options: SagaSuiteOptions<Params, Deps, Result>
  readonly #faults: Faults
  readonly #tools: SuiteTools
  readonly #world: SagaWorld<Params, Deps>
  readonly #definition: AnySaga
  #engine: SagaEngine | undefined
  #commits = 0
  #depCalls = 0
  #cancelAccepted = false

  constructor(
    options: SagaSuiteOptions<Params, Deps, Result>,
    faults: Faults,
    tools: SuiteTools,
    world: SagaWorld<Params, Deps>,
  ) {
    this.#options = options
    this.#faults = faults
    this.#tools = tools
    this.#world = world
    const untyped = options.definition as unknown as AnySaga
    this.#definition = withStepFaults(
      untyped,
      (call) => faults.step?.(call),
      () => this.#cancel(),
    )
  }

  async run(): Promise<TrialReport> {
    const { clock } = this.#tools
    for (let life = 0; life < mostLives; life++) {
      const ended = await clock.run(this.#live(life === 0), this.#options.withinMs ?? 7_200_000)
      if (ended === 'crashed') continue
      const end = await this.#check()
      return { end, commits: this.#commits, depCalls: this.#depCalls }
    }
    throw new Error(`the task has not ended after ${mostLives} lives of the manager`)
  }

  /** One life of a manager: starts the task or takes it up, and runs until it has ended or the manager dies. */
  async #live(isFirst: boolean): Promise<'ended' | 'crashed'> {
    const life = new Life()
    const clock = this.#tools.clock.node()
    const store = life.store(this.#tools.store, () => this.#faults.crashAtCommit?.(++this.#commits))
    const engine = new SagaEngine({ store, clock, random: this.#tools.random.fork(), logger: silentLogger })
    engine.register(this.#definition, this.#depsOf(life))
    this.#engine = engine
    const work = this.#work(engine, isFirst)
    const outcome = await Promise.race([work.then(() => 'ended' as const), life.crashed.then(() => 'crashed' as const)])
    if (outcome === 'crashed') clock.kill()
    else await engine.close()
    return outcome
  }

  async #work(engine: SagaEngine, isFirst: boolean): Promise<void> {
    if (isFirst) {
      const started = await engine.start(this.#definition, this.#world.params, this.#world.start)
      assert.ok(started.ok, 'the task could not be started')
    } else {
      await engine.recover()
    }
    const task = await this.#task()
    if (task === undefined) return
    const view = await engine.wait(task, new AbortController().signal)
    assert.notEqual(view.record.ended, null, 'the wait was over before the task had ended')
  }

  async #task(): Promise<TaskId | undefined> {
    return (await this.#tools.store.list('task')).items.at(-1)?.value.id
  }

  async #cancel(): Promise<void> {
    const task = await this.#task()
    if (task === undefined || this.#engine === undefined) return
    if ((await this.#engine.cancel(task)).ok) this.#cancelAccepted = true
  }

  #depsOf(life: Life): Deps {
    const faultOf = (path: string) => this.#faults.dep?.(++this.#depCalls, path)
    const wrapped = (this.#options.faultyDeps ?? []).map((name) => {
      const inner: unknown = this.#world.deps[name]
      if (typeof inner === 'object' && inner !== null) return [name, life.deps(inner, name, faultOf)] as const
      const whole = life.deps(this.#world.deps, 'deps', faultOf) as Record<string, unknown>
      return [name, whole[name]] as const
    })
    return Object.assign({}, this.#world.deps, Object.fromEntries(wrapped) as Partial<Deps>)
  }

  async #check(): Promise<TrialEnd | undefined> {
    for (const { value } of (await this.#tools.store.list('vm')).items) {
      assert.equal(value.operation, null, `${value.id} is still held after the end`)
    }
    const task = await this.#task()
    if (task === undefined) return undefined
    const record = (await this.#tools.store.get('task', task))?.value
    if (record === undefined) throw new HoldfastError('internal', 'the task is gone')
    const { state } = record
    assert.ok(state === 'done' || state === 'failed' || state === 'cancelled', `the task ended as ${state}`)
    if (state === 'cancelled') assert.ok(this.#cancelAccepted || record.cancelAsked, 'cancelled, and nobody asked')
    const end = { state, record }
    await this.#world.check(end)
    return end
  }
}
