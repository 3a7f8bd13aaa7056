/**
 * A Files port in memory that loses power on demand. It keeps two trees: the one that programs see, and the one that is
 * on the device. A name reaches the device when its folder is synced, content when its file is synced; `crash()` puts
 * the device's tree back. Every change goes through `#step`, so a test can cut the power between any two of them.
 *
 * Durable when they resolve: `replace`, `rename`, `remove`, `makeDirectory`, and a handle's `sync` (a new file's name
 * with it). Not durable: `write`, and a handle's writes before `sync`. Those are all lost, unless `tear` is given: then any
 * of their blocks may have reached the device before the crash, as is the way of real ones.
 */
import { basename, dirname, join } from 'node:path'
import type { FileHandle, FileMode, Files, FileStat } from '../base/files.ts'
import type { Random } from '../base/random.ts'

/** One file's content, under whatever names it has. */
interface FileNode {
  readonly kind: 'file'
  live: Uint8Array
  device: Uint8Array
  mtimeMs: number
}

interface FolderNode {
  readonly kind: 'directory'
  readonly live: Map<string, Node>
  device: Map<string, Node>
}

type Node = FileNode | FolderNode

const empty = new Uint8Array(0)
const newFile = (): FileNode => ({ kind: 'file', live: empty, device: empty, mtimeMs: 0 })
const newFolder = (): FolderNode => ({ kind: 'directory', live: new Map(), device: new Map() })

function fileError(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: ${path}`), { code })
}

export class MemoryFiles implements Files {
  readonly #root = newFolder()
  readonly #capacityBytes: number
  /** What others have taken of the same device. */
  takenBytes = 0
  readonly #tear: Random | undefined
  #steps = 0
  #crashAt = Number.POSITIVE_INFINITY
  #isOff = false
  /** Raised by each crash: handles and work in flight from before it are dead. */
  #life = 0

  constructor(options: { capacityBytes?: number; tear?: Random } = {}) {
    this.#capacityBytes = options.capacityBytes ?? 2 ** 40
    this.#tear = options.tear
  }

  /** How many single steps on the device have been taken so far; a test crashes after each of them in turn. */
  get steps(): number {
    return this.#steps
  }

  /** Cuts the power now: what was not synced is lost, handles are dead. The machine is on again at once. */
  crash(): void {
    this.#life++
    forget(this.#root, this.#tear)
    this.#crashAt = Number.POSITIVE_INFINITY
  }

  /** Cuts the power after `steps` more steps: that call and all later ones reject with `EIO`, until `boot()`. */
  crashAfter(steps: number): void {
    this.#crashAt = this.#steps + steps
  }

  /** The machine is on again after `crashAfter` struck. */
  boot(): void {
    if (this.#isOff) this.crash()
    this.#isOff = false
    this.#crashAt = Number.POSITIVE_INFINITY
  }

  async read(path: string): Promise<Uint8Array> {
    await this.#alive(path)
    return this.#file(path).live.slice()
  }

  async readText(path: string): Promise<string> {
    return Buffer.from(await this.read(path)).toString('utf8')
  }

  async replace(path: string, data: string | Uint8Array): Promise<void> {
    const life = this.#life
    const folder = this.#folder(dirname(path))
    const beside = `.${basename(path)}.${this.#steps}.tmp`
    const file = newFile()
    await this.#step(path, life, () => folder.live.set(beside, file))
    await this.#step(path, life, () => {
      try {
        this.#store(file, asBytes(data))
      } catch (thrown) {
        folder.live.delete(beside)
        throw thrown
      }
    })
    await this.#step(path, life, () => (file.device = file.live))
    await this.#step(path, life, () => {
      folder.live.delete(beside)
      folder.live.set(basename(path), file)
    })
    await this.#syncFolder(path, life, folder)
  }

  async write(path: string, data: string | Uint8Array): Promise<void> {
    const life = this.#life
    await this.#step(path, life, () => {
      const folder = this.#folder(dirname(path))
      const file = folder.live.get(basename(path)) ?? newFile()
      if (file.kind !== 'file') throw fileError('EISDIR', path)
      this.#store(file, asBytes(data))
      folder.live.set(basename(path), file)
    })
  }

  async open(path: string, mode: FileMode): Promise<FileHandle> {
    const life = this.#life
    const folder = this.#folder(dirname(path))
    if (mode === 'create-new') {
      await this.#step(path, life, () => {
        if (folder.live.has(basename(path))) throw fileError('EEXIST', path)
        folder.live.set(basename(path), newFile())
      })
    }
    await this.#alive(path, life)
    return this.#handle(path, this.#file(path), mode, life)
  }

  #handle(path: string, file: FileNode, mode: string, life: number): FileHandle {
    const change = async (apply: () => void): Promise<void> => {
      if (mode.startsWith('read') && mode !== 'read-write') throw fileError('EBADF', path)
      await this.#step(path, life, apply)
    }
    const write = (offset: number, data: Uint8Array): Promise<void> =>
      change(() => {
        const grown = new Uint8Array(Math.max(file.live.length, offset + data.length))
        grown.set(file.live)
        grown.set(data, offset)
        this.#store(file, grown)
      })
    return {
      read: async (offset, length) => {
        await this.#alive(path, life)
        return file.live.slice(offset, offset + length)
      },
      write,
      writeParts: (offset, parts) => write(offset, Buffer.concat(parts)),
      truncate: (sizeBytes) =>
        change(() => {
          const cut = new Uint8Array(sizeBytes)
          cut.set(file.live.subarray(0, sizeBytes))
          this.#store(file, cut)
        }),
      sync: async () => {
        await this.#step(path, life, () => (file.device = file.live))
        if (mode === 'create-new') await this.#syncFolder(path, life, this.#folder(dirname(path)))
      },
      [Symbol.asyncDispose]: async () => undefined,
    }
  }

  async stat(path: string): Promise<FileStat | undefined> {
    await this.#alive(path)
    const node = this.#find(path)
    if (node === undefined) return undefined
    const sizeBytes = node.kind === 'file' ? node.live.length : 0
    return { kind: node.kind, sizeBytes, mtimeMs: node.kind === 'file' ? node.mtimeMs : 0, allocatedBytes: sizeBytes }
  }

  async list(path: string): Promise<string[]> {
    await this.#alive(path)
    return [...this.#folder(path).live.keys()].sort()
  }

  async makeDirectory(path: string): Promise<void> {
    const life = this.#life
    const missing: string[] = []
    for (let at = path; this.#find(at) === undefined; at = dirname(at)) missing.unshift(at)
    if (missing.length === 0 && this.#find(path)?.kind !== 'directory') throw fileError('EEXIST', path)
    for (const at of missing) {
      const above = this.#folder(dirname(at))
      await this.#step(at, life, () => above.live.set(basename(at), newFolder()))
      await this.#syncFolder(at, life, above)
    }
  }

  async rename(from: string, to: string): Promise<void> {
    const life = this.#life
    const source = this.#folder(dirname(from))
    const target = this.#folder(dirname(to))
    await this.#step(from, life, () => {
      const node = source.live.get(basename(from))
      if (node === undefined) throw fileError('ENOENT', from)
      source.live.delete(basename(from))
      target.live.set(basename(to), node)
    })
    await this.#syncFolder(to, life, target)
    if (source !== target) await this.#syncFolder(from, life, source)
  }

  async remove(path: string): Promise<void> {
    const life = this.#life
    await this.#alive(path, life)
    const folder = this.#find(dirname(path))
    if (folder?.kind !== 'directory') return
    await this.#step(path, life, () => folder.live.delete(basename(path)))
    await this.#syncFolder(path, life, folder)
  }

  async changeOwner(path: string): Promise<void> {
    await this.#mustExist(path)
  }

  async changeMode(path: string): Promise<void> {
    await this.#mustExist(path)
  }

  async realPath(path: string): Promise<string> {
    await this.#mustExist(path)
    return join(path)
  }

  async space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    await this.#mustExist(path)
    return { totalBytes: this.#capacityBytes, freeBytes: this.#capacityBytes - this.takenBytes - sizeOf(this.#root) }
  }

  async #mustExist(path: string): Promise<void> {
    await this.#alive(path)
    if (this.#find(path) === undefined) throw fileError('ENOENT', path)
  }

  /** One change, before or after which the power may go. */
  async #step(path: string, life: number, apply: () => unknown): Promise<void> {
    await this.#alive(path, life)
    apply()
    this.#steps++
    if (this.#steps < this.#crashAt) return
    this.#isOff = true
    throw fileError('EIO', path)
  }

  async #syncFolder(path: string, life: number, folder: FolderNode): Promise<void> {
    await this.#step(path, life, () => (folder.device = new Map(folder.live)))
  }

  /** Every operation waits once, as on a real machine, so that others may run in between. */
  async #alive(path: string, life = this.#life): Promise<void> {
    await Promise.resolve()
    if (this.#isOff || life !== this.#life) throw fileError('EIO', path)
  }

  #store(file: FileNode, data: Uint8Array): void {
    if (sizeOf(this.#root) - file.live.length + data.length > this.#capacityBytes) throw fileError('ENOSPC', 'memory')
    file.live = data
    file.mtimeMs++
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root
    for (const name of join('/', path).split('/').filter(Boolean)) {
      if (node?.kind !== 'directory') return undefined
      node = node.live.get(name)
    }
    return node
  }

  #folder(path: string): FolderNode {
    const node = this.#find(path)
    if (node === undefined) throw fileError('ENOENT', path)
    if (node.kind !== 'directory') throw fileError('ENOTDIR', path)
    return node
  }

  #file(path: string): FileNode {
    const node = this.#find(path)
    if (node === undefined) throw fileError('ENOENT', path)
    if (node.kind !== 'file') throw fileError('EISDIR', path)
    return node
  }
}

