/**
 * Power on. The intent `on` is committed with the task; the host's own agent moves the run record before any vCPU runs.
 *
 *   place ─▶ start        undo: the start is called off (a late one is refused), the intent is put back
 */
import type { HostId, VmId } from '../../base/ids.ts'
import { saga } from './saga.ts'
import type { SagaDeps } from './deps.ts'
import { callOffStart, chooseHost, startSomewhere } from './starting.ts'
import { restorePower } from './vm-records.ts'

export interface StartVmParams {
  readonly vm: VmId
  /** The one host that is asked for; null: placed. */
  readonly host: HostId | null
  /** Taken when it can take the VM still; absent: the best of all. */
  readonly prefer?: HostId
  /** Somebody asks for it: admission control may refuse. What the manager does by itself is never refused so. */
  readonly isAsked?: boolean
  /** The intent before this operation, put back when it fails. */
  readonly powerBefore: 'on' | 'off'
}

export const startVmSaga = saga<StartVmParams, SagaDeps>('vm.start/1')
  .step({
    name: 'place',
    weight: 1,
    do: async ({ params, deps }) => ({ host: await chooseHost(deps, params) }),
    undo: ({ params, deps }) => restorePower(deps, params.vm, params.powerBefore),
  })
  .step({
    name: 'start',
    weight: 9,
    do: async ({ params, deps, done }) => ({ host: await startSomewhere(deps, params, done.place.host) }),
    undo: ({ params, deps }) => callOffStart(deps, params.vm),
  })
  .result((done) => ({ host: done.start.host }))
