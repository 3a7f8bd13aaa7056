/**
 * Deletes what moves of a VM's disks have left behind, and what is left of second copies and of primaries that were taken
 * over, when a host or a datastore was out of reach at their end.
 */
import type { VmId } from '../../base/ids.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { SagaDeps } from './deps.ts'
import { deleteCopies } from './disk-copies.ts'
import { cleanFormer } from './former-copies.ts'
import { saga } from './saga.ts'

export interface CleanCopiesParams {
  readonly vm: VmId
}

export const cleanCopiesSaga = saga<CleanCopiesParams, SagaDeps>('vm.clean-copies/1')
  .step({
    name: 'delete',
    patienceMs: 10_000,
    do: async ({ params, deps, task }) => {
      const left = (await deleteCopies(deps, params.vm, task)) + (await cleanFormer(deps, params.vm, task))
      if (left > 0) throw new HoldfastError('unreachable', `${left} old copies of disks cannot be reached now`)
      return null
    },
  })
  .result(() => null)
