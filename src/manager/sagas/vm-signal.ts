/** Reset, pause, resume: one command to the host that runs the VM. */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { SagaDeps } from './deps.ts'
import { saga, type SagaDefinition } from './saga.ts'
import { needRun } from './vm-records.ts'

export interface SignalVmParams {
  readonly vm: VmId
}

export type VmSignal = 'reset' | 'pause' | 'resume'

function signalSaga(signal: VmSignal): SagaDefinition<SignalVmParams, SagaDeps, { host: string }> {
  return saga<SignalVmParams, SagaDeps>(`vm.${signal}/1`)
    .step({
      name: signal,
      do: async ({ params, deps, task }) => {
        const run = await needRun(deps, params.vm)
        if (run.phase !== 'running' || run.host === null) {
          throw new HoldfastError('wrong-state', `${params.vm} does not run (${run.phase})`)
        }
        await deps.hosts.agent(run.host).signal(params.vm, { generation: run.generation, signal, task })
        return { host: run.host }
      },
    })
    .result((done) => ({ host: (done as Record<VmSignal, { host: string }>)[signal].host }))
}

export const signalSagas = {
  reset: signalSaga('reset'),
  pause: signalSaga('pause'),
  resume: signalSaga('resume'),
} as const
