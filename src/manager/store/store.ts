/**
 * The inventory behind one port, with etcd's semantics: every write names the revision it read; a write that lost the
 * race fails whole; changes can be watched from a revision; leases expire. SQLite is the embedded implementation, etcd
 * the clustered one; both (and the one in memory that the simulation uses) pass the suite in `store-suite.ts`.
 *
 * Revisions are one sequence for the whole store: a commit makes one, and every record it touched bears it.
 */
import type { ObjectKind } from '../../base/ids.ts'
import type { Event } from '../../contracts/inventory.ts'
import type { Kind, Records } from './records.ts'

export type Revision = number

export interface Stored<T> {
  readonly value: T
  /** The commit that wrote it. */
  readonly revision: Revision
}

/** One write of a commit. `create` wants nobody there; the others want exactly the revision that was read. */
export type Change = {
  [K in Kind]:
    | { readonly do: 'create'; readonly kind: K; readonly value: Records[K] }
    | { readonly do: 'update'; readonly kind: K; readonly value: Records[K]; readonly expected: Revision }
    | { readonly do: 'remove'; readonly kind: K; readonly id: string; readonly expected: Revision }
    /** Writes nothing; the commit fails unless the record is still at this revision (0: not there). */
    | { readonly do: 'check'; readonly kind: K; readonly id: string; readonly expected: Revision }
}[Kind]

/** What people and programs are told of a commit; kept with it, in order. */
export type NewEvent = Pick<Event, 'type' | 'subject' | 'message' | 'task' | 'data'>

export type CommitResult =
  | { readonly ok: true; readonly revision: Revision }
  /** Nothing was written. The first record that was not as expected. */
  | {
      readonly ok: false
      readonly reason: 'conflict'
      readonly kind: Kind
      readonly id: string
      readonly actual: Revision
    }

export interface Commit {
  readonly changes: readonly Change[]
  readonly events: readonly NewEvent[]
}

export interface WatchedChange {
  readonly kind: Kind
  readonly id: string
  readonly revision: Revision
  /** Undefined when removed. */ readonly value: Records[Kind] | undefined
}
export interface WatchBatch {
  readonly revision: Revision
  readonly changes: readonly WatchedChange[]
  readonly events: readonly Event[]
}

export interface Lease {
  readonly id: string
  readonly owner: string
  readonly ttlMs: number
}

/** Limits of a commit, those of etcd, so that what works embedded works clustered. */
export const maxChangesPerCommit = 100
export const maxCommitBytes = 1024 * 1024

export interface Store extends AsyncDisposable {
  get<K extends Kind>(kind: K, id: string): Promise<Stored<Records[K]> | undefined>
  /** All of a kind in order of id (numbers as numbers), read at one revision. */
  list<K extends Kind>(kind: K): Promise<{ items: Stored<Records[K]>[]; revision: Revision }>
  /**
   * All or nothing, durable when it resolves. Throws `too-large` beyond the limits, `store-error` when the store cannot
   * write (disk full), `unreachable` when the outcome is unknown (a clustered store; a disk that failed while flushing).
   */
  commit(commit: Commit): Promise<CommitResult>
  revision(): Promise<Revision>
  /** Commits after `from`, in order, without a gap. Ends with `'relist'` when `from` is no longer kept. Ends quietly when aborted. */
  watch(from: Revision, signal: AbortSignal): AsyncIterable<WatchBatch | 'relist'>
  /** The oldest revision whose changes and events are still kept. A place just before it can still be resumed from. */
  oldestKept(): Promise<Revision>
  /** Kept events after a place, oldest first, at most `limit`; `'relist'` when the place is no longer kept. */
  events(after: { revision: Revision; sequence: number }, limit: number): Promise<Event[] | 'relist'>
  /** Forgets changes and events before a revision; records themselves stay. */
  compact(before: Revision): Promise<void>
  /** The next short id of a kind: never given out twice, also across restarts and after removal. */
  nextId(kind: ObjectKind): Promise<string>
  /** Takes or renews a lease; undefined when another owner holds it. Its time counts from the call, by a clock that does not jump. */
  acquireLease(id: string, owner: string, ttlMs: number): Promise<Lease | undefined>
  releaseLease(id: string, owner: string): Promise<void>
  leaseOwner(id: string): Promise<string | undefined>
}
