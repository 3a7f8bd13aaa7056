/**
 * The newest commits in memory, and those who watch them. A watcher that is further behind than memory reaches reads
 * pages of older ones from where they are kept; one that is behind what is kept at all is told to list again.
 */
import type { Revision, WatchBatch } from './store.ts'

export interface ChangeFeedOptions {
  /** The newest revision at the beginning. */
  readonly revision: Revision
  /** The oldest revision that is kept at the beginning. */
  readonly oldest: Revision
  /** How many commits memory holds. */
  readonly memory: number
  /** Commits after a place from the disk, oldest first, at least one unless there is none. */
  readonly page: (after: Revision) => Promise<readonly WatchBatch[]>
}

export class ChangeFeed {
  readonly #options: ChangeFeedOptions
  readonly #waiting = new Set<() => void>()
  #tail: WatchBatch[] = []
  #revision: Revision
  #oldest: Revision
  #isClosed = false

  constructor(options: ChangeFeedOptions) {
    this.#options = options
    this.#revision = options.revision
    this.#oldest = options.oldest
  }

  get revision(): Revision {
    return this.#revision
  }

  /** The oldest revision whose commit is still kept. */
  get oldest(): Revision {
    return this.#oldest
  }

  /** Everything was read anew: the newest revision and the oldest kept are these, and nothing is in memory. */
  begin(revision: Revision, oldest: Revision): void {
    this.#revision = revision
    this.#oldest = oldest
    this.#tail = []
    this.#wakeAll()
  }

  publish(batch: WatchBatch): void {
    this.#revision = batch.revision
    this.#tail.push(batch)
    if (this.#tail.length > this.#options.memory * 1.25) this.#tail = this.#tail.slice(-this.#options.memory)
    this.#wakeAll()
  }

  compact(before: Revision): void {
    this.#oldest = Math.max(this.#oldest, Math.min(before, this.#revision + 1))
    this.#tail = this.#tail.filter((batch) => batch.revision >= this.#oldest)
    this.#wakeAll()
  }

  /** Whether everything after this place is still kept. A place that was never reached belongs to another store. */
  isKept(place: Revision): boolean {
    return place + 1 >= this.#oldest && place <= this.#revision
  }

  /** Ends all watches quietly. */
  close(): void {
    this.#isClosed = true
    this.#wakeAll()
  }

  async *watch(from: Revision, signal: AbortSignal): AsyncGenerator<WatchBatch | 'relist', void, undefined> {
    let at = from
    while (!this.#isOver(signal)) {
      if (!this.isKept(at)) return yield 'relist'
      if (at === this.#revision) {
        await this.#changed(signal)
        continue
      }
      const batches = await this.#after(at)
      // What was forgotten while the page was read may be missing from it.
      if (!this.isKept(at)) continue
      for (const batch of batches) {
        if (this.#isOver(signal)) return
        yield batch
        at = batch.revision
      }
    }
  }

  #isOver(signal: AbortSignal): boolean {
    return signal.aborted || this.#isClosed
  }

  async #after(at: Revision): Promise<readonly WatchBatch[]> {
    const first = this.#tail[0]
    if (first === undefined || first.revision > at + 1) return this.#options.page(at)
    const start = this.#tail.findIndex((batch) => batch.revision > at)
    return this.#tail.slice(start, start + 256)
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake, { once: true })
    })
  }

  #wakeAll(): void {
    for (const wake of [...this.#waiting]) wake()
  }
}
