/**
 * The files of one simulated host: its own device, /run (which a crash empties), and storage that several hosts share.
 * Each path belongs to the tree that is mounted at its beginning.
 */
import type { FileHandle, FileMode, Files, FileStat } from '../../base/files.ts'

export interface Mount {
  /** `/shared`; `/` is the last. */
  readonly at: string
  readonly files: Files
}

export class MountedFiles implements Files {
  readonly #mounts: readonly Mount[]
  readonly #onRemove: (path: string, files: Files) => Promise<void>

  constructor(mounts: readonly Mount[], onRemove: (path: string, files: Files) => Promise<void>) {
    this.#mounts = mounts
    this.#onRemove = onRemove
  }

  read(path: string): Promise<Uint8Array> {
    return this.#of(path).read(path)
  }
  readText(path: string): Promise<string> {
    return this.#of(path).readText(path)
  }
  replace(path: string, data: string | Uint8Array): Promise<void> {
    return this.#of(path).replace(path, data)
  }
  write(path: string, data: string | Uint8Array): Promise<void> {
    return this.#of(path).write(path, data)
  }
  open(path: string, mode: FileMode): Promise<FileHandle> {
    return this.#of(path).open(path, mode)
  }
  stat(path: string): Promise<FileStat | undefined> {
    return this.#of(path).stat(path)
  }
  list(path: string): Promise<string[]> {
    return this.#of(path).list(path)
  }
  makeDirectory(path: string): Promise<void> {
    return this.#of(path).makeDirectory(path)
  }
  rename(from: string, to: string): Promise<void> {
    return this.#of(from).rename(from, to)
  }
  async remove(path: string): Promise<void> {
    const files = this.#of(path)
    await this.#onRemove(path, files)
    await files.remove(path)
  }
  changeOwner(path: string, uid: number, gid: number): Promise<void> {
    return this.#of(path).changeOwner(path, uid, gid)
  }
  changeMode(path: string, mode: number): Promise<void> {
    return this.#of(path).changeMode(path, mode)
  }
  realPath(path: string): Promise<string> {
    return this.#of(path).realPath(path)
  }
  space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#of(path).space(path)
  }

  #of(path: string): Files {
    const mount = this.#mounts.find(({ at }) => at === '/' || path === at || path.startsWith(`${at}/`))
    if (mount === undefined) throw new Error(`nothing is mounted at ${path}`)
    return mount.files
  }
}
