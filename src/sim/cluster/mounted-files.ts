/**
 * The files of one simulated host: its own device, /run (which a crash empties), and storage that several hosts share.
 * Each path belongs to the tree that is mounted at its beginning.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { FileHandle, FileMode, Files, FileStat } from '../../base/files.ts'

export interface Mount {
  /** `/shared`; `/` is the last. */
  readonly at: string
  readonly files: Files
}

/** `hang`: whatever is asked is answered once it is mended. `errors`: nothing can be read or written. */
export type MountFault = 'hang' | 'errors'

export class MountedFiles implements Files {
  readonly #mounts: readonly Mount[]
  readonly #faults = new Map<string, MountFault>()
  #mended = Promise.withResolvers<void>()
  readonly #onRemove: (path: string, files: Files) => Promise<void>

  constructor(mounts: readonly Mount[], onRemove: (path: string, files: Files) => Promise<void>) {
    this.#mounts = mounts
    this.#onRemove = onRemove
  }

  /** What is mounted there fails from now on; null: it works again. */
  fail(at: string, fault: MountFault | null): void {
    if (fault === null) this.#faults.delete(at)
    else this.#faults.set(at, fault)
    this.#mended.resolve()
    this.#mended = Promise.withResolvers<void>()
  }

  /** Everything that is mounted works again. */
  mend(): void {
    this.#faults.clear()
    this.fail('/', null)
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
    return this.#faults.has(mount.at) ? this.#failing(mount) : mount.files
  }

  /** The same files, where each call waits for the mending, or fails. */
  #failing({ at, files }: Mount): Files {
    const wait = async (): Promise<void> => {
      while (this.#faults.get(at) === 'hang') await this.#mended.promise
      if (this.#faults.get(at) === 'errors') throw new HoldfastError('host-error', `input/output error at ${at}`)
    }
    return new Proxy(files, {
      get: (target, name) => {
        const member: unknown = Reflect.get(target, name, target)
        if (typeof member !== 'function') return member
        return async (...args: unknown[]): Promise<unknown> => {
          await wait()
          return (await Reflect.apply(member, target, args)) as unknown
        }
      },
    })
  }
}
