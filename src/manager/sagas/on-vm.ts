import type { VmRecord } from '../store/records.ts'
import type { Change, Stored } from '../store/store.ts'
import type { Operation } from './operation.ts'

/** What every operation on a VM has: its target, the hold, and the intent that is committed with its task. */
export function onVm(vm: Stored<VmRecord>, power?: 'on' | 'off'): Omit<Operation<never>, 'saga' | 'params'> {
  const { id, name } = vm.value
  const changes: Change[] =
    power === undefined || power === vm.value.power
      ? []
      : [{ do: 'update', kind: 'vm', value: { ...vm.value, power }, expected: vm.revision }]
  return { target: { kind: 'vm', id, name }, lock: { vm: id, expectedRevision: vm.revision }, changes }
}
