/**
 * Where the managers are asked: DATA/managers.json, as the leader told last. Before it told, and behind what it told, it is the
 * one by which this machine joined: that address is reached from here, whatever managers call themselves.
 */
import { join } from 'node:path'
import { fileErrorCode, type Files } from '../base/files.ts'
import { SerialQueue } from '../base/serial-queue.ts'

interface Kept {
  readonly v: 1
  readonly urls: readonly string[]
}

export class ManagersFile {
  readonly #files: Files
  readonly #dataDirectory: string
  readonly #joined: readonly string[]
  readonly #queue = new SerialQueue()
  #told: readonly string[]

  private constructor(files: Files, dataDirectory: string, joined: readonly string[], told: readonly string[]) {
    this.#files = files
    this.#dataDirectory = dataDirectory
    this.#joined = joined
    this.#told = told
  }

  /** `joined`: of this host's identity. */
  static async open(files: Files, dataDirectory: string, joined: readonly string[]): Promise<ManagersFile> {
    return new ManagersFile(files, dataDirectory, joined, await toldManagers(files, dataDirectory))
  }

  get urls(): readonly string[] {
    return [...new Set([...this.#told, ...this.#joined])]
  }

  /** The leader has told these. Durable when it resolves. */
  keep(urls: readonly string[]): Promise<void> {
    return this.#queue.run(async () => {
      // Who leads is told first; that alone is no news, it is found by asking.
      if (urls.length === 0 || [...urls].sort().join() === [...this.#told].sort().join()) return
      const kept: Kept = { v: 1, urls }
      await this.#files.replace(pathOf(this.#dataDirectory), JSON.stringify(kept), { mode: 0o600 })
      this.#told = urls
    })
  }
}

/** As they are now; for programs that live beside the agent. Empty where nothing was told yet. */
export async function toldManagers(files: Files, dataDirectory: string): Promise<readonly string[]> {
  try {
    return (JSON.parse(await files.readText(pathOf(dataDirectory))) as Kept).urls
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return []
    throw thrown
  }
}

function pathOf(dataDirectory: string): string {
  return join(dataDirectory, 'managers.json')
}
