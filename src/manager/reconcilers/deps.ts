/** What reconcilers need: an inventory in memory, since they look every second, and the means of the sagas. */
import type { TaskId } from '../../base/ids.ts'
import type { SagaDeps } from '../sagas/deps.ts'
import type { Operation } from '../sagas/operation.ts'
import type { Nudges } from './nudges.ts'
import type { Records } from '../store/records.ts'

export interface ReconcilerDeps extends SagaDeps {
  /** The inventory as it was a moment ago; what is decided on it is checked again where it is written. */
  readonly inventory: {
    list<K extends 'host' | 'vm' | 'run' | 'disk' | 'promise' | 'cluster'>(kind: K): readonly Records[K][]
  }
  /** Begins an operation in the name of a reconciler. Throws what refuses it. */
  begin<Params>(startedBy: string, build: () => Promise<Operation<Params>>): Promise<TaskId>
  /** Makes one of them look at once. */
  readonly nudges?: Nudges
  /** Tasks that wait are tried again at once. */
  nudge(): void
}

/** A standing wish: looks at the world, and does what brings it nearer. Idempotent; called again and again. */
export interface Reconciler {
  readonly name: string
  /** How often it looks, milliseconds. */
  readonly everyMs: number
  look(): Promise<void>
  /** Ends what a look has begun and not waited for. */
  [Symbol.asyncDispose]?(): Promise<void>
}
