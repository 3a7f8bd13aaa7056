/** What is shared between the array's main thread and the thread of a mount. */
export const storageMode = { ok: 0, hang: 1, fail: 2, slow: 3 } as const
export type StorageMode = keyof typeof storageMode

/** Places in the shared Int32Array. */
export const controlIndex = { mode: 0, latencyMs: 1, kibPerSecond: 2, dropHeld: 3 } as const
export const controlCount = 4

export interface MountThreadData {
  /** The folder that is handed through. */
  readonly root: string
  /** /dev/fuse, already mounted. */
  readonly fd: number
  readonly controls: SharedArrayBuffer
}
