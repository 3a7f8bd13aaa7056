/** The operations of protection as values, ready to begin (`beginOperation`), and what others become while a VM is protected. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { ProtectionSettings } from '../../contracts/protection.ts'
import { refusedWhileProtected } from '../domain/operations-while-protected.ts'
import type { VmRecord } from '../store/records.ts'
import type { Stored } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import type { AnyOperation, Operation } from './operation.ts'
import { neverProtected } from './pair-records.ts'
import { handOverVmSaga, type HandOverVmParams } from './vm-hand-over.ts'
import { onVm } from './on-vm.ts'
import { migrateOperation } from './vm-operations.ts'
import { precheckProtection, protectVmSaga, refusedToProtect, type ProtectVmParams } from './vm-protect.ts'
import { needRun, needVm } from './vm-records.ts'
import { unprotectVmSaga, type UnprotectVmParams } from './vm-unprotect.ts'

/** Holds it in step on a second host from now on. Settings that are not given stay. Throws `refused` with every reason. */
export async function protectOperation(
  deps: SagaDeps,
  id: VmId,
  wish: { readonly host: HostId | null; readonly settings: ProtectionSettings | null },
): Promise<Operation<ProtectVmParams>> {
  const vm = await needVm(deps, id)
  const before = vm.value.protection ?? neverProtected
  if (vm.value.operation === null) await refuseToProtect(deps, vm.value, wish.host)
  const settings = wish.settings ?? before.settings
  const value: VmRecord = { ...vm.value, protection: { ...before, isWanted: true, settings } }
  const params = { vm: id, host: wish.host, settings, before: { isWanted: before.isWanted, settings: before.settings } }
  return {
    ...{ saga: protectVmSaga, params, ...onVm(vm) },
    changes: [{ do: 'update', kind: 'vm', value, expected: vm.revision }],
  }
}

async function refuseToProtect(deps: SagaDeps, vm: VmRecord, host: HostId | null): Promise<void> {
  const run = await needRun(deps, vm.id)
  if (run.phase !== 'running') {
    throw new HoldfastError('wrong-state', `${vm.name} is ${run.phase}`, {
      mend: 'Only a running VM can be protected.',
    })
  }
  if (run.protection) {
    const second = (await deps.store.get('host', run.protection.second))?.value.name ?? run.protection.second
    throw new HoldfastError('wrong-state', `${vm.name} has a second copy on ${second} already`, {
      mend: `holdfast vm unprotect ${vm.name} ends that.`,
    })
  }
  const checked = await precheckProtection(deps, { vm: vm.id, host })
  if (!checked.ok) throw refusedToProtect(vm.name, checked.reasons)
}

/** Nobody wants it protected any more. Throws `wrong-state` when nobody did, and it is not. */
export async function unprotectOperation(
  deps: Pick<SagaDeps, 'store'>,
  id: VmId,
): Promise<Operation<UnprotectVmParams>> {
  const vm = await needVm(deps, id)
  const { protection } = vm.value
  const run = await needRun(deps, id)
  if (protection?.isWanted !== true && !run.protection && vm.value.operation === null) {
    throw new HoldfastError('wrong-state', `${vm.value.name} is not protected`)
  }
  return endingOperation(vm, false)
}

function endingOperation(vm: Stored<VmRecord>, isWanted: boolean): Operation<UnprotectVmParams> {
  const before = vm.value.protection ?? neverProtected
  const value: VmRecord = { ...vm.value, protection: { ...before, isWanted, reason: null } }
  return {
    ...{ saga: unprotectVmSaga, params: { vm: vm.value.id, isWantedBefore: before.isWanted }, ...onVm(vm) },
    changes: [{ do: 'update', kind: 'vm', value, expected: vm.revision }],
  }
}

interface Destination {
  /** Null: placed. */
  readonly host: HostId | null
  readonly movesDisks: boolean
}

/** Where a protected VM would go by this wish: to its second host, which takes over. Undefined: it cannot so. */
export async function handOverTarget(
  deps: Pick<SagaDeps, 'store'>,
  vm: VmId,
  { host, movesDisks }: Destination,
): Promise<HostId | undefined> {
  const { protection } = await needRun(deps, vm)
  if (protection?.phase !== 'protected' || movesDisks) return undefined
  return host === null || host === protection.second ? protection.second : undefined
}

/** A move of a protected VM. Throws `refused` for any but that to its second host. */
async function handOverOperation(
  deps: Pick<SagaDeps, 'store'>,
  vm: Stored<VmRecord>,
  to: Destination,
): Promise<Operation<HandOverVmParams>> {
  const { protection, host: primary } = await needRun(deps, vm.value.id)
  const host = await handOverTarget(deps, vm.value.id, to)
  if (!protection || primary === null || host === undefined) throw refusedWhileProtected('vm.migrate', vm.value.name)
  return { saga: handOverVmSaga, params: { vm: vm.value.id, primary, host, n: protection.n }, ...onVm(vm) }
}

/** Takes a VM off a host: its second copy there ends (and is made elsewhere, that being wanted still), or it moves away. */
export async function leaveOperation(deps: SagaDeps, id: VmId, host: HostId): Promise<AnyOperation> {
  const vm = await needVm(deps, id)
  const run = await needRun(deps, id)
  if (run.protection?.second === host) return endingOperation(vm, vm.value.protection?.isWanted ?? false)
  return moveOperation(deps, id, {}, null)
}

/** A move as it is asked for: of a protected VM the takeover by its second, of any other a migration. */
export async function moveOperation(
  deps: SagaDeps,
  id: VmId,
  request: Parameters<typeof migrateOperation>[2],
  host: HostId | null,
  datastore: Parameters<typeof migrateOperation>[4] = null,
): Promise<AnyOperation> {
  const vm = await needVm(deps, id)
  const run = await needRun(deps, id)
  if (vm.value.operation !== null || !run.protection) return migrateOperation(deps, id, request, host, datastore)
  return handOverOperation(deps, vm, { host, movesDisks: datastore !== null })
}
