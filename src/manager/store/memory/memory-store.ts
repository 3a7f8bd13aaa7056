/**
 * The store in memory, for the simulation and for tests: the same semantics as the durable ones (it passes the same
 * suite), and hooks that make it fail where a real one can. It outlives the simulated managers that use it.
 */
import { isoTime, type Clock } from '../../../base/clock.ts'
import { idPrefixes, type ObjectKind } from '../../../base/ids.ts'
import type { Event } from '../../../contracts/inventory.ts'
import { ChangeFeed } from '../change-feed.ts'
import { LeaseTable } from '../lease-table.ts'
import { batchOf, prepareCommit } from '../prepared-commit.ts'
import { RecordCache } from '../record-cache.ts'
import type { Kind, Records } from '../records.ts'
import type { Commit, CommitResult, Lease, Revision, Store, Stored, WatchBatch } from '../store.ts'

/** Called around each commit and read. What they throw the caller gets; a promise that never settles is a crash. */
export interface MemoryFaults {
  /** Nothing is written yet: throwing makes the commit fail whole. */
  beforeCommit?: (commit: Commit) => Promise<void> | void
  /** It is written (or was refused): throwing loses the reply. */
  afterCommit?: (commit: Commit, result: CommitResult) => Promise<void> | void
  beforeRead?: (kind: Kind, id: string | undefined) => Promise<void> | void
}

export class MemoryStore implements Store {
  /** Set and taken away at any time. */
  faults: MemoryFaults = {}
  readonly #clock: Clock
  readonly #records = new RecordCache()
  readonly #feed: ChangeFeed
  readonly #leases: LeaseTable
  readonly #counters = new Map<ObjectKind, number>()
  #batches: WatchBatch[] = []

  constructor(clock: Clock) {
    this.#clock = clock
    this.#leases = new LeaseTable(clock)
    const page = async (after: Revision) => this.#batches.filter((batch) => batch.revision > after)
    this.#feed = new ChangeFeed({ revision: 0, oldest: 1, memory: 1024, page })
  }

  async get<K extends Kind>(kind: K, id: string): Promise<Stored<Records[K]> | undefined> {
    await this.faults.beforeRead?.(kind, id)
    return this.#records.get(kind, id)
  }

  async list<K extends Kind>(kind: K): Promise<{ items: Stored<Records[K]>[]; revision: Revision }> {
    await this.faults.beforeRead?.(kind, undefined)
    return { items: this.#records.list(kind), revision: this.#feed.revision }
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const prepared = prepareCommit(commit, isoTime(this.#clock.now()))
    await this.faults.beforeCommit?.(commit)
    const result = this.#apply(prepared)
    await this.faults.afterCommit?.(commit, result)
    return result
  }

  #apply(prepared: ReturnType<typeof prepareCommit>): CommitResult {
    for (const { kind, id, expected } of prepared.changes) {
      const actual = this.#records.revisionOf(kind, id)
      if (actual !== expected) return { ok: false, reason: 'conflict', kind, id, actual }
    }
    if (!prepared.isWrite) return { ok: true, revision: this.#feed.revision }
    const batch = batchOf(prepared, this.#feed.revision + 1)
    this.#records.apply(batch)
    this.#batches.push(batch)
    this.#feed.publish(batch)
    return { ok: true, revision: batch.revision }
  }

  async revision(): Promise<Revision> {
    return this.#feed.revision
  }

  watch(from: Revision, signal: AbortSignal): AsyncIterable<WatchBatch | 'relist'> {
    return this.#feed.watch(from, signal)
  }

  async oldestKept(): Promise<Revision> {
    return this.#feed.oldest
  }

  async events(after: { revision: Revision; sequence: number }, limit: number): Promise<Event[] | 'relist'> {
    if (!this.#feed.isKept(after.revision)) return 'relist'
    const isAfter = (event: Event): boolean =>
      event.revision > after.revision || (event.revision === after.revision && event.sequence > after.sequence)
    return this.#batches.flatMap((batch) => batch.events.filter(isAfter)).slice(0, limit)
  }

  async compact(before: Revision): Promise<void> {
    this.#feed.compact(before)
    this.#batches = this.#batches.filter((batch) => batch.revision >= this.#feed.oldest)
  }

  async nextId(kind: ObjectKind): Promise<string> {
    const next = (this.#counters.get(kind) ?? 0) + 1
    this.#counters.set(kind, next)
    return `${idPrefixes[kind]}-${next}`
  }

  async acquireLease(id: string, owner: string, ttlMs: number): Promise<Lease | undefined> {
    return this.#leases.acquire(id, owner, ttlMs)?.lease
  }

  async releaseLease(id: string, owner: string): Promise<void> {
    this.#leases.release(id, owner)
  }

  async leaseOwner(id: string): Promise<string | undefined> {
    return this.#leases.owner(id)
  }

  /** A manager has started: every lease counts as just renewed. */
  renewAllLeases(): void {
    this.#leases.renewAll()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#feed.close()
  }
}
