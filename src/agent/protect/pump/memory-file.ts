/** What a pump must not forget: DATA/vms/vm-42/protection.json, replaced whole and durably before what rests on it. */
import { join } from 'node:path'
import { fileErrorCode, type Files } from '../../../base/files.ts'
import type { VmId } from '../../../base/ids.ts'
import type { PumpMemory } from '../pumps.ts'

export class PumpMemoryFile {
  readonly #files: Files
  readonly #path: string

  constructor(files: Files, dataDirectory: string, vm: VmId) {
    this.#files = files
    this.#path = join(dataDirectory, 'vms', vm, 'protection.json')
  }

  /** Undefined when there is none. A file of ours is whole or not there. */
  async read(): Promise<PumpMemory | undefined> {
    try {
      return JSON.parse(await this.#files.readText(this.#path)) as PumpMemory
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  async write(memory: PumpMemory): Promise<void> {
    await this.#files.makeDirectory(join(this.#path, '..'), { mode: 0o700 })
    await this.#files.replace(this.#path, JSON.stringify(memory), { mode: 0o600 })
  }

  async remove(): Promise<void> {
    await this.#files.remove(this.#path)
  }
}
