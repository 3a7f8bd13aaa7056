/**
 * The operations on an existing VM as values, ready to begin (`beginOperation`). The intent that an operation changes is
 * committed with its task; what cannot be is refused before there is a task. vm-create.ts and image-import.ts have theirs.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId, VmId } from '../../base/ids.ts'
import type { MigrateVm } from '../../contracts/vm-requests.ts'
import { refusedWhileProtected } from '../domain/operations-while-protected.ts'
import type { HostRecord, VmRecord } from '../store/records.ts'
import type { Stored } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { maintenanceSaga, type MaintenanceParams } from './host-maintenance.ts'
import { onVm } from './on-vm.ts'
import type { Operation } from './operation.ts'
import { cleanCopiesSaga, type CleanCopiesParams } from './vm-clean-copies.ts'
import { deleteVmSaga, type DeleteVmParams } from './vm-delete.ts'
import { migrateVmSaga, precheck, type MigrateVmParams } from './vm-migrate.ts'
import { moveDisksSaga, type MoveDisksParams } from './vm-move-disks.ts'
import { needRun, needVm } from './vm-records.ts'
import { defaultShutdownSeconds, shutdownVmSaga, type ShutdownVmParams } from './vm-shutdown.ts'
import { signalSagas, type SignalVmParams, type VmSignal } from './vm-signal.ts'
import { startVmSaga, type StartVmParams } from './vm-start.ts'
import { stopVmSaga, type StopVmParams } from './vm-stop.ts'

type Deps = Pick<SagaDeps, 'store'>

async function refuseUnless(deps: Deps, vm: VmRecord, phase: 'stopped' | 'running', mend: string): Promise<void> {
  const run = await needRun(deps, vm.id)
  // While another operation works on it, that is the answer, and the hold gives it.
  if (run.phase === phase || vm.operation !== null) return
  throw new HoldfastError('wrong-state', `${vm.name} is ${run.phase}`, { mend })
}

/** Power on. Throws `not-found`, and `wrong-state` when it is not stopped. */
export async function startOperation(
  deps: Deps,
  id: VmId,
  host: HostId | null,
  how: Pick<StartVmParams, 'prefer' | 'isAsked'> = {},
): Promise<Operation<StartVmParams>> {
  const vm = await needVm(deps, id)
  await refuseUnless(deps, vm.value, 'stopped', 'Only a stopped VM can be started.')
  const params = { vm: id, host, ...how, powerBefore: vm.value.power }
  return { saga: startVmSaga, params, ...onVm(vm, 'on') }
}

/** Power off at once. A VM that is stopped already only changes its intent. */
export async function stopOperation(deps: Deps, id: VmId): Promise<Operation<StopVmParams>> {
  const vm = await needVm(deps, id)
  return { saga: stopVmSaga, params: { vm: id, powerBefore: vm.value.power }, ...onVm(vm, 'off') }
}

export async function shutdownOperation(
  deps: Deps,
  id: VmId,
  timeoutSeconds: number = defaultShutdownSeconds,
): Promise<Operation<ShutdownVmParams>> {
  const vm = await needVm(deps, id)
  await refuseUnless(deps, vm.value, 'running', 'Only a running VM can shut down.')
  return { saga: shutdownVmSaga, params: { vm: id, timeoutSeconds, powerBefore: vm.value.power }, ...onVm(vm, 'off') }
}

export async function signalOperation(deps: Deps, id: VmId, signal: VmSignal): Promise<Operation<SignalVmParams>> {
  const vm = await needVm(deps, id)
  await refuseUnless(deps, vm.value, 'running', `Only a running VM can be told to ${signal}.`)
  return { saga: signalSagas[signal], params: { vm: id }, ...onVm(vm) }
}

export async function deleteOperation(deps: Deps, id: VmId): Promise<Operation<DeleteVmParams>> {
  const vm = await needVm(deps, id)
  await refuseUnless(deps, vm.value, 'stopped', `Stop it first: holdfast vm stop ${vm.value.name}`)
  return { saga: deleteVmSaga, params: { vm: id, name: vm.value.name }, ...onVm(vm, 'off') }
}

/** How long a guest may stand still at the switch when nobody says, milliseconds. */
export const defaultDowntimeLimitMs = 300

/** What a request means for this VM: its own wishes before the VM's policies. */
export function migrateParams(
  vm: VmRecord,
  request: MigrateVm,
  host: HostId | null,
  datastore: DatastoreId | null,
): MigrateVmParams {
  return {
    vm: vm.id,
    host,
    datastore,
    maxBandwidth: request.maxBandwidth ?? null,
    downtimeLimitMs: request.downtimeLimitMs ?? defaultDowntimeLimitMs,
    autoConverge: request.autoConverge ?? vm.policies.autoConverge,
    allowPostCopy: request.allowPostCopy ?? vm.policies.allowPostCopy,
    needsPostCopy: request.allowPostCopy === true,
    ...(request.force === true ? { ignoresRules: true } : {}),
    multifdChannels: request.multifdChannels ?? 0,
    useTls: request.tls ?? true,
  }
}

/**
 * Moves a running VM. References are resolved by the caller; `host` null lets placement choose. Throws `refused` with
 * every reason when it cannot work: nothing was begun.
 */
export async function migrateOperation(
  deps: SagaDeps,
  id: VmId,
  request: MigrateVm,
  host: HostId | null,
  datastore: DatastoreId | null,
): Promise<Operation<MigrateVmParams>> {
  const vm = await needVm(deps, id)
  const params = migrateParams(vm.value, request, host, datastore)
  const checked = vm.value.operation === null ? await precheck(deps, params) : { ok: true as const }
  if (!checked.ok) {
    const message = checked.reasons.map((reason) => reason.message).join('; ')
    throw new HoldfastError('refused', `${vm.value.name} cannot be moved: ${message}`, { reasons: checked.reasons })
  }
  return { saga: migrateVmSaga, params, ...onVm(vm) }
}

/** Moves the disks alone. */
export async function moveDisksOperation(
  deps: Deps,
  id: VmId,
  datastore: DatastoreId,
): Promise<Operation<MoveDisksParams>> {
  const vm = await needVm(deps, id)
  if ((await needRun(deps, id)).protection && vm.value.operation === null) {
    throw refusedWhileProtected('vm.move-disks', vm.value.name)
  }
  return { saga: moveDisksSaga, params: { vm: id, datastore }, ...onVm(vm) }
}

export async function cleanCopiesOperation(deps: Deps, id: VmId): Promise<Operation<CleanCopiesParams>> {
  const vm = await needVm(deps, id)
  return { saga: cleanCopiesSaga, params: { vm: id }, ...onVm(vm) }
}

/** Empties a host. `entering` is committed with the task, so that nothing is placed there from then on. */
export function maintenanceOperation(host: Stored<HostRecord>): Operation<MaintenanceParams> {
  const { id, name, maintenance } = host.value
  if (maintenance !== 'off') {
    throw new HoldfastError('wrong-state', `${name} is in maintenance already (${maintenance})`)
  }
  const value: HostRecord = { ...host.value, maintenance: 'entering' }
  return {
    saga: maintenanceSaga,
    params: { host: id },
    target: { kind: 'host', id, name },
    changes: [{ do: 'update', kind: 'host', value, expected: host.revision }],
  }
}
