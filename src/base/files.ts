/** Files, passed in, so that tests can lose every write that was not synced. Paths are absolute. */
export interface FileStat {
  readonly kind: 'file' | 'directory' | 'socket' | 'other'
  readonly sizeBytes: number
  readonly mtimeMs: number
  /** Space taken on the device; smaller than `sizeBytes` for sparse files. */
  readonly allocatedBytes: number
}

export interface FileHandle extends AsyncDisposable {
  read(offset: number, length: number): Promise<Uint8Array>
  write(offset: number, data: Uint8Array): Promise<void>
  /** The parts one after the other, as if they were one, without a copy. */
  writeParts(offset: number, parts: readonly Uint8Array[]): Promise<void>
  truncate(sizeBytes: number): Promise<void>
  /** fdatasync: what was written before is on the device after, and the name of a file that `create-new` made. */
  sync(): Promise<void>
}

export type FileMode = 'read' | 'read-untrusted' | 'read-write' | 'create-new'

export interface Files {
  read(path: string): Promise<Uint8Array>
  readText(path: string): Promise<string>
  /** Whole and durable, or not at all: written beside, synced, renamed over, and the folder synced. */
  replace(path: string, data: string | Uint8Array, options?: { mode?: number }): Promise<void>
  /** Plain write without sync, for what may be lost (files in /run). */
  write(path: string, data: string | Uint8Array, options?: { mode?: number }): Promise<void>
  /**
   * `read-untrusted`: for a path in a folder that others may write to. Follows no link in the last part, opens nothing
   * but regular files (`EINVAL`), and never waits.
   */
  open(path: string, mode: FileMode): Promise<FileHandle>
  stat(path: string): Promise<FileStat | undefined>
  list(path: string): Promise<string[]>
  /** With all folders above it; durable when it resolves. One that exists is no error. */
  makeDirectory(path: string, options?: { mode?: number }): Promise<void>
  /** Rename within a file system, the folders synced. */
  rename(from: string, to: string): Promise<void>
  /** Removes a file or a whole folder, durably; one that is not there is no error. */
  remove(path: string): Promise<void>
  changeOwner(path: string, uid: number, gid: number): Promise<void>
  changeMode(path: string, mode: number): Promise<void>
  /** The path with every link resolved. */
  realPath(path: string): Promise<string>
  /** Space on the file system that holds `path`. */
  space(path: string): Promise<{ totalBytes: number; freeBytes: number }>
}

/** The code of a file system error (`ENOENT`, `ENOSPC`), where it is one. */
export function fileErrorCode(thrown: unknown): string | undefined {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined
}
