/** Test code: faults put around the steps of a saga, the store's log writes, and the calls of its deps. */
import { HoldfastError } from '../../base/errors.ts'
import type { Store } from '../store/store.ts'
import type { AnyStep } from './saga.ts'
import type { AnySaga } from './task-runner.ts'

export type Verb = 'do' | 'undo' | 'settle'

export interface StepCall {
  readonly step: string
  readonly kind: AnyStep['kind']
  readonly verb: Verb
  /** The how manieth call of this verb of this step, from 1. */
  readonly nth: number
}

export type StepFault =
  /** Fails with a definite answer, nothing done. */
  | 'fail'
  /** Does it, then fails with a definite answer: half done. */
  | 'fail-after'
  /** The request is lost: nothing done, outcome unknown. */
  | 'lost-request'
  /** The reply is lost: done, outcome unknown. */
  | 'lost-reply'
  /** Runs it twice. */
  | 'repeat'
  /** A cancel is asked just before, or just after. */
  | 'cancel-before'
  | 'cancel-after'

export type CrashWhen = 'before' | 'after'

export interface Faults {
  /** What befalls this call of a step; undefined: nothing. */
  readonly step?: (call: StepCall) => StepFault | undefined
  /** Whether the manager dies around its nth commit (from 1), in all its lives. */
  readonly crashAtCommit?: (nth: number) => CrashWhen | undefined
  /** What befalls the nth call (from 1) of the deps named in `faultyDeps`. */
  readonly dep?: (nth: number, path: string) => 'lost-request' | 'lost-reply' | `crash-${CrashWhen}` | undefined
}

function lost(what: string): HoldfastError {
  return new HoldfastError('unreachable', `injected: no answer from ${what}`)
}

/** The saga with faults around its steps. */
export function withStepFaults(
  definition: AnySaga,
  faultOf: NonNullable<Faults['step']>,
  cancel: () => Promise<void>,
): AnySaga {
  const counts = new Map<string, number>()
  const around = async <T>(step: AnyStep, verb: Verb, act: () => Promise<T>): Promise<T> => {
    const key = `${verb} ${step.name}`
    const nth = (counts.get(key) ?? 0) + 1
    counts.set(key, nth)
    const fault = faultOf({ step: step.name, kind: step.kind, verb, nth })
    return applyStepFault(fault, key, act, cancel)
  }
  const steps = definition.steps.map((step): AnyStep => {
    const own = step.do.bind(step)
    if (step.kind === 'commit') {
      const settle = step.settle.bind(step)
      return {
        ...step,
        do: (context) => around(step, 'do', () => own(context)),
        settle: (context) => around(step, 'settle', () => settle(context)),
      }
    }
    const undo = step.undo?.bind(step)
    return {
      ...step,
      do: (context) => around(step, 'do', () => own(context)),
      ...(undo === undefined ? {} : { undo: (context) => around(step, 'undo', () => undo(context)) }),
    }
  })
  return { ...definition, steps }
}

async function applyStepFault<T>(
  fault: StepFault | undefined,
  what: string,
  act: () => Promise<T>,
  cancel: () => Promise<void>,
): Promise<T> {
  if (fault === 'fail') throw new HoldfastError('host-error', `injected: ${what} fails`)
  if (fault === 'lost-request') throw lost(what)
  if (fault === 'cancel-before') await cancel()
  const output = await act()
  switch (fault) {
    case 'repeat':
      return act()
    case 'lost-reply':
      throw lost(what)
    case 'fail-after':
      throw new HoldfastError('host-error', `injected: ${what} fails after it was done`)
    case 'cancel-after':
      await cancel()
      return output
    default:
      return output
  }
}

/** A promise of a process that has died. */
function dead<T>(): Promise<T> {
  return new Promise<T>(() => undefined)
}

/** One life of the manager: when it has crashed, nothing that it asked for is ever answered. */
export class Life {
  readonly #crashed = Promise.withResolvers<undefined>()
  isCrashed = false

  get crashed(): Promise<undefined> {
    return this.#crashed.promise
  }

  /** Never resolves. */
  crash<T>(): Promise<T> {
    this.isCrashed = true
    this.#crashed.resolve(undefined)
    return dead<T>()
  }

  /** The store as this life sees it. `crashAt` is asked for each commit. */
  store(inner: Store, crashAt: () => CrashWhen | undefined): Store {
    const commit: Store['commit'] = async (asked) => {
      const when = crashAt()
      if (when === 'before') return this.crash()
      const result = await inner.commit(asked)
      return when === 'after' ? this.crash() : result
    }
    return new Proxy(inner, {
      get: (target, property) => {
        const value: unknown = property === 'commit' ? commit : Reflect.get(target, property, target)
        if (typeof value !== 'function') return value
        return (...given: unknown[]): unknown =>
          this.isCrashed ? dead() : (Reflect.apply(value, target, given) as unknown)
      },
    })
  }

  /** An object whose methods that answer with a promise are subject to faults; what they return is wrapped likewise. */
  deps(inner: object, path: string, faultOf: (path: string) => ReturnType<NonNullable<Faults['dep']>>): object {
    return new Proxy(inner, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property, target)
        const at = `${path}.${String(property)}`
        if (typeof value === 'function') {
          return (...given: unknown[]) => this.#call(at, () => Reflect.apply(value, target, given) as unknown, faultOf)
        }
        return value
      },
    })
  }

  #call(path: string, act: () => unknown, faultOf: (path: string) => ReturnType<NonNullable<Faults['dep']>>): unknown {
    if (this.isCrashed) return dead()
    if (!isAsyncPath(path)) {
      const value = act()
      if (value instanceof Promise) asyncPaths.add(path)
      else return typeof value === 'object' && value !== null ? this.deps(value, `${path}()`, faultOf) : value
      return value
    }
    const fault = faultOf(path)
    if (fault === 'lost-request') return Promise.reject(lost(path))
    if (fault === 'crash-before') return this.crash()
    return Promise.resolve(act()).then((value) => {
      if (fault === 'lost-reply') throw lost(path)
      return fault === 'crash-after' || this.isCrashed ? this.crash() : value
    })
  }
}

/** Methods known (from an undisturbed run) to answer with a promise; only those can lose a reply. */
const asyncPaths = new Set<string>()

function isAsyncPath(path: string): boolean {
  return asyncPaths.has(path)
}
