/** Routes of virtual machines. */
import { Task, Vm } from '../inventory.ts'
import { EvidenceList, EvidenceQuery } from '../monitoring.ts'
import { ChangeVm, CreateVm, MigratePrecheck, MigrateVm, StartVm } from '../vm-requests.ts'
import { ProtectPrecheck, ProtectVm } from '../vm-protection.ts'
import { OneOf, Open, Strict, Time, Type } from '../schema.ts'
import { EmptyBody, Page, paging, route } from './row.ts'

const VmListQuery = Strict({
  ...paging,
  name: Type.Optional(Type.String()),
  host: Type.Optional(Type.String()),
  state: Type.Optional(Type.String()),
})

export const TicketKind = OneOf(['serial', 'vnc'])
export const Ticket = Open({
  url: Type.String({ description: 'WebSocket path with the one-use ticket' }),
  expires: Time,
})

export const vmRoutes = {
  listVms: route({
    method: 'GET',
    path: '/v1/vms',
    summary: 'List VMs',
    group: 'vms',
    role: 'reader',
    query: VmListQuery,
    response: Page(Vm),
    status: 200,
  }),

  createVm: route({
    method: 'POST',
    path: '/v1/vms',
    summary: 'Create a VM',
    group: 'vms',
    role: 'operator',
    body: CreateVm,
    response: Task,
    status: 202,
  }),

  getVm: route({
    method: 'GET',
    path: '/v1/vms/{vm}',
    summary: 'Show a VM',
    group: 'vms',
    role: 'reader',
    response: Vm,
    status: 200,
  }),

  changeVm: route({
    method: 'PATCH',
    path: '/v1/vms/{vm}',
    summary: 'Change a VM: its machine while it is stopped, the rest at any time',
    group: 'vms',
    role: 'operator',
    body: ChangeVm,
    response: Vm,
    status: 200,
  }),

  deleteVm: route({
    method: 'DELETE',
    path: '/v1/vms/{vm}',
    summary: 'Delete a stopped VM and its disks',
    group: 'vms',
    role: 'operator',
    response: Task,
    status: 202,
  }),

  startVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/start',
    summary: 'Power on',
    group: 'vms',
    role: 'operator',
    body: StartVm,
    response: Task,
    status: 202,
  }),

  shutdownVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/shutdown',
    summary: 'Ask the guest to shut down (ACPI); done when it is off',
    group: 'vms',
    role: 'operator',
    body: Strict({ timeoutSeconds: Type.Optional(Type.Integer({ minimum: 1, maximum: 3600 })) }),
    response: Task,
    status: 202,
  }),

  stopVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/stop',
    summary: 'Power off at once',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  resetVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/reset',
    summary: 'Reset',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  pauseVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/pause',
    summary: 'Pause',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  resumeVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/resume',
    summary: 'Go on after a pause',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  migrateVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/migrate',
    summary: 'Move a running VM, its disks too where needed',
    group: 'vms',
    role: 'operator',
    body: MigrateVm,
    response: Task,
    status: 202,
  }),

  precheckMigrate: route({
    method: 'POST',
    path: '/v1/vms/{vm}/migrate/precheck',
    summary: 'Would this migration work?',
    group: 'vms',
    role: 'reader',
    body: MigrateVm,
    response: MigratePrecheck,
    status: 200,
  }),

  protectVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/protect',
    summary: 'Hold a running VM in step on a second host; done when it is protected',
    group: 'vms',
    role: 'operator',
    body: ProtectVm,
    response: Task,
    status: 202,
  }),

  precheckProtect: route({
    method: 'POST',
    path: '/v1/vms/{vm}/protect/precheck',
    summary: 'Could this VM be protected?',
    group: 'vms',
    role: 'reader',
    body: ProtectVm,
    response: ProtectPrecheck,
    status: 200,
  }),

  unprotectVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/unprotect',
    summary: 'End the protection; the VM runs on where it runs',
    group: 'vms',
    role: 'operator',
    body: EmptyBody,
    response: Task,
    status: 202,
  }),

  settleVm: route({
    method: 'POST',
    path: '/v1/vms/{vm}/settle',
    summary: 'A person says: the newest copy of this VM is lost. What the host that it ran on before had is the VM',
    group: 'vms',
    role: 'administrator',
    body: Strict({ iAmSure: Type.Literal(true) }),
    response: Vm,
    status: 200,
  }),

  createTicket: route({
    method: 'POST',
    path: '/v1/vms/{vm}/tickets',
    summary: 'A one-use ticket for a console WebSocket',
    group: 'vms',
    role: 'operator',
    body: Strict({ kind: TicketKind }),
    response: Ticket,
    status: 201,
  }),

  listEvidence: route({
    method: 'GET',
    path: '/v1/vms/{vm}/evidence',
    summary: 'What was seen of the guest just before it was reset because it hung or had panicked',
    group: 'vms',
    role: 'operator',
    query: EvidenceQuery,
    response: EvidenceList,
    status: 200,
  }),

  screenshotVm: route({
    method: 'GET',
    path: '/v1/vms/{vm}/screenshot',
    summary: 'The screen as PNG',
    group: 'vms',
    role: 'reader',
    response: Type.Unsafe<Uint8Array>({ type: 'string', contentMediaType: 'image/png' }),
    status: 200,
  }),
} as const
