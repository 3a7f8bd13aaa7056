/** One look at the guest of a VM, while it can be judged at all. */
import type { Clock } from '../../base/clock.ts'
import type { GuestObservation } from '../../contracts/monitoring.ts'
import type { FramesSent, GuestSigns } from '../guest/guest-signs.ts'
import { GuestWatch } from '../guest/guest-watch.ts'
import type { VmCore } from './vm-core.ts'

/**
 * `kept`: what an earlier agent has noted of this very boot. Another name is never given again on any host: no process of that
 * number began, and no agent took it up, at that moment.
 */
export function newWatch(clock: Clock, pid: number, kept?: { name: string; isHeard: boolean }): GuestWatch {
  const nowMs = clock.monotonic()
  return new GuestWatch(kept?.name ?? `${pid}-${Math.round(nowMs)}`, nowMs, kept?.isHeard)
}

/** Asks its agent and reads its counters, outside of the queue. Rejects where QEMU does not answer: then it is not judged. */
export async function lookAtGuest(
  core: VmCore,
  { signs, frames, everyMs }: { signs: GuestSigns; frames: FramesSent; everyMs: number },
): Promise<void> {
  const { machine, watch } = core
  if (machine === undefined || !mayBeJudged(core) || !(await hasItsStorage(core))) return watch.interrupt()
  try {
    const disks = await machine.diskOperations()
    const nics = core.state.deployment?.spec.nics ?? []
    const sent = nics.map(({ key }) => frames(core.vm, key) ?? 0)
    const hasAnswered = await signs.doesAnswer(machine)
    // What it was asked while it stood still, or was in other hands by then, says nothing.
    if (core.watch !== watch || !mayBeJudged(core)) return watch.interrupt()
    watch.take({ nowMs: core.ports.clock.monotonic(), hasAnswered, activity: [disks, ...sent].join(' ') }, everyMs)
  } catch (thrown) {
    watch.interrupt()
    throw thrown
  }
}

/** It runs here by right, in nobody else's hands, and nobody made it stand still. */
export function mayBeJudged({ state, machineState }: VmCore): boolean {
  const isHere = state.role === 'running' && machineState === 'running' && state.pending === null
  const isFree = state.protection == null && state.movingDisk == null
  return isHere && isFree && !state.pausedByUser && !state.outOfSpace
}

/** A guest that waits for storage which does not answer hangs by no fault of its own. */
async function hasItsStorage({ state, ports }: VmCore): Promise<boolean> {
  return state.deployment === null || (await ports.places.hasStorage(state.deployment))
}

/** For the report; undefined where it is not monitored, or no QEMU is here. */
export function observeGuest(core: VmCore): { guest: GuestObservation } | undefined {
  const { machine, machineState, ports, vm, watch } = core
  if (machine === undefined || machineState === 'gone' || !ports.monitored.has(vm)) return undefined
  return { guest: watch.observe(ports.clock.monotonic(), machineState === 'panicked') }
}
