/** Disk images on this host: qemu-img behind a port. Paths are absolute; the caller keeps them inside its datastores. */

export interface ImageInfo {
  readonly format: string
  readonly virtualBytes: number
  readonly fileBytes: number
  /** A file that the image refers to; such an image is refused at import. */
  readonly backingFile: string | null
  /** qcow2 with an external data file, or any other reference outside of itself. */
  readonly hasOutsideReference: boolean
  readonly isEncrypted: boolean
}

export interface DiskImages {
  /** Reads the header only, with `format` given or found by content among raw, qcow2, vmdk, vdi, vpc, vhdx. Locks are respected. */
  info(path: string, format?: string): Promise<ImageInfo>
  create(path: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void>
  /** Copies and converts; `onProgress` in 0–1. The target is whole and synced when it resolves; aborting leaves no target. */
  convert(
    from: { path: string; format: string },
    to: { path: string; format: 'qcow2' | 'raw' },
    onProgress: (fraction: number) => void,
    signal: AbortSignal,
  ): Promise<void>
  grow(path: string, format: 'qcow2' | 'raw', sizeBytes: number): Promise<void>
  /** Rejects with `bad-image` when the image's own structures are damaged. */
  check(path: string, format: string): Promise<void>
}
