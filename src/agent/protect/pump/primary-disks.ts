/** The disks of a protected VM on the primary's side: first copied whole to the second host, then each write journaled. */
export interface DiskCopy {
  /** Bytes of the journal that wait for an epoch. */
  readonly bytes: number
  /** Copies all of them while the guest runs; resolves when the copies follow it. Rejects with the signal's reason. */
  copy(onProgress: (doneBytes: number, totalBytes: number) => void, signal: AbortSignal): Promise<void>
  /** While the guest stands still: the copies are whole now, and from here on its writes go to the journal. */
  hold(): Promise<void>
  /** While it stands still: what was written since the last cut, as it is to be sent. */
  cut(): readonly Uint8Array[]
  /** The guest's disks are its own again. Never rejects. */
  letGo(): Promise<void>
}

/** A machine without disks. */
export const noDisks: DiskCopy = {
  bytes: 0,
  copy: () => Promise.resolve(),
  hold: () => Promise.resolve(),
  cut: () => [],
  letGo: () => Promise.resolve(),
}
