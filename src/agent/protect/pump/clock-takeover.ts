/**
 * A guest that is taken over goes on from a state that is some hundred milliseconds old, and so would its clock. Under TCG the
 * clock in the state is moved on by that, as if the guest had not been run for a while: nobody has lost anything then. On KVM
 * the guest's clocks (kvm-clock, the TSC) are other sections of the state; there the silence is only counted.
 */
import { movedOn } from '../../../hypervisor/checkpoint/virtual-clock.ts'
import type { MachineConfig } from '../../../hypervisor/hypervisor.ts'
import type { ClockBase } from './clock-lag.ts'
import type { Epoch } from './epoch.ts'

/** From the stop on the primary to the epoch's arrival here. More is a difference of the two hosts' clocks. */
const mostTransitMs = 1000
/** A guest's kernel takes a jump of some twenty seconds for a fault of its own. */
const mostMovedMs = 10_000

export interface TakenOver {
  readonly devices: Uint8Array
  /** What the guest had lost when the state was taken, counted by this host's clock; undefined: not known. */
  readonly base: ClockBase | undefined
}

/** `nowMs`: by this host's wall clock; `sinceMs`: since the epoch came. */
export function takenOver(
  epoch: Pick<Epoch, 'devices' | 'isPaused' | 'clock'>,
  accelerator: MachineConfig['accelerator'],
  nowMs: number,
  sinceMs: number,
): TakenOver {
  const { devices, isPaused, clock } = epoch
  const silenceMs = silence(clock?.wallMs, nowMs, sinceMs)
  const base = clock === undefined ? undefined : { ...clock, wallMs: nowMs - silenceMs }
  // One that stands still by somebody's wish loses time as any that does.
  const moved = accelerator === 'tcg' && !isPaused ? movedOn(devices, Math.min(silenceMs, mostMovedMs)) : undefined
  return { devices: moved ?? devices, base }
}

/** How long ago the state was taken: by the clocks of the two hosts where they agree, else since it came. */
function silence(takenAt: number | undefined, nowMs: number, sinceMs: number): number {
  const byClocks = nowMs - (takenAt ?? Number.NaN)
  return byClocks >= sinceMs && byClocks <= sinceMs + mostTransitMs ? byClocks : sinceMs
}
