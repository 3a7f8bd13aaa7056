/** A contender of the migration measurement: a guest that ticks, and a way to move it to the other of two hosts. */

export interface Moved {
  readonly source: string
  readonly target: string
  /** From the wish to the end of all that must be done before the guest may be moved again, milliseconds. */
  readonly wholeMs: number
  /** QEMU's own account; null where it is not told. */
  readonly memoryMs: number | null
  /** By the clock of the machine, milliseconds since the epoch; null where nobody listens to QEMU's events. */
  readonly stopAt: number | null
  readonly resumeAt: number | null
}

/** A guest, whoever runs it. */
export interface BenchGuest {
  readonly address: string
  readonly mac: string
  /** Where it runs. */
  readonly host: string
  /** What may wait until nothing is measured any more. */
  tidy?(): Promise<void>
}

export interface Lane {
  readonly name: string
  readonly guest: BenchGuest
  /** Moves it to the other host. */
  move(): Promise<Moved>
}

export function laneOf(name: string, guest: BenchGuest, move: () => Promise<Moved>): Lane {
  return { name, guest, move }
}
