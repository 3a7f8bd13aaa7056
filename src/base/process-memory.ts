/** The memory of other processes, passed in. Addresses are plain numbers: user space of x86-64 ends below 2^47. */
export interface MemoryRange {
  readonly start: number
  readonly bytes: number
}

export const pageBytes = 4096

export interface ProcessMemory extends AsyncDisposable {
  /** Fills `into` with what the process has at `address`. Throws `host-error` where nothing is mapped. */
  read(address: number, into: Uint8Array): void
  /** Writes into the process. Throws `host-error` where nothing is mapped, or it was not opened for writing. */
  write(address: number, bytes: Uint8Array): void
  /**
   * From now on the kernel notes which pages of these ranges are written, by the process or by the kernel for it. What
   * another process notes already is taken over, and every page counts as written once. Throws `refused` where the
   * kernel cannot do it (before Linux 6.7), `timeout` when the process does not stop to be told, `internal` when it is a
   * child of this process.
   *
   * Not noted: holes that the process punches, writes through another process's mapping.
   */
  trackWrites(ranges: readonly MemoryRange[]): Promise<WriteTracking>
}

export interface WriteTracking {
  /** Pages that were written since the last call, in order, and forgets them in the same instant. Takes 0.1 to 2 ms. */
  take(): MemoryRange[]
  /** How many pages were written since then, without forgetting any; no more are counted than `most`. */
  count(most: number): number
  /** Ends the noting; the process goes on as before. */
  stop(): Promise<void>
}

export interface ProcessMemories {
  /** Needs CAP_SYS_PTRACE, or to be the process's own user. Throws `not-found` when there is no such process. */
  open(pid: number, mode?: 'read' | 'read-write'): Promise<ProcessMemory>
}
