/**
 * The log of one task: its record in the store, written by compare-and-set, one write after the other.
 *
 * - A record names the engine that works on it (`runner`). An engine that takes a task over writes itself there; the
 *   former one loses its next write, sees the other name and lets go (`LetGo`), without touching the world further.
 * - A store that cannot write now (disk full, out of reach) is tried again with growing pauses until it can: the step
 *   that was done is not forgotten meanwhile.
 * - A write whose reply was lost is recognised by what it wrote.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { canonicalJson } from '../../contracts/digest.ts'
import type { TaskRecord } from '../store/records.ts'
import type { Change, CommitResult, NewEvent, Revision, Store, Stored } from '../store/store.ts'
import type { Pauses } from './pauses.ts'

/** Thrown inside the engine when a task is no longer this engine's to run. The record stays for the next one. */
export class LetGo extends Error {
  override readonly name = 'LetGo'
}

export interface Extra {
  readonly changes: readonly Change[]
  readonly events: readonly NewEvent[]
}

export interface TaskLogOptions {
  readonly store: Store
  readonly clock: Clock
  readonly logger: Logger
  /** This engine, for the life of this process. */
  readonly runner: string
  readonly pauses: Pauses
  /** Aborted when the engine closes. */
  readonly closed: AbortSignal
}

const nothingMore = (): Promise<Extra> => Promise.resolve({ changes: [], events: [] })

export class TaskLog {
  readonly #options: TaskLogOptions
  #stored: Stored<TaskRecord>
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: TaskLogOptions, stored: Stored<TaskRecord>) {
    this.#options = options
    this.#stored = stored
  }

  get record(): TaskRecord {
    return this.#stored.value
  }

  get revision(): Revision {
    return this.#stored.revision
  }

  /**
   * Writes what `change` makes of the newest record; undefined from it writes nothing. `extra` goes into the same
   * commit and is asked anew for every try. Resolves to whether it was written. Throws `LetGo`, or `too-large`.
   */
  write(
    change: (record: TaskRecord) => TaskRecord | undefined,
    extra: (next: TaskRecord) => Promise<Extra> = nothingMore,
  ): Promise<boolean> {
    const turn = this.#last.then(() => this.#write(change, extra))
    this.#last = turn.catch(() => undefined)
    return turn
  }

  async #write(
    change: (record: TaskRecord) => TaskRecord | undefined,
    extra: (next: TaskRecord) => Promise<Extra>,
  ): Promise<boolean> {
    this.#options.pauses.reset()
    for (;;) {
      const wanted = change(this.record)
      if (wanted === undefined) return false
      const next = { ...wanted, runner: this.#options.runner }
      const result = await this.#commit(next, extra)
      if (result === undefined) continue
      if (result.ok) {
        this.#stored = { value: next, revision: result.revision }
        return true
      }
      if (result.kind === 'task' && result.id === next.id && (await this.#isAlready(next))) return true
    }
  }

  /** One try. Undefined: the store could not do it now; a pause was made. */
  async #commit(next: TaskRecord, extra: (next: TaskRecord) => Promise<Extra>): Promise<CommitResult | undefined> {
    this.#throwIfClosed()
    try {
      const more = await extra(next)
      this.#throwIfClosed()
      const own: Change = { do: 'update', kind: 'task', value: next, expected: this.revision }
      return await this.#options.store.commit({ changes: [own, ...more.changes], events: more.events })
    } catch (thrown) {
      if (!isPassing(thrown)) throw thrown
      this.#options.logger.warn({ task: next.id, err: thrown }, 'the task log cannot be written now; trying again')
      await this.#options.clock.sleep(this.#options.pauses.next(), this.#options.closed).catch(() => undefined)
      return undefined
    }
  }

  /** After a lost race: whether it was our own write that won. Else takes up the newest record, or lets go. */
  async #isAlready(next: TaskRecord): Promise<boolean> {
    const newest = await this.#read(next.id)
    if (newest === undefined) throw new LetGo(`task ${next.id} is no longer in the store`)
    if (newest.value.runner !== this.#options.runner) {
      throw new LetGo(`task ${next.id} is now run by another manager`)
    }
    this.#stored = newest
    return canonicalJson(newest.value) === canonicalJson(next)
  }

  async #read(id: string): Promise<Stored<TaskRecord> | undefined> {
    for (;;) {
      this.#throwIfClosed()
      try {
        return await this.#options.store.get('task', id)
      } catch (thrown) {
        if (!isPassing(thrown)) throw thrown
        await this.#options.clock.sleep(this.#options.pauses.next(), this.#options.closed).catch(() => undefined)
      }
    }
  }

  #throwIfClosed(): void {
    if (this.#options.closed.aborted) throw new LetGo('the engine is closed')
  }
}

/** Whether trying again may help. */
function isPassing(thrown: unknown): boolean {
  return thrown instanceof HoldfastError && (thrown.isUnknown || thrown.code === 'store-error')
}
