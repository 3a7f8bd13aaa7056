/**
 * Ends a VM's protection. The primary wins the pair's configuration by its arbiter and goes on alone; then the second gives
 * up what it holds, and its images are deleted.
 *
 *   end (record: no second any more) ─▶ clean
 */
import type { VmId } from '../../base/ids.ts'
import type { SagaDeps } from './deps.ts'
import { cleanFormer } from './former-copies.ts'
import { endPair } from './protection-watch.ts'
import { saga } from './saga.ts'
import { changeVm, needRun } from './vm-records.ts'

export interface UnprotectVmParams {
  readonly vm: VmId
  /** The wish before this operation, put back when it fails. */
  readonly isWantedBefore: boolean
}

export const unprotectVmSaga = saga<UnprotectVmParams, SagaDeps>('vm.unprotect/1')
  .step({
    name: 'end',
    weight: 5,
    do: async ({ params, deps }) => {
      await endProtection(deps, params.vm)
      return null
    },
    undo: ({ params, deps }) =>
      changeVm(deps, params.vm, (vm) =>
        vm.protection === undefined || vm.protection.isWanted === params.isWantedBefore
          ? vm
          : { ...vm, protection: { ...vm.protection, isWanted: params.isWantedBefore } },
      ),
  })
  .step({
    name: 'clean',
    do: async ({ params, deps, task }) => {
      // What cannot be reached now is cleaned up later (reconcilers/stale-copies.ts).
      await cleanFormer(deps, params.vm, task)
      return null
    },
  })
  .result(() => null)

/** Resolves when the record names no second. Throws `unreachable` while that is not known. */
export async function endProtection(deps: SagaDeps, vm: VmId): Promise<void> {
  const run = await needRun(deps, vm)
  if (run.protection) await endPair(deps, { vm, n: run.protection.n, task: null })
}
