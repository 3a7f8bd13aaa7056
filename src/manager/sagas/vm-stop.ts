/** Power off at once. The intent `off` is committed with the task; the host's agent moves the record when QEMU is reaped. */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { SagaDeps } from './deps.ts'
import { transitionRun } from './run-records.ts'
import { saga } from './saga.ts'
import { endProtection } from './vm-unprotect.ts'
import { needHost, needRun, restorePower } from './vm-records.ts'

export interface StopVmParams {
  readonly vm: VmId
  /** The intent before this operation, put back when it fails. */
  readonly powerBefore: 'on' | 'off'
}

export const stopVmSaga = saga<StopVmParams, SagaDeps>('vm.stop/1')
  .step({
    name: 'stop',
    do: ({ params, deps }) => powerOff(deps, params.vm),
    undo: ({ params, deps }) => restorePower(deps, params.vm, params.powerBefore),
  })
  .result(() => null)

/** Resolves when the record says `stopped`. Throws `wrong-state` while it moves, `unreachable` while it is not known. */
export async function powerOff(deps: SagaDeps, vm: VmId): Promise<null> {
  for (let attempt = 0; attempt < 4; attempt++) {
    const run = await needRun(deps, vm)
    if (run.phase === 'stopped') return null
    if (run.phase !== 'running' || run.host === null) throw new HoldfastError('wrong-state', `${vm} is ${run.phase}`)
    if (run.protection) {
      // Only who is settled to be the one copy is stopped: the second would take a guest that vanishes for a dead host.
      await endProtection(deps, vm)
      continue
    }
    if (deps.hosts.stateOf(await needHost(deps, run.host)) === 'confirmed-off') {
      await transitionRun(deps, vm, { event: 'fenced' }, { generation: run.generation })
      continue
    }
    try {
      await deps.hosts.agent(run.host).stop(vm, { generation: run.generation, how: 'off' })
    } catch (thrown) {
      // The record has moved on since it was read: read it again.
      if (!(thrown instanceof HoldfastError) || thrown.code !== 'stale-generation') throw thrown
    }
  }
  if ((await needRun(deps, vm)).phase === 'stopped') return null
  throw new HoldfastError('unreachable', `The host has not said yet that ${vm} is stopped`)
}
