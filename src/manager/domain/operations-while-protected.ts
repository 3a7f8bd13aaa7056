/**
 * What may be done to a VM while it is held in step on two hosts. Every operation on VMs is in this table: each saga by its
 * name, and each route that changes a VM; operations-while-protected.test.ts finds one that is missing.
 */
import { HoldfastError } from '../../base/errors.ts'

export type WhileProtected =
  /** As ever. */
  | { readonly is: 'works' }
  /** In this way. */
  | { readonly is: 'works'; readonly how: string }
  /** A VM that it can be asked of has no second. */
  | { readonly is: 'not-met'; readonly why: string }
  | { readonly is: 'refused'; readonly why: string }

const works = { is: 'works' } as const
const stoppedOnly = { is: 'not-met', why: 'it is for stopped VMs, and those have no second copy' } as const

/** By the saga's name. */
export const sagasWhileProtected = {
  'vm.create': { is: 'not-met', why: 'there is no VM yet' },
  'vm.start': stoppedOnly,
  'vm.stop': { is: 'works', how: 'its protection is ended first; the wish for it stays' },
  'vm.shutdown': { is: 'works', how: 'its agent ends the protection when the guest is off; the wish for it stays' },
  'vm.delete': stoppedOnly,
  'vm.reset': works,
  'vm.reset-hung': { is: 'works', how: 'of a guest that has panicked, whose protection has ended by that' },
  'vm.pause': works,
  'vm.resume': works,
  'vm.migrate': {
    is: 'refused',
    why: 'it can move to the host of its second copy alone, without its disks, once that is in step',
  },
  'vm.move-disks': { is: 'refused', why: 'its disks are mirrored to those of its second copy' },
  'vm.clean-copies': works,
  'vm.protect': { is: 'refused', why: 'it has a second copy already' },
  'vm.unprotect': works,
  'vm.hand-over': works,
} as const satisfies Record<string, WhileProtected>

/** By the name of the route in the API. */
export const routesWhileProtected = {
  createVm: { is: 'not-met', why: 'there is no VM yet' },
  changeVm: { is: 'works', how: 'name, description and policies; the machine changes only while it is stopped' },
  deleteVm: stoppedOnly,
  startVm: stoppedOnly,
  shutdownVm: sagasWhileProtected['vm.shutdown'],
  stopVm: sagasWhileProtected['vm.stop'],
  resetVm: works,
  pauseVm: works,
  resumeVm: works,
  migrateVm: { is: 'works', how: 'to the host of its second copy, which takes over; any other move is refused' },
  precheckMigrate: works,
  protectVm: sagasWhileProtected['vm.protect'],
  precheckProtect: works,
  unprotectVm: works,
  settleVm: {
    is: 'works',
    how: 'once both of its hosts are confirmed off and nobody can say which copy is the newest',
  },
  createTicket: works,
} as const satisfies Record<string, WhileProtected>

type Refused = {
  [N in keyof typeof sagasWhileProtected]: (typeof sagasWhileProtected)[N] extends { is: 'refused' } ? N : never
}[keyof typeof sagasWhileProtected]

/** The error that a refused operation answers with. */
export function refusedWhileProtected(saga: Refused, name: string): HoldfastError {
  const { why } = sagasWhileProtected[saga]
  return new HoldfastError('refused', `${name} is protected: ${why}`, {
    reasons: [{ code: 'protected', message: why }],
    mend: `holdfast vm unprotect ${name} first.`,
  })
}
