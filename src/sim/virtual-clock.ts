/**
 * Time that stands still until the simulation moves it. Timers fire in the order of their instant, then of their
 * making, so that one seed always gives one run. Between two firings all code that is ready runs to its next wait.
 *
 * A `node` is a clock of one simulated process on the same time: it can be frozen (nothing fires until thawed) and
 * killed (nothing ever fires again), and its wall clock can jump while its monotonic clock does not.
 */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'

export interface VirtualClockOptions {
  /** The wall clock at the beginning, milliseconds since 1970. */
  readonly startMs?: number
  /**
   * Turns of the event loop given to ready code between two firings. One turn runs every promise that is ready, and
   * what those make ready; more are needed only by code that itself waits for the event loop (streams).
   */
  readonly turns?: number
}

interface Pending {
  at: number
  readonly order: number
  readonly node: VirtualNodeClock
  readonly fire: () => void
  isDone: boolean
}

/** 2026-01-01T00:00:00Z: a fixed beginning, so that recorded times are the same in every run. */
const defaultStartMs = 1_767_225_600_000

/** The clock of one simulated process; made by `VirtualClock.node`. */
export class VirtualNodeClock implements Clock {
  readonly #world: VirtualClock
  #skewMs = 0
  #state: 'running' | 'frozen' | 'dead' = 'running'

  constructor(world: VirtualClock) {
    this.#world = world
  }

  now(): number {
    return this.#world.wallMs + this.#skewMs
  }

  monotonic(): number {
    return this.#world.elapsedMs
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) return reject(reasonOf(signal))
      const onAbort = (): void => {
        timer[Symbol.dispose]()
        reject(reasonOf(signal))
      }
      const timer = this.timer(ms, () => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      })
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  timer(ms: number, callback: () => void): Disposable {
    return this.#world.schedule(this, ms, callback)
  }

  /** Whether timers of this process may fire now. */
  get isRunning(): boolean {
    return this.#state === 'running'
  }

  get isDead(): boolean {
    return this.#state === 'dead'
  }

  /** The process stands still: what falls due meanwhile fires when it is thawed. */
  freeze(): void {
    if (this.#state === 'running') this.#state = 'frozen'
  }

  thaw(): void {
    if (this.#state === 'frozen') this.#state = 'running'
  }

  /** The process is gone: none of its timers and sleeps ever comes back. */
  kill(): void {
    this.#state = 'dead'
    this.#world.forget(this)
  }

  /** The wall clock of this process jumps; deadlines do not notice. */
  jump(ms: number): void {
    this.#skewMs += ms
  }
}

export class VirtualClock implements Clock {
  readonly #startMs: number
  readonly #turns: number
  #elapsed = 0
  #order = 0
  #pending: Pending[] = []
  readonly #self: VirtualNodeClock

  constructor(options: VirtualClockOptions = {}) {
    this.#startMs = options.startMs ?? defaultStartMs
    this.#turns = options.turns ?? 1
    this.#self = new VirtualNodeClock(this)
  }

  /** Virtual milliseconds since the beginning. */
  get elapsedMs(): number {
    return this.#elapsed
  }

  get wallMs(): number {
    return this.#startMs + this.#elapsed
  }

  now(): number {
    return this.#self.now()
  }

  monotonic(): number {
    return this.#elapsed
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#self.sleep(ms, signal)
  }

  timer(ms: number, callback: () => void): Disposable {
    return this.#self.timer(ms, callback)
  }

  /** The wall clock jumps; deadlines do not notice. */
  jump(ms: number): void {
    this.#self.jump(ms)
  }

  /** A clock for one simulated process. */
  node(): VirtualNodeClock {
    return new VirtualNodeClock(this)
  }

  /** Timers and sleeps that wait, those of frozen processes too. */
  get pendingCount(): number {
    return this.#pending.length
  }

  /** Lets all code that is ready run to its next wait. Time does not move. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < this.#turns; turn++) await nextTurn()
  }

  /** Moves time forward by `ms`, firing what falls due, in order. */
  async advance(ms: number): Promise<void> {
    await this.#runTo(this.#elapsed + ms, () => false)
  }

  /** Moves time until nothing waits any more, `withinMs` of virtual time at most (periodic timers never end). */
  async runUntilIdle(withinMs: number): Promise<void> {
    const until = this.#elapsed + withinMs
    await this.settle()
    for (;;) {
      const next = this.#next()
      if (next === undefined || next.at > until) return
      await this.#fire(next)
    }
  }

  /** Moves time until the condition holds; throws `timeout` when it does not within `withinMs` of virtual time. */
  async runUntil(condition: () => boolean, withinMs: number): Promise<void> {
    const startMs = this.#elapsed
    if (await this.#runTo(startMs + withinMs, condition)) return
    throw new HoldfastError('timeout', `the condition did not hold within ${withinMs} virtual ms`)
  }

  /** Moves time until the promise settles, and answers as it does; throws `timeout` after `withinMs` of virtual time. */
  async run<T>(promise: Promise<T>, withinMs: number): Promise<T> {
    let isSettled = false
    const mark = (): void => {
      isSettled = true
    }
    promise.then(mark, mark)
    await this.runUntil(() => isSettled, withinMs)
    return promise
  }

  /** For node clocks only: registers a timer. */
  schedule(node: VirtualNodeClock, ms: number, fire: () => void): Disposable {
    const entry = { at: this.#elapsed + Math.max(0, ms), order: this.#order++, node, fire, isDone: false }
    if (!node.isDead) this.#insert(entry)
    return {
      [Symbol.dispose]: () => {
        if (entry.isDone) return
        entry.isDone = true
        this.#pending = this.#pending.filter((other) => other !== entry)
      },
    }
  }

  /** For node clocks only: drops all timers of a process that died. */
  forget(node: VirtualNodeClock): void {
    this.#pending = this.#pending.filter((entry) => entry.node !== node)
  }

  async #runTo(untilMs: number, condition: () => boolean): Promise<boolean> {
    await this.settle()
    for (;;) {
      if (condition()) return true
      const next = this.#next()
      if (next === undefined || next.at > untilMs) break
      await this.#fire(next)
    }
    this.#elapsed = Math.max(this.#elapsed, untilMs)
    return false
  }

  #next(): Pending | undefined {
    return this.#pending.find((entry) => entry.node.isRunning)
  }

  async #fire(entry: Pending): Promise<void> {
    // What a frozen process missed fires late, never in the past.
    this.#elapsed = Math.max(this.#elapsed, entry.at)
    entry.isDone = true
    this.#pending.splice(this.#pending.indexOf(entry), 1)
    entry.fire()
    await this.settle()
  }

  /** Keeps the list in firing order; `order` grows, so an equal instant goes behind. */
  #insert(entry: Pending): void {
    let low = 0
    let high = this.#pending.length
    while (low < high) {
      const middle = (low + high) >> 1
      const other = this.#pending[middle]
      if (other !== undefined && other.at <= entry.at) low = middle + 1
      else high = middle
    }
    this.#pending.splice(low, 0, entry)
  }
}

function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason
  return reason instanceof Error ? reason : new Error(String(reason))
}

function nextTurn(): Promise<void> {
  // The one real wait of the simulation: it gives the promises that are ready their turn, and takes no time.
  // eslint-disable-next-line no-restricted-globals
  return new Promise((resolve) => setImmediate(resolve))
}
