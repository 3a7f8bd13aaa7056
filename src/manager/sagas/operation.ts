/** An operation ready to begin: the saga, its parameters, and what is committed together with its task. */
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { TaskRecord } from '../store/records.ts'
import type { Change, NewEvent } from '../store/store.ts'
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

const maxRaces = 10

/**
 * Begins what `build` makes of the inventory as it is; again when something changed meanwhile. Throws the refusals of
 * `build`, `operation-in-progress` with the task that holds the VM, and `conflict` after many lost races.
 */
export async function beginOperation<Params>(
  engine: Pick<SagaEngine, 'start'>,
  startedBy: string,
  build: () => Promise<Operation<Params>>,
): Promise<TaskId> {
  for (let race = 0; race < maxRaces; race++) {
    const { saga, params, ...options } = await build()
    const started = await engine.start(saga, params, { ...options, startedBy })
    if (started.ok) return started.value
    if (started.reason !== 'conflict') throw new HoldfastError(started.reason, started.message, started.details)
  }
  throw new HoldfastError('conflict', 'Others kept changing the same objects', { mend: 'Try again in a moment.' })
}
