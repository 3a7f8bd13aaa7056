import type { Clock } from '../base/clock.ts'

/**
 * Death of a simulated process at any call that it makes to the outside. What it holds is wrapped; from its death on, no
 * call of its reaches anything, nothing that it waited for comes back, and no callback of its is called. To the rest of
 * its code that is what SIGKILL is: the next line never runs. A frozen process goes on with all of it when it is thawed.
 */
export class Life {
  #calls = 0
  #dieAt: number
  #isOver = false
  #thaw: PromiseWithResolvers<void> | undefined
  readonly #listeners = new Set<() => void>()

  /** Dies right before call number `dieAt`; never by itself when absent. */
  constructor(dieAt = Number.POSITIVE_INFINITY) {
    this.#dieAt = dieAt
  }

  get calls(): number {
    return this.#calls
  }

  get isOver(): boolean {
    return this.#isOver
  }

  end(): void {
    if (this.#isOver) return
    this.#isOver = true
    for (const listener of [...this.#listeners]) listener()
    this.#listeners.clear()
  }

  /** Dies right before the call that comes after `calls` more. */
  endAfter(calls: number): void {
    this.#dieAt = this.#calls + calls + 1
  }

  /** Calls back once when it ends, unless disposed before. */
  onEnd(listener: () => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  /** Counts a call to the outside; false when the process is dead before it. */
  call(): boolean {
    if (++this.#calls >= this.#dieAt) this.end()
    return !this.#isOver
  }

  /** Nothing that it waits for comes back until `thaw`. */
  freeze(): void {
    this.#thaw ??= Promise.withResolvers<void>()
  }

  thaw(): void {
    this.#thaw?.resolve()
    this.#thaw = undefined
  }

  /** Resolves when it is thawed; undefined while it is not frozen. */
  get frozen(): Promise<void> | undefined {
    return this.#thaw?.promise
  }
}

/** What a dead process gets of any call: it never comes. Whatever else it takes it for does nothing. */
const forever: Promise<never> = Object.assign(new Promise<never>(() => undefined), {
  [Symbol.dispose]: () => undefined,
  [Symbol.asyncDispose]: () => forever,
  [Symbol.asyncIterator]: () => ({ next: () => forever }),
})

/** A clock as a mortal process has it. Reading the time is no call to the outside; waiting is. */
export function mortalClock(clock: Clock, life: Life): Clock {
  return {
    now: () => clock.now(),
    monotonic: () => clock.monotonic(),
    sleep: (ms, signal) => {
      if (!life.call()) return forever
      return wrapResult(clock.sleep(ms, signal), life) as Promise<void>
    },
    timer: (ms, callback) => {
      life.call()
      return clock.timer(ms, () => void awake(life, callback))
    },
  }
}

/** The same object, reached only while `life` lasts. Objects with methods that it returns are wrapped likewise. */
export function mortal<T extends object>(target: T, life: Life): T {
  return new Proxy(target, {
    get(_target, name) {
      const member: unknown = Reflect.get(target, name, target)
      if (typeof member !== 'function') return member
      return (...args: unknown[]) => {
        if (!life.call()) return forever
        const given = args.map((arg) => wrapCallbacks(arg, life))
        return wrapResult(Reflect.apply(member, target, given), life)
      }
    },
  })
}

/** Goes on when the process runs; never when it is dead. */
function awake<T>(life: Life, act: () => T): T | Promise<T> {
  if (life.isOver) return forever
  const { frozen } = life
  return frozen === undefined ? act() : frozen.then(() => awake(life, act))
}

function wrapResult(result: unknown, life: Life): unknown {
  if (result instanceof Promise) {
    return result.then(
      (value) => awake(life, () => wrapResult(value, life)),
      (thrown: unknown) => awake(life, () => Promise.reject(thrown as Error)),
    )
  }
  return hasMethods(result) ? mortal(result, life) : result
}

function wrapCallbacks(arg: unknown, life: Life): unknown {
  if (typeof arg === 'function')
    return (...args: unknown[]) => awake(life, () => Reflect.apply(arg, undefined, args) as unknown)
  if (typeof arg !== 'object' || arg === null || Object.getPrototypeOf(arg) !== Object.prototype) return arg
  return Object.fromEntries(Object.entries(arg).map(([name, value]) => [name, wrapCallbacks(value, life)]))
}

function hasMethods(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Array.isArray(value)) return false
  if (Symbol.asyncDispose in value) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype !== Object.prototype && prototype !== null && !(value instanceof Error) && !(value instanceof Map)
}