function asBytes(data: string | Uint8Array): Uint8Array {
  return typeof data === 'string' ? Buffer.from(data, 'utf8') : data.slice()
}

/** The live tree becomes what the device has. */
function forget(node: Node, tear: Random | undefined): void {
  if (node.kind === 'file') {
    if (tear !== undefined && node.live !== node.device) node.device = torn(node, tear)
    node.live = node.device
    return
  }
  node.live.clear()
  for (const [name, child] of node.device) {
    node.live.set(name, child)
    forget(child, tear)
  }
}

const tornBlockBytes = 64

/** What a device may have of a file: its size as it was, as it is, or grown by a part, and of every block either content. */
function torn({ live, device }: FileNode, random: Random): Uint8Array {
  const growth = Math.max(0, live.length - device.length)
  const isCut = live.length < device.length && random.int(2) === 0
  const size = isCut ? live.length : device.length + random.int(growth + 1)
  const out = new Uint8Array(size)
  for (let at = 0; at < size; at += tornBlockBytes) {
    // What a file was cut short by is there as it was, as long as the cut is not.
    const from = at < live.length && random.int(2) === 0 ? live : device
    out.set(from.subarray(at, Math.min(at + tornBlockBytes, size)), at)
  }
  return out
}

function sizeOf(node: Node): number {
  if (node.kind === 'file') return node.live.length
  return [...node.live.values()].reduce((sum, child) => sum + sizeOf(child), 0)
}
