/** Alarms of virtual machines. */
import type { StopCause } from '../../../contracts/run-record.ts'
import { mostRestarts } from '../restart-pauses.ts'
import {
  unknown,
  vmSubject,
  type AlarmTask,
  type AlarmVm,
  type AlarmWorld,
  type Condition,
  type Sight,
} from './condition.ts'

const hourMs = 3_600_000

/** It stopped without being asked. */
const failures: ReadonlySet<StopCause> = new Set(['crashed', 'host-lost', 'lost-in-move'])

function hasFailed({ power, run }: AlarmVm): boolean {
  return power === 'on' && run.phase === 'stopped' && run.cause !== null && failures.has(run.cause)
}

/** Starts that the manager began by itself and that came to run the VM, the newest last. */
function restartsOf(world: AlarmWorld, withinMs: number): Map<string, AlarmTask[]> {
  const found = new Map<string, AlarmTask[]>()
  for (const task of world.tasks) {
    if (!task.saga.startsWith('vm.start/') || task.state !== 'done' || task.ended === null || task.target === null)
      continue
    if (!task.startedBy.startsWith('reconciler/') || world.now - Date.parse(task.ended) > withinMs) continue
    found.set(task.target.id, [...(found.get(task.target.id) ?? []), task])
  }
  return found
}

export const vmRestarted: Condition = {
  type: 'vm-restarted',
  raiseAfterMs: 0,
  clearAfterMs: 0,
  look: (world) => {
    const { hosts, vms, settings } = world
    const restarts = restartsOf(world, settings.restartedHours * hourMs)
    return vms.flatMap((vm): Sight[] => {
      const all = restarts.get(vm.id) ?? []
      const last = all.at(-1)
      if (last === undefined) return []
      const host = hosts.find(({ id }) => id === vm.run.host)?.name ?? 'a host'
      const often = all.length === 1 ? 'once' : `${all.length} times`
      return [
        {
          ...{ subject: vmSubject(vm), severity: 'info', occurrence: last.id },
          message: `${vm.name} stopped without being asked and was started again, ${often} within ${settings.restartedHours} h; it was last recorded on ${host}`,
          mend: `\`holdfast event list\` shows why it stopped; the guest's own log may say more.`,
        },
      ]
    })
  },
}

export const restartPaused: Condition = {
  type: 'vm-restart-paused',
  raiseAfterMs: 5000,
  clearAfterMs: 5000,
  look: (world) =>
    exhausted(world).map((vm) => ({
      ...{ subject: vmSubject(vm), severity: 'critical' as const },
      message: `${vm.name} stopped and was started again ${mostRestarts(vm.run.cause)} times within an hour; it is left alone for a while`,
      mend: `Look at the guest's console and log, then \`holdfast vm start ${vm.name}\`.`,
    })),
}

function exhausted(world: AlarmWorld): AlarmVm[] {
  const restarts = restartsOf(world, hourMs)
  return world.vms.filter(
    (vm) =>
      hasFailed(vm) && vm.restart === 'on-failure' && (restarts.get(vm.id)?.length ?? 0) >= mostRestarts(vm.run.cause),
  )
}

export const guestGivenUp: Condition = {
  type: 'vm-guest-given-up',
  raiseAfterMs: 0,
  clearAfterMs: 5000,
  look: ({ vms }) =>
    vms
      .filter(({ isGivenUp }) => isGivenUp)
      .map((vm) => ({
        ...{ subject: vmSubject(vm), severity: 'critical' as const },
        message: `the guest of ${vm.name} hangs or has panicked, and was reset as often as its policy allows`,
        mend: `\`holdfast vm evidence ${vm.name}\` shows what was seen of it; then look at its console, and reset it.`,
      })),
}

export const vmDown: Condition = {
  type: 'vm-down',
  // A restart takes a moment.
  raiseAfterMs: 30_000,
  clearAfterMs: 5000,
  look: (world) => {
    const paused = new Set(exhausted(world))
    return world.vms.flatMap((vm): Sight[] => {
      if (!hasFailed(vm) || paused.has(vm)) return []
      const isRestarted = vm.restart === 'on-failure'
      return [
        {
          ...{ subject: vmSubject(vm), severity: 'critical' },
          message: `${vm.name} should run, and is stopped (${vm.run.cause}) since ${vm.run.since}`,
          mend: isRestarted
            ? 'It is started as soon as a host can take it: `holdfast task list` shows why none could.'
            : `Its policy is not to start it again: \`holdfast vm start ${vm.name}\`.`,
        },
      ]
    })
  },
}

export const outOfSpace: Condition = {
  type: 'vm-out-of-space',
  raiseAfterMs: 0,
  clearAfterMs: 5000,
  look: ({ vms, hosts }) =>
    vms.flatMap((vm): Sight[] => {
      const { phase, host: on } = vm.run
      if (phase === 'stopped' || on === null) return []
      const host = hosts.find(({ id }) => id === on)
      const seen = host?.vms?.get(vm.id)
      if (host === undefined || seen === undefined) return [unknown(vmSubject(vm))]
      if (!seen.outOfSpace) return []
      return [
        {
          ...{ subject: vmSubject(vm), severity: 'critical' },
          message: `${vm.name} is paused on ${host.name}: its datastore is full`,
          mend: `Make space, then \`holdfast vm resume ${vm.name}\`: it goes on where it was.`,
        },
      ]
    }),
}
