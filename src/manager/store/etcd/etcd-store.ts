/**
 * The clustered store: an inventory in etcd, which any number of managers read and write. Each keeps all records in memory
 * and follows the commits of all; what it says of them is linearizable, since it asks etcd first how far the inventory is.
 *
 * A commit is checked in memory against the newest revision, and written under the condition that this is still the newest:
 * who loses that race has learnt of the other's commit when he tries again. When an answer is lost the same is tried again,
 * and the commit that is found in its place says whose it was; so an outcome is unknown only while etcd is out of reach.
 */
import { isoTime, type Clock } from '../../../base/clock.ts'
import { describeError, HoldfastError } from '../../../base/errors.ts'
import { idPrefixes, type ObjectKind } from '../../../base/ids.ts'
import type { Logger } from '../../../base/log.ts'
import type { Random } from '../../../base/random.ts'
import type { Event } from '../../../contracts/inventory.ts'
import { SerialQueue } from '../../../base/serial-queue.ts'
import { ChangeFeed } from '../change-feed.ts'
import { batchOf, prepareCommit } from '../prepared-commit.ts'
import { RecordCache } from '../record-cache.ts'
import type { Kind, Records } from '../records.ts'
import type { Commit, CommitResult, Lease, Revision, Store, Stored, WatchBatch } from '../store.ts'
import { CommitQueue } from './commit-queue.ts'
import { endOf, EtcdClient, type Condition, type EtcdOptions, type Operation } from './etcd-client.ts'
import { Follower } from './follower.ts'
import { Keys, parseEntry, parseRecordText } from './keys.ts'
import { EtcdLeases } from './leases.ts'
import { readCommits } from './read-commits.ts'

export interface EtcdStoreOptions extends EtcdOptions {
  /** Of several inventories in one etcd; ends with a slash. */
  readonly prefix: string
  /** For what is written: times of events, and how long leases are. `clock` of `EtcdOptions` is for the network. */
  readonly time: Clock
  readonly random: Random
  readonly logger: Logger
  /** It is written only by who leads: commits are refused before `fence` is called. Default: by anybody. */
  readonly isLed?: boolean
}

/** What must hold in etcd for a commit of this manager to be written. */
export interface Fence {
  readonly condition: Condition
  /** It does not hold any more: another manager leads. */
  readonly onBroken: () => void
}

/** Commits that memory holds for watchers, and records and commits in one answer. */
const [feedMemory, recordsPerRead, commitsPerRead] = [1024, 500, 128]

/** Opens the inventory; an empty one is there from its first commit on. Throws `unreachable`, and `store-error` where it is none of ours. */
export async function openEtcdStore(options: EtcdStoreOptions): Promise<EtcdStore> {
  const store = new EtcdStore(options)
  try {
    await store.open()
    return store
  } catch (thrown) {
    await store[Symbol.asyncDispose]()
    throw thrown
  }
}

export class EtcdStore implements Store {
  readonly #options: EtcdStoreOptions
  readonly #client: EtcdClient
  readonly #keys: Keys
  readonly #leases: EtcdLeases
  readonly #feed: ChangeFeed
  readonly #follower: Follower
  readonly #commits: CommitQueue
  readonly #counters = new SerialQueue()
  #records = new RecordCache()
  /** Asks how far the inventory is; those who come before it has begun share its answer. */
  #nextLook: Promise<Revision> | undefined
  #look: Promise<unknown> = Promise.resolve()
  #fence: Fence | undefined

