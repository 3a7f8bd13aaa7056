/**
 * What this host sees of others that are silent to the managers: whether their agents answer, and whether their marks on the
 * shared datastores change. So a host that is cut off is told from one that is dead.
 *
 *   DS/hosts/host-3.json   written every two seconds by host-3
 */
import { join } from 'node:path'
import { deadline, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { HostId } from '../../base/ids.ts'
import type { NeighbourLook, Witness } from '../../contracts/host-lease.ts'

export interface NeighboursDeps {
  readonly host: HostId
  /** Names this life of the agent. */
  readonly session: string
  readonly clock: Clock
  readonly files: Files
  /** Folders of the shared datastores that this host uses now. */
  readonly sharedFolders: () => readonly string[]
  /** Resolves when the agent of that host answers. */
  readonly greet: (witness: Witness, signal: AbortSignal) => Promise<unknown>
  readonly signal: AbortSignal
}

const beatEveryMs = 2000
/** A mark that has not changed for three beats says nothing any more. */
const staleMs = 3 * beatEveryMs
const answerMs = 1500

interface Seen {
  readonly text: string
  readonly at: number
}

export class Neighbours {
  readonly #deps: NeighboursDeps
  readonly #seen = new Map<string, Seen>()
  /** Storage that hangs keeps one write and one read waiting, and no more. */
  readonly #writing = new Set<string>()
  readonly #reading = new Set<string>()
  #silent: readonly Witness[] = []
  #looks: readonly NeighbourLook[] = []
  #beat = 0

  constructor(deps: NeighboursDeps) {
    this.#deps = deps
  }

  /** The newest looks, for the report. */
  get looks(): readonly NeighbourLook[] {
    return this.#looks
  }

  /** Whom the managers do not hear. */
  lookFor(silent: readonly Witness[]): void {
    this.#silent = silent
    if (silent.length === 0) this.#looks = []
  }

  /** Until the agent ends. Never rejects. */
  async run(): Promise<void> {
    const { clock, signal } = this.#deps
    while (!signal.aborted) {
      for (const folder of this.#deps.sharedFolders()) this.#mark(folder)
      if (this.#silent.length > 0) this.#looks = await Promise.all(this.#silent.map((each) => this.#look(each)))
      await clock.sleep(beatEveryMs, signal).catch(() => undefined)
    }
  }

  #mark(folder: string): void {
    if (this.#writing.has(folder)) return
    this.#writing.add(folder)
    const { files, host, session } = this.#deps
    const text = JSON.stringify({ session, beat: ++this.#beat })
    const write = async (): Promise<void> => {
      await files.makeDirectory(join(folder, 'hosts'), { mode: 0o700 })
      await files.write(join(folder, 'hosts', `${host}.json`), text)
    }
    void write()
      .catch(() => undefined)
      .finally(() => this.#writing.delete(folder))
  }

  async #look(witness: Witness): Promise<NeighbourLook> {
    const [network, storage] = await Promise.all([this.#answers(witness), this.#marks(witness.host)])
    return { host: witness.host, network, storage }
  }

  async #answers(witness: Witness): Promise<boolean> {
    using limit = deadline(this.#deps.clock, answerMs, new HoldfastError('timeout', 'no answer'))
    return await this.#deps.greet(witness, limit.signal).then(
      () => true,
      () => false,
    )
  }

  async #marks(host: HostId): Promise<boolean | null> {
    const folders = this.#deps.sharedFolders()
    if (folders.length === 0) return null
    const found = await Promise.all(folders.map((folder) => this.#hasMarked(folder, host)))
    return found.some(Boolean)
  }

  /** By the clock of this host alone: the mark is another one than a while ago. */
  async #hasMarked(folder: string, host: HostId): Promise<boolean> {
    const { clock, files } = this.#deps
    const path = join(folder, 'hosts', `${host}.json`)
    if (this.#reading.has(path)) return false
    this.#reading.add(path)
    const reading = files.readText(path).catch(() => undefined)
    void reading.finally(() => this.#reading.delete(path))
    const late = Promise.withResolvers<undefined>()
    using _timer = clock.timer(answerMs, () => late.resolve(undefined))
    const text = await Promise.race([reading, late.promise])
    const now = clock.monotonic()
    const before = this.#seen.get(path)
    if (text === undefined) return false
    // The first look tells nothing yet: what lies there may be old.
    if (before === undefined) this.#seen.set(path, { text, at: Number.NEGATIVE_INFINITY })
    else if (before.text !== text) this.#seen.set(path, { text, at: now })
    return now - (this.#seen.get(path)?.at ?? Number.NEGATIVE_INFINITY) < staleMs
  }
}
