/**
 * Death of a simulated process at any call that it makes to the outside. What it holds is wrapped; from its death on, no
 * call of its reaches anything, nothing that it waited for comes back, and no callback of its is called. To the rest of
 * its code that is what SIGKILL is: the next line never runs.
 */
export class Life {
  #calls = 0
  #dieAt: number
  #isOver = false

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
    this.#isOver = true
  }

  /** Counts a call to the outside; false when the process is dead before it. */
  call(): boolean {
    if (++this.#calls >= this.#dieAt) this.#isOver = true
    return !this.#isOver
  }
}

const forever = new Promise<never>(() => undefined)

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

function wrapResult(result: unknown, life: Life): unknown {
  if (result instanceof Promise) {
    return result.then(
      (value) => (life.isOver ? forever : wrapResult(value, life)),
      (thrown: unknown) => (life.isOver ? forever : Promise.reject(thrown as Error)),
    )
  }
  return hasMethods(result) ? mortal(result, life) : result
}

function wrapCallbacks(arg: unknown, life: Life): unknown {
  if (typeof arg === 'function')
    return (...args: unknown[]) => (life.isOver ? forever : (Reflect.apply(arg, undefined, args) as unknown))
  if (typeof arg !== 'object' || arg === null || Object.getPrototypeOf(arg) !== Object.prototype) return arg
  return Object.fromEntries(Object.entries(arg).map(([name, value]) => [name, wrapCallbacks(value, life)]))
}

function hasMethods(value: unknown): value is object {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || Array.isArray(value)) return false
  if (Symbol.asyncDispose in value) return true
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype !== Object.prototype && prototype !== null && !(value instanceof Error) && !(value instanceof Map)
}
