/** Alarms of VMs that are to be held in step on two hosts. */
import { isOfPair, type ProtectionObservation } from '../../../contracts/protection.ts'
import {
  runbookText,
  unknown,
  vmSubject,
  type AlarmVm,
  type AlarmWorld,
  type Condition,
  type Sight,
} from './condition.ts'

/** Those of which it is wanted, and that are not meant to be off. */
function wanted({ vms }: AlarmWorld): AlarmVm[] {
  return vms.filter(({ protection, power }) => protection?.isWanted === true && power === 'on')
}

export const unprotected: Condition = {
  type: 'vm-unprotected',
  raiseAfterMs: 30_000,
  clearAfterMs: 0,
  look: (world, isOpen) =>
    wanted(world).flatMap((vm): Sight[] => {
      const pair = vm.run.protection
      if (pair?.phase === 'protected') return []
      // A first copy takes as long as it takes; after a loss it is not over before it stands again.
      if (pair) return isOpen(vmSubject(vm)) ? [unknown(vmSubject(vm))] : []
      const why =
        vm.protection?.reason ?? (vm.run.phase === 'running' ? 'it has no second copy yet' : 'it does not run')
      return [
        {
          ...{ subject: vmSubject(vm), severity: 'warning' },
          message: `${vm.name} is not protected although that is wanted: ${why}`,
          mend: 'A second copy is made as soon as a host can hold it: bring another host up, or make room on one.',
        },
      ]
    }),
}

/** Phases in which a side has stopped the guest, or waits, for a word that does not come. */
const waiting: ReadonlySet<ProtectionObservation['phase']> = new Set(['claiming', 'confirming'])

export const undecided: Condition = {
  type: 'vm-protection-undecided',
  // A takeover takes a second or two.
  raiseAfterMs: 15_000,
  clearAfterMs: 0,
  look: ({ vms, hosts }) =>
    vms.flatMap((vm): Sight[] => {
      const { run } = vm
      const pair = run.protection
      if (!pair) return []
      const word = (id: string | null): ProtectionObservation | null => {
        const seen = hosts.find((host) => host.id === id)?.vms?.get(vm.id)?.protection ?? null
        return seen !== null && isOfPair(seen, pair) ? seen : null
      }
      const [primary, second] = [word(run.host), word(pair.second)]
      const stuck = [primary, second].find((each) => each !== null && waiting.has(each.phase))
      const isLost = primary === null && second === null
      if (stuck === undefined && !isLost) return []
      const why = isLost
        ? 'neither of its two hosts says anything of it'
        : (stuck?.problem ?? 'who decides does not answer')
      return [
        {
          ...{ subject: vmSubject(vm), severity: 'critical' },
          message: `nobody can say yet which copy of ${vm.name} goes on: ${why}`,
          mend: runbookText('protection-stuck'),
        },
      ]
    }),
}

export const clockBehind: Condition = {
  type: 'vm-clock-behind',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  look: ({ vms }) =>
    vms.flatMap((vm): Sight[] => {
      if (vm.protection?.isClockBehind !== true) return []
      return [
        {
          ...{ subject: vmSubject(vm), severity: 'warning' },
          message: `the clock of ${vm.name} is further behind than its protection allows`,
          mend: 'Have chrony or the QEMU guest agent run in the guest: either sets its clock right.',
        },
      ]
    }),
}