  /** Made by `openEtcdStore`. */
  constructor(options: EtcdStoreOptions) {
    this.#options = options
    this.#client = new EtcdClient(options)
    this.#keys = new Keys(options.prefix)
    this.#leases = new EtcdLeases({
      client: this.#client,
      keys: this.#keys,
      clock: options.time,
      random: options.random,
    })
    const page = (after: Revision): Promise<WatchBatch[]> => this.#page(after)
    this.#feed = new ChangeFeed({ revision: 0, oldest: 1, memory: feedMemory, page })
    this.#commits = new CommitQueue({
      keys: this.#keys,
      revision: () => this.#feed.revision,
      revisionOf: ({ kind, id }) => this.#records.revisionOf(kind, id),
      upToDate: () => this.#upToDate(),
      write: (operations, on, by) => this.#write(operations, on, by),
      onWritten: (prepared, revision) => this.#publish(batchOf(prepared, revision)),
      name: () => options.random.uuid(),
    })
    this.#follower = new Follower(
      { client: this.#client, clock: options.clock, logger: options.logger, keys: this.#keys },
      {
        revision: () => this.#feed.revision,
        head: () => this.#head(),
        load: () => this.#load(),
        onBatch: (batch) => this.#publish(batch),
        onOldest: (oldest) => this.#feed.compact(oldest),
      },
    )
  }

  async open(): Promise<void> {
    await this.#leases.open()
    await this.#follower.open()
  }

  /** From now on every commit is written under this condition too. */
  fence(fence: Fence): void {
    this.#fence = fence
  }

  async get<K extends Kind>(kind: K, id: string): Promise<Stored<Records[K]> | undefined> {
    await this.#upToDate()
    return this.#records.get(kind, id)
  }

  async list<K extends Kind>(kind: K): Promise<{ items: Stored<Records[K]>[]; revision: Revision }> {
    await this.#upToDate()
    return { items: this.#records.list(kind), revision: this.#feed.revision }
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const prepared = prepareCommit(commit, isoTime(this.#options.time.now()))
    return this.#commits.commit(prepared)
  }

  /** Whether these are written now on top of this revision; another may have made the next. */
  async #write(operations: readonly Operation[], on: Revision, by: string): Promise<boolean> {
    const keys = this.#keys
    const fence = this.#fence
    if (fence === undefined && this.#options.isLed === true) throw notLeading()
    const isNewest = { key: keys.head, value: on === 0 ? undefined : String(on) }
    const conditions = fence === undefined ? [isNewest] : [isNewest, fence.condition]
    const { isDone } = await this.#client.write(conditions, operations)
    if (isDone) return true
    const found = (await this.#client.range(keys.commit(on + 1))).items[0]
    if (found !== undefined && parseEntry(found.value).by === by) return true
    if (fence !== undefined) await this.#mustHold(fence)
    return false
  }

  async #mustHold({ condition, onBroken }: Fence): Promise<void> {
    const { items } = await this.#client.range(condition.key)
    if (items[0]?.value === condition.value) return
    onBroken()
    throw notLeading()
  }

  /** Applies a commit, if it is the next one. */
  #publish(batch: WatchBatch): void {
    if (batch.revision !== this.#feed.revision + 1) return
    this.#records.apply(batch)
    this.#feed.publish(batch)
    this.#follower.reached()
  }

  async revision(): Promise<Revision> {
    await this.#upToDate()
    return this.#feed.revision
  }

  watch(from: Revision, signal: AbortSignal): AsyncIterable<WatchBatch | 'relist'> {
    return this.#watch(from, signal)
  }

  async *#watch(from: Revision, signal: AbortSignal): AsyncGenerator<WatchBatch | 'relist', void, undefined> {
    if (signal.aborted) return
    // A place that another manager has told of may be ahead of what is known here.
    if (from > this.#feed.revision) await this.#upToDate()
    yield* this.#feed.watch(from, signal)
  }

  async oldestKept(): Promise<Revision> {
    await this.#upToDate()
    return this.#feed.oldest
  }

  async events(after: { revision: Revision; sequence: number }, limit: number): Promise<Event[] | 'relist'> {
    await this.#upToDate()
    const found: Event[] = []
    const isAfter = (event: Event): boolean =>
      event.revision > after.revision || (event.revision === after.revision && event.sequence > after.sequence)
    for (let from = Math.max(1, after.revision); found.length < limit;) {
      if (!this.#feed.isKept(after.revision)) return 'relist'
      const entries = await readCommits(this.#client, this.#keys, from, commitsPerRead)
      const last = entries.at(-1)
      if (last === undefined) break
      found.push(...entries.flatMap((entry) => entry.events()).filter(isAfter))
      from = last.revision + 1
    }
    return this.#feed.isKept(after.revision) ? found.slice(0, limit) : 'relist'
  }

  async compact(before: Revision): Promise<void> {
    await this.#upToDate()
    const keys = this.#keys
    const oldest = Math.max(this.#feed.oldest, Math.min(before, this.#feed.revision + 1))
    if (oldest === this.#feed.oldest) return
    const first = (await this.#client.range(keys.commit(oldest))).items[0]
    const known = (await this.#client.range(keys.oldest)).items[0]
    if (Number(known?.value ?? 1) < oldest) {
      await this.#client.write(
        [{ key: keys.oldest, value: known?.value }],
        [
          { do: 'put', key: keys.oldest, value: String(oldest) },
          { do: 'delete', key: keys.commits, end: keys.commit(oldest) },
        ],
      )
    }
    this.#feed.compact(oldest)
    // Of records etcd keeps what they were at each commit that is kept.
    const { revision } = await this.#client.range(keys.head)
    await this.#client.compact(first?.modRevision ?? revision).catch((thrown: unknown) => {
      // Somebody else has compacted further.
      if (!(thrown instanceof HoldfastError) || thrown.code !== 'not-found') throw thrown
    })
  }

  async nextId(kind: ObjectKind): Promise<string> {
    return this.#counters.run(async () => {
      const key = this.#keys.counter(kind)
      for (;;) {
        const last = (await this.#client.range(key)).items[0]?.value
        const value = String(Number(last ?? 0) + 1)
        const { isDone } = await this.#client.write([{ key, value: last }], [{ do: 'put', key, value }])
        if (isDone) return `${idPrefixes[kind]}-${value}`
      }
    })
  }

  acquireLease(id: string, owner: string, ttlMs: number): Promise<Lease | undefined> {
    return this.#leases.acquire(id, owner, ttlMs)
  }

  releaseLease(id: string, owner: string): Promise<void> {
    return this.#leases.release(id, owner)
  }

  leaseOwner(id: string): Promise<string | undefined> {
    return this.#leases.owner(id)
  }

  /** Ends watches quietly, and lets writes under way end. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#commits.close(), this.#counters.close()])
    await this.#follower[Symbol.asyncDispose]()
    this.#feed.close()
  }

  /** Resolves when all is known here that was written before the call. */
  async #upToDate(): Promise<void> {
    this.#nextLook ??= this.#look.then(() => {
      this.#nextLook = undefined
      const look = this.#headNow()
      this.#look = look.catch(() => undefined)
      return look
    })
    await this.#follower.until(await this.#nextLook)
  }

  /** Throws `store-error` when the inventory has gone back: what is in memory, and what agents were told, is then of another life. */
  async #headNow(): Promise<Revision> {
    const known = this.#feed.revision
    const head = await this.#head()
    if (head >= known) return head
    const mend = 'Was etcd restored from a backup? Stop all managers, restore the inventory, then begin them anew.'
    throw new HoldfastError('store-error', `the inventory in etcd is at ${head}, and was at ${known} before`, { mend })
  }

  async #head(): Promise<Revision> {
    return Number((await this.#client.range(this.#keys.head)).items[0]?.value ?? 0)
  }

  /** Reads the whole inventory as it is at one moment; gives etcd's revision of that moment. */
  async #load(): Promise<number> {
    const { head, oldest, records } = this.#keys
    const first = await this.#client.range(head)
    const at = first.revision
    const revision = Number(first.items[0]?.value ?? 0)
    const kept = (await this.#client.range(oldest, { revision: at })).items[0]
    const fresh = new RecordCache()
    for (let from = records; ;) {
      const part = await this.#client.range(from, { end: endOf(records), limit: recordsPerRead, revision: at })
      for (const { key, value } of part.items) {
        const name = this.#keys.recordOf(key)
        if (name === undefined) throw new HoldfastError('store-error', `etcd holds ${key}, which is no record`)
        const record = parseRecordText(value)
        fresh.set(name.kind, name.id, record.value, record.revision)
      }
      const last = part.items.at(-1)
      if (last === undefined || !part.isMore) break
      from = `${last.key}\0`
    }
    this.#records = fresh
    this.#feed.begin(revision, Number(kept?.value ?? 1))
    return at
  }

  /** Older commits than memory holds. Where etcd has forgotten how records were, watchers begin anew. */
  async #page(after: Revision): Promise<WatchBatch[]> {
    const entries = await readCommits(this.#client, this.#keys, after + 1, commitsPerRead)
    try {
      const batches: WatchBatch[] = []
      for (const entry of entries) batches.push(await entry.batch())
      return batches
    } catch (thrown) {
      if (!(thrown instanceof HoldfastError) || thrown.code !== 'not-found') throw thrown
      this.#options.logger.warn({ err: describeError(thrown) }, 'somebody else has compacted etcd: watchers begin anew')
      this.#feed.compact(this.#feed.revision + 1)
      return []
    }
  }
}

function notLeading(): HoldfastError {
  return new HoldfastError('unreachable', 'this manager does not lead: nothing was written', {
    mend: 'Ask again: the manager that leads now answers.',
  })
}
