/** Disk images of simulated hosts: small files, each with a name of its own as its content, by which the truth knows it. */
import type { Clock } from '../../base/clock.ts'
import type { Files } from '../../base/files.ts'
import type { DiskImages, ImageInfo } from '../../hypervisor/images.ts'
import type { Truth } from './truth.ts'

/** Gives each file of a world its name. */
export class FileNames {
  #made = 0

  next(): string {
    return `file-${++this.#made}`
  }
}

const virtualBytes = 1024 * 1024
const workMs = 30

export class SimulatedImages implements DiskImages {
  readonly #files: Files
  readonly #clock: Clock
  readonly #truth: Truth
  readonly #names: FileNames

  constructor(parts: { files: Files; clock: Clock; truth: Truth; names: FileNames }) {
    this.#files = parts.files
    this.#clock = parts.clock
    this.#truth = parts.truth
    this.#names = parts.names
  }

  async info(path: string): Promise<ImageInfo> {
    await this.#files.readText(path)
    const none = { backingFile: null, hasOutsideReference: false, isEncrypted: false }
    return { format: 'qcow2', virtualBytes, fileBytes: 16, ...none }
  }

  async create(path: string): Promise<void> {
    await this.#clock.sleep(workMs)
    await this.#files.replace(path, this.#names.next())
  }

  async convert(
    from: { path: string },
    to: { path: string },
    onProgress: (fraction: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    for (const fraction of [0.3, 0.6, 1]) {
      await this.#clock.sleep(workMs, signal)
      onProgress(fraction)
    }
    const name = this.#names.next()
    this.#truth.copied(await this.#files.readText(from.path), name)
    await this.#files.replace(to.path, name)
  }

  async grow(path: string): Promise<void> {
    await this.#files.readText(path)
  }

  async check(path: string): Promise<void> {
    await this.#files.readText(path)
  }
}
