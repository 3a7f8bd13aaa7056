/** How often a VM is started again by itself within an hour, and after which pauses. Pure. */
import type { StopCause } from '../../contracts/run-record.ts'

/** The pause after the nth restart within the hour, milliseconds: the first is at once. */
const pausesMs = [0, 10_000, 30_000, 120_000, 600_000] as const
/**
 * What was taken from a guest says little of it: two more such restarts come at once. No more, since there are guests that take
 * their hosts with them.
 */
const undeserved = 2

function freeOf(cause: StopCause | null | undefined): number {
  return cause === 'crashed' ? 0 : undeserved
}

/** How long after the newest of so many restarts within the hour it is started again; undefined: no more within it. */
export function restartPauseMs(cause: StopCause | null | undefined, restarts: number): number | undefined {
  return pausesMs[Math.max(0, restarts - freeOf(cause))]
}

/** After so many restarts within an hour a VM that has stopped so is left alone. */
export function mostRestarts(cause: StopCause | null | undefined): number {
  return pausesMs.length + freeOf(cause)
}
