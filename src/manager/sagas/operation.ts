/** An operation ready to begin: the saga, its parameters, and what is committed together with its task. */
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { MadeObject, TaskRecord } from '../store/records.ts'
import type { Change, NewEvent } from '../store/store.ts'
import { isByItself } from './by-itself.ts'
import type { SagaEngine } from './engine.ts'
import type { SagaDefinition } from './saga.ts'
import type { VmLock } from './vm-hold.ts'

export interface Operation<Params> {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- deps and results differ, and the engine knows them
  readonly saga: SagaDefinition<Params, any, any>
  readonly params: Params
  readonly target: TaskRecord['target']
  readonly lock?: VmLock
  readonly changes?: readonly Change[]
  readonly events?: readonly NewEvent[]
}

/** One of several: which, is decided as late as its parameters. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any -- each saga knows its own
export type AnyOperation = Operation<any>

/**
 * What a request with an idempotency key commits together with what it makes, so that the same request again is known for
 * what it is, whenever the manager dies.
 */
export interface Pledge {
  changeFor(made: MadeObject): Change
}

/** Who begins an operation. */
export interface Beginner {
  readonly name: string
  readonly pledge?: Pledge | undefined
}

const maxRaces = 10

/**
 * Begins what `build` makes of the inventory as it is; again when something changed meanwhile. What the manager does by
 * itself to the same VM, and does again later, gives way to what somebody asks for. Throws the refusals of
 * `build`, `operation-in-progress` with the task that holds the VM, and `conflict` after many lost races.
 */
export async function beginOperation<Params>(
  engine: Pick<SagaEngine, 'start' | 'makeWay'>,
  { name: startedBy, pledge }: Beginner,
  build: () => Promise<Operation<Params>>,
): Promise<TaskId> {
  for (let race = 0; race < maxRaces; race++) {
    const { saga, params, changes = [], ...options } = await build()
    const withPledge = (id: TaskId): readonly Change[] =>
      pledge === undefined ? changes : [...changes, pledge.changeFor({ kind: 'task', id })]
    const started = await engine.start(saga, params, { ...options, changes: withPledge, startedBy })
    if (started.ok) return started.value
    if (started.reason === 'operation-in-progress' && !isByItself(startedBy)) {
      if (await engine.makeWay(started.details.task)) continue
    }
    // The same key was faster elsewhere: deciding anew cannot help, its answer is there.
    const isTaken = started.reason === 'conflict' && started.details.kind === 'idempotency'
    if (started.reason !== 'conflict' || isTaken)
      throw new HoldfastError(started.reason, started.message, started.details)
  }
  throw new HoldfastError('conflict', 'Others kept changing the same objects', { mend: 'Try again in a moment.' })
}
