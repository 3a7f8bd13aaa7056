/**
 * Follows the commits of all managers, by a watch of one member of etcd, and of the next when that one is lost. A watch that
 * hangs without a word is told from one that has nothing to tell by asking now and then how far the inventory is.
 */
import type { Clock } from '../../../base/clock.ts'
import { describeError, HoldfastError, toHoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import type { Revision, WatchBatch } from '../store.ts'
import type { EtcdClient, WatchAnswer } from './etcd-client.ts'
import { batchOfEntry, parseEntry, type Keys } from './keys.ts'

interface Deps {
  readonly client: EtcdClient
  readonly clock: Clock
  readonly logger: Logger
  readonly keys: Keys
}

export interface Followed {
  /** As far as is known here. */
  readonly revision: () => Revision
  /** As far as it is. */
  readonly head: () => Promise<Revision>
  /** Reads everything anew; gives etcd's revision at which it was so. */
  readonly load: () => Promise<number>
  readonly onBatch: (batch: WatchBatch) => void
  readonly onOldest: (oldest: Revision) => void
}

/** A watch that is behind for so long has been lost; it is looked for that as often. */
const lostAfterMs = 1000
const pauseMs = 100
/** Who waits for a commit that is there waits no longer. */
const untilMs = 10_000

export class Follower implements AsyncDisposable {
  readonly #deps: Deps
  readonly #followed: Followed
  readonly #closed = new AbortController()
  readonly #waiting = new Set<() => void>()
  /** Ends the watch in hand. */
  #watching = new AbortController()
  /** etcd's revision up to which everything has been seen. */
  #at = 0
  #run: Promise<unknown> = Promise.resolve()

  constructor(deps: Deps, followed: Followed) {
    this.#deps = deps
    this.#followed = followed
  }

  /** Reads everything, then follows until it is disposed. */
  async open(): Promise<void> {
    this.#at = await this.#followed.load()
    this.#run = Promise.all([this.#follow(), this.#lookAfter()])
  }

  /** Another revision is known now. */
  reached(): void {
    for (const wake of [...this.#waiting]) wake()
  }

  /** Resolves when this revision is known here. Throws `unreachable` when it does not come. */
  async until(revision: Revision): Promise<void> {
    if (this.#followed.revision() >= revision) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const look = (): void => {
      if (this.#closed.signal.aborted) reject(new HoldfastError('store-error', 'the inventory is closed'))
      else if (this.#followed.revision() >= revision) resolve()
    }
    this.#waiting.add(look)
    using _late = this.#deps.clock.timer(untilMs, () =>
      reject(new HoldfastError('unreachable', `etcd does not tell what was written (${revision})`)),
    )
    try {
      await promise
    } finally {
      this.#waiting.delete(look)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort()
    this.#watching.abort()
    this.reached()
    await this.#run
  }

  get #isClosed(): boolean {
    return this.#closed.signal.aborted
  }

  async #follow(): Promise<void> {
    const { client, keys, logger } = this.#deps
    while (!this.#isClosed) {
      this.#watching = new AbortController()
      try {
        for await (const answer of client.watch(keys.watched, this.#at + 1, this.#watching.signal)) this.#take(answer)
      } catch (thrown) {
        const error = toHoldfastError(thrown)
        logger.warn({ err: describeError(error) }, 'the inventory is followed anew')
        if (error.code === 'not-found') await this.#loadAgain()
      }
      await this.#pause(pauseMs)
    }
  }

  async #loadAgain(): Promise<void> {
    try {
      this.#at = await this.#followed.load()
      this.reached()
    } catch (thrown) {
      this.#deps.logger.warn({ err: describeError(thrown) }, 'the inventory cannot be read')
    }
  }

  /** All of one revision of etcd comes in one answer. */
  #take({ events }: WatchAnswer): void {
    const { keys } = this.#deps
    for (const [at, own] of Map.groupBy(events, ({ modRevision }) => modRevision)) {
      const texts = new Map(own.map(({ key, value }) => [key, value]))
      for (const { key, value } of own) {
        const committed = keys.revisionOf(key)
        if (key === keys.oldest && value !== undefined) this.#followed.onOldest(Number(value))
        if (committed === undefined || value === undefined) continue
        const textOf = (...name: Parameters<Keys['record']>): string | undefined => texts.get(keys.record(...name))
        this.#followed.onBatch(batchOfEntry(committed, parseEntry(value), textOf))
      }
      // Not the revision of the answer: a watch that catches up is told of that one before it was told of all up to it.
      this.#at = Math.max(this.#at, at)
    }
  }

  async #lookAfter(): Promise<void> {
    while (!this.#isClosed) {
      await this.#pause(lostAfterMs)
      const head = await this.#headIfKnown()
      if (head <= this.#followed.revision()) continue
      await this.#pause(lostAfterMs)
      if (head <= this.#followed.revision()) continue
      this.#deps.client.leave()
      this.#watching.abort()
    }
  }

  async #headIfKnown(): Promise<Revision> {
    if (this.#isClosed) return 0
    return await this.#followed.head().catch(() => 0)
  }

  async #pause(ms: number): Promise<void> {
    await this.#deps.clock.sleep(ms, this.#closed.signal).catch(() => undefined)
  }
}
