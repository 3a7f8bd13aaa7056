/** The second copy of a VM in the VM's record: what is written with the transition that begins a pair, and with the one that ends it. */
import { HoldfastError } from '../../base/errors.ts'
import type { DiskId } from '../../base/ids.ts'
import { nvramKey, type MachineSpec } from '../../contracts/machine-spec.ts'
import { defaultProtectionSettings, type ArbiterId } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { FormerCopy, SecondCopy, VmProtectionRecord, VmRecord } from '../store/records.ts'
import type { Change } from '../store/store.ts'

/** A VM that nobody ever wanted protected. */
export const neverProtected: VmProtectionRecord = {
  isWanted: false,
  lastN: 0,
  settings: defaultProtectionSettings,
  second: null,
  former: [],
  reason: null,
}

/** The VM's record with a pair that begins, and the records of its images. Throws `conflict` for a number that was used. */
export function pairBegins(vm: VmRecord, second: SecondCopy): { vm: VmRecord; changes: Change[] } {
  const before = vm.protection ?? neverProtected
  if (before.lastN >= second.n) throw new HoldfastError('conflict', `Configuration ${second.n} was begun already`)
  const changes = second.copies.map(({ disk, datastore, sizeBytes, key }): Change => ({
    do: 'create',
    kind: 'disk',
    value: { id: disk, v: 1, datastore, vm: vm.id, sizeBytes, kind: key === nvramKey ? 'nvram' : 'disk' },
  }))
  return { vm: { ...vm, protection: { ...before, lastN: second.n, second, reason: null } }, changes }
}

/** The VM's record with another who decides: its number is used up, whoever chose it. */
export function arbiterChanges(
  vm: VmRecord,
  { n, arbiter }: { readonly n: number; readonly arbiter: ArbiterId },
): VmRecord {
  const { protection } = vm
  if (protection === undefined || protection.second === null) return vm
  const lastN = Math.max(protection.lastN, n)
  return { ...vm, protection: { ...protection, lastN, second: { ...protection.second, arbiter } } }
}

/**
 * The VM's record after a transition that ended a pair. Who runs it has the VM's images from now on: after a takeover those
 * are the second's. What the other one had is out.
 */
export function pairEnds(vm: VmRecord, before: RunRecord, after: RunRecord, reason: string | null): VmRecord {
  const { protection } = vm
  if (!before.protection || after.protection || protection === undefined || protection.second === null) return vm
  const { second } = protection
  const hasTakenOver = after.phase === 'running' && after.host === second.host
  const out: FormerCopy =
    hasTakenOver && before.host !== null
      ? { n: second.n, host: before.host, side: 'primary', disks: imagesOfMachine(vm.spec) }
      : { n: second.n, host: second.host, side: 'second', disks: second.copies.map(({ disk }) => disk) }
  const former = [...protection.former, out]
  const spec = hasTakenOver ? second.spec : vm.spec
  return { ...vm, spec, protection: { ...protection, second: null, former, reason } }
}

/** Ids of all images that a machine has. */
export function imagesOfMachine(spec: MachineSpec): DiskId[] {
  return [...spec.disks.map(({ disk }) => disk), ...(spec.nvram === null ? [] : [spec.nvram.disk])]
}
