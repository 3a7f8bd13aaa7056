/**
 * The embedded store: one SQLite file (WAL, every commit flushed before it is acknowledged), written by a thread of its
 * own with group commit. All records are also in memory, as of the newest acknowledged commit, so reads ask nobody.
 *
 * A file belongs to one manager at a time; a second one is refused with the first one's process id.
 */
import { isoTime, type Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { idPrefixes, type ObjectKind } from '../../../base/ids.ts'
import type { Logger } from '../../../base/log.ts'
import type { Event } from '../../../contracts/inventory.ts'
import { ChangeFeed } from '../change-feed.ts'
import { LeaseTable } from '../lease-table.ts'
import { batchOf, parseEvent, parseRecord, prepareCommit } from '../prepared-commit.ts'
import { RecordCache } from '../record-cache.ts'
import type { Kind, Records } from '../records.ts'
import type { Commit, CommitResult, Lease, Revision, Store, Stored, WatchBatch } from '../store.ts'
import { errorOf } from './problems.ts'
import type { CommitRow, Opened, Settings, WriteOp, WriteResult } from './protocol.ts'
import { WorkerLink } from './worker-link.ts'
import { WriteQueue } from './write-queue.ts'

export interface SqliteStoreOptions {
  /** The inventory's file; its folder must exist. `PATH.lock` and SQLite's own `-wal` and `-shm` lie beside it. */
  readonly path: string
  readonly clock: Clock
  readonly logger: Logger
  /**
   * How many revisions of changes and events are kept at most; older ones are forgotten by and by. A bound for when nobody
   * else compacts; default 100 000.
   */
  readonly keepRevisions?: number
  /** For tests of a full disk: the file's largest size in pages of 4 KiB. */
  readonly maxPages?: number
}

export interface RestoreOptions {
  /** The backup. */
  readonly from: string
  /** The inventory to put it into; made when it is not there. No manager may have it open. */
  readonly path: string
  readonly clock: Clock
  readonly logger: Logger
}

/** Commits that memory holds for watchers. */
const feedMemory = 1024
const recordsPerRead = 500
const commitsPerRead = 128

/**
 * Opens the inventory, making it when it is not there. Throws `wrong-state` when another manager has it (`details.holder`
 * is its process), and `store-error` when the file is damaged, foreign, newer than this version, or cannot be written.
 */
export async function openSqliteStore(options: SqliteStoreOptions): Promise<SqliteStore> {
  const link = new WorkerLink(options.logger)
  try {
    const opened = await link.call('open', { path: options.path, pid: process.pid, maxPages: options.maxPages ?? 0 })
    const records = new RecordCache()
    let after = { afterKind: '', afterId: '' }
    for (;;) {
      const rows = await link.call('records', { ...after, limit: recordsPerRead })
      for (const row of rows) records.set(row.kind, row.id, parseRecord(row.json), row.revision)
      const last = rows.at(-1)
      if (last === undefined) break
      after = { afterKind: last.kind, afterId: last.id }
    }
    return new SqliteStore(options, link, opened, records)
  } catch (thrown) {
    await link[Symbol.asyncDispose]()
    throw thrown
  }
}

/**
 * Replaces an inventory by a backup: a new incarnation, every run record `unknown`, revisions and short ids far above the
 * backup's. All or nothing. Throws as `openSqliteStore` does.
 */
export async function restoreSqliteStore(
  options: RestoreOptions,
): Promise<{ incarnation: number; revision: Revision; records: number }> {
  await using link = new WorkerLink(options.logger)
  const { from, path } = options
  return await link.call('restore', { from, path, pid: process.pid, maxPages: 0, now: isoTime(options.clock.now()) })
}

export class SqliteStore implements Store {
  /** Which life of the inventory this is: raised when it is restored from a backup. */
  readonly incarnation: number
  readonly #options: SqliteStoreOptions
  readonly #link: WorkerLink
  readonly #records: RecordCache
  readonly #feed: ChangeFeed
  readonly #leases: LeaseTable
  readonly #queue: WriteQueue
  readonly #keep: number
  #isCompacting = false
  #isClosed = false

  /** Made by `openSqliteStore`. */
  constructor(options: SqliteStoreOptions, link: WorkerLink, opened: Opened, records: RecordCache) {
    this.#options = options
    this.#link = link
    this.#records = records
    this.incarnation = opened.incarnation
    this.#leases = new LeaseTable(options.clock, opened.leases)
    this.#keep = options.keepRevisions ?? 100_000
    this.#queue = new WriteQueue((ops) => this.#write(ops))
    const page = (after: Revision) => this.#readBatches(after)
    this.#feed = new ChangeFeed({ revision: opened.revision, oldest: opened.oldest, memory: feedMemory, page })
  }

  async get<K extends Kind>(kind: K, id: string): Promise<Stored<Records[K]> | undefined> {
    return this.#records.get(kind, id)
  }

  async list<K extends Kind>(kind: K): Promise<{ items: Stored<Records[K]>[]; revision: Revision }> {
    return { items: this.#records.list(kind), revision: this.#feed.revision }
  }

  async commit(commit: Commit): Promise<CommitResult> {
    const prepared = prepareCommit(commit, isoTime(this.#options.clock.now()))
    const outcome = await this.#submit({ op: 'commit', prepared })
    if (outcome.kind !== 'commit') throw new HoldfastError('internal', 'a commit got the answer of something else')
    return outcome.result
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
    const rows = await this.#link.call('events', { ...after, limit })
    // What was forgotten meanwhile may be missing.
    if (!this.#feed.isKept(after.revision)) return 'relist'
    return rows.map((row) => parseEvent(row.json, row.revision, row.sequence))
  }

  async compact(before: Revision): Promise<void> {
    await this.#submit({ op: 'compact', before })
  }

  async nextId(kind: ObjectKind): Promise<string> {
    const outcome = await this.#submit({ op: 'next-id', kind })
    if (outcome.kind !== 'number') throw new HoldfastError('internal', 'an id got the answer of something else')
    return `${idPrefixes[kind]}-${outcome.number}`
  }

  async acquireLease(id: string, owner: string, ttlMs: number): Promise<Lease | undefined> {
    const taken = this.#leases.acquire(id, owner, ttlMs)
    if (taken === undefined || !taken.isNew) return taken?.lease
    try {
      await this.#submit({ op: 'lease', lease: taken.lease })
    } catch (thrown) {
      this.#leases.release(id, owner)
      throw thrown
    }
    return taken.lease
  }

  async releaseLease(id: string, owner: string): Promise<void> {
    if (this.#leases.release(id, owner)) await this.#submit({ op: 'unlease', id })
  }

  async leaseOwner(id: string): Promise<string | undefined> {
    return this.#leases.owner(id)
  }

  /** How the file is written, as SQLite says. */
  settings(): Promise<Settings> {
    return this.#link.call('settings', null)
  }

  /** A whole copy at one revision into a new file, flushed. Commits wait meanwhile. Throws `store-error` if it exists. */
  async backup(to: string): Promise<void> {
    await this.#link.call('backup', { to })
  }

  /** Ends watches quietly, lets writes under way end, and closes the file. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true
    this.#feed.close()
    await this.#link[Symbol.asyncDispose]()
  }

  async #submit(op: WriteOp): Promise<Exclude<WriteResult, { kind: 'failed' }>> {
    if (this.#isClosed) throw new HoldfastError('store-error', 'the inventory is closed')
    const outcome = await this.#queue.add(op)
    if (outcome.kind === 'failed') throw errorOf(outcome.problem)
    return outcome
  }

  /** Writes a batch and takes into memory what was written, before anybody is told. */
  async #write(ops: readonly WriteOp[]): Promise<readonly WriteResult[]> {
    try {
      const results = await this.#link.call('write', ops)
      for (const [index, op] of ops.entries()) this.#applied(op, results[index])
      this.#compactOld()
      return results
    } catch (thrown) {
      if (thrown instanceof HoldfastError && thrown.isUnknown) await this.#catchUp()
      throw thrown
    }
  }

  #applied(op: WriteOp, outcome: WriteResult | undefined): void {
    if (op.op === 'commit' && outcome?.kind === 'commit' && outcome.result.ok && op.prepared.isWrite) {
      this.#publish(batchOf(op.prepared, outcome.result.revision))
    }
    if (op.op === 'compact' && outcome?.kind === 'number') this.#feed.compact(outcome.number)
  }

  #publish(batch: WatchBatch): void {
    this.#records.apply(batch)
    this.#feed.publish(batch)
  }

  /** After a failure of the disk that left a batch written: memory learns it from the file. */
  async #catchUp(): Promise<void> {
    try {
      for (;;) {
        const batches = await this.#readBatches(this.#feed.revision)
        if (batches.length === 0) return
        for (const batch of batches) this.#publish(batch)
      }
    } catch (thrown) {
      this.#options.logger.error({ err: thrown }, 'the inventory cannot be read back; the manager must be restarted')
    }
  }

  async #readBatches(after: Revision): Promise<WatchBatch[]> {
    return (await this.#link.call('commits', { after, limit: commitsPerRead })).map(batchOfRow)
  }

  /** Forgets old changes a tenth of what is kept at a time. */
  #compactOld(): void {
    const { revision, oldest } = this.#feed
    if (this.#isCompacting || this.#isClosed || revision - oldest < this.#keep * 1.1) return
    this.#isCompacting = true
    void this.#queue
      .add({ op: 'compact', before: revision - this.#keep })
      .catch((err: unknown) => this.#options.logger.warn({ err }, 'old changes cannot be forgotten now'))
      .finally(() => (this.#isCompacting = false))
  }
}

function batchOfRow(row: CommitRow): WatchBatch {
  return {
    revision: row.revision,
    changes: row.changes.map(({ kind, id, json }) => ({
      kind,
      id,
      revision: row.revision,
      value: json === null ? undefined : parseRecord(json),
    })),
    events: row.events.map((json, index) => parseEvent(json, row.revision, index + 1)),
  }
}
