/** The memory of other processes, passed in. Addresses are plain numbers: user space of x86-64 ends below 2^47. */
export interface MemoryRange {
  readonly start: number
  readonly bytes: number
}

export const pageBytes = 4096

/**
 * How it is found out which pages a process writes, the cheapest way first.
 * - `userfaultfd`: the kernel notes them, and one call tells and forgets them (Linux 6.7).
 * - `soft-dirty`: the kernel notes them as a bit of each page; telling and forgetting are two steps.
 * - `comparison`: all of its memory is compared with a copy. Needs nothing of the kernel, and as much memory again.
 */
export const trackerKinds = ['userfaultfd', 'soft-dirty', 'comparison'] as const
export type TrackerKind = (typeof trackerKinds)[number]

/** What came of trying a tracker; `problem` null: it works here. */
export interface TrackerTrial {
  readonly kind: TrackerKind
  readonly problem: string | null
}

export interface ProcessMemory extends AsyncDisposable {
  /** Fills `into` with what the process has at `address`. Throws `host-error` where nothing is mapped. */
  read(address: number, into: Uint8Array): void
  /** The same for many ranges, one after the other in `into`, which they fill. */
  readMany(ranges: readonly MemoryRange[], into: Uint8Array): void
  /** Writes into the process. Throws `host-error` where nothing is mapped, or it was not opened for writing. */
  write(address: number, bytes: Uint8Array): void
  /** The same for many ranges, one after the other in `from`, which they fill. */
  writeMany(ranges: readonly MemoryRange[], from: Uint8Array): void
  /** The writable data of the program itself: not of its libraries, its heap or its stacks. */
  programData(): Promise<MemoryRange[]>
  /**
   * From now on it is known which pages of these ranges are written, by the process or by the kernel for it. What another
   * process notes already is taken over, and every page counts as written once. Throws `refused` where the kernel cannot
   * do it this way, `timeout` when the process does not stop to be told, `internal` when it is a child of this process.
   *
   * Not noted by the kernel: holes that the process punches, writes through another process's mapping.
   */
  trackWrites(ranges: readonly MemoryRange[], kind: TrackerKind): Promise<WriteTracking>
}

export interface WriteTracking {
  readonly kind: TrackerKind
  /** A write in the instant of a `take` may be lost: nothing may run in the process then. */
  readonly needsStandstill: boolean
  /** Pages that were written since the last call, in order, and forgets them in the same instant. */
  take(): MemoryRange[]
  /**
   * How many pages were written since then, without forgetting any; no more are counted than `most`.
   * 0 where finding out takes as long as a `take`.
   */
  count(most: number): number
  /** What is there as of the last `take`, or newer: what has changed since is told by the next one. */
  read(address: number, into: Uint8Array): void
  /** Ends the noting; the process goes on as before. */
  stop(): Promise<void>
}

export interface ProcessMemories {
  /** Needs CAP_SYS_PTRACE, or to be the process's own user. Throws `not-found` when there is no such process. */
  open(pid: number, mode?: 'read' | 'read-write'): Promise<ProcessMemory>
  /** Tries each tracker on a process that is started for it: some 100 ms. Never rejects for what it finds. */
  tryTrackers(): Promise<TrackerTrial[]>
}
