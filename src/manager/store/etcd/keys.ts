/**
 * Where the inventory lies in etcd, below one prefix:
 *
 *   s/head            the newest revision of the inventory; every commit is written under the condition that it has not moved
 *   s/c/0000000042    the commit that made revision 42: which records it wrote, and its events
 *   s/oldest          the oldest revision whose commit is kept
 *   s/r/vm/vm-42      a record: the revision that wrote it, a line break, its JSON
 *   n/vm              the last short id of a kind
 *   l/lead            a lease
 *   lead              the manager that leads: {manager, name, urls, term, since}; every commit of it is written while it is named
 *   m/UUID            a manager that lives: {name, urls, version, seen}
 *   init              who makes this inventory, and whether it is whole: {by, isWhole, cluster, run, step}
 *
 * What is below `s/` is watched, and each commit is one transaction, so that a watcher sees all of it in one piece. The
 * inventory has a count of revisions of its own: etcd's goes up with leases, short ids and whatever else lies there.
 */
import { HoldfastError } from '../../../base/errors.ts'
import { parseEvent, parseRecord, type PreparedCommit } from '../prepared-commit.ts'
import type { Kind } from '../records.ts'
import type { Revision, WatchBatch, WatchedChange } from '../store.ts'

const revisionDigits = 16

/** Text of a commit: what it wrote, without the records themselves. */
export interface CommitEntry {
  /** Who wrote it knows it again by this. */
  readonly by: string
  readonly changes: readonly { readonly kind: Kind; readonly id: string; readonly isRemoved?: true }[]
  /** JSON each, without their revision and sequence. */
  readonly events: readonly string[]
}

export class Keys {
  readonly #prefix: string

  /** `prefix`: ends with a slash. */
  constructor(prefix: string) {
    this.#prefix = prefix
  }

  get watched(): string {
    return `${this.#prefix}s/`
  }

  get head(): string {
    return `${this.#prefix}s/head`
  }

  get oldest(): string {
    return `${this.#prefix}s/oldest`
  }

  get records(): string {
    return `${this.#prefix}s/r/`
  }

  get commits(): string {
    return `${this.#prefix}s/c/`
  }

  commit(revision: Revision): string {
    return this.commits + String(revision).padStart(revisionDigits, '0')
  }

  record(kind: Kind, id: string): string {
    return `${this.records}${kind}/${id}`
  }

  counter(kind: string): string {
    return `${this.#prefix}n/${kind}`
  }

  lease(id: string): string {
    return `${this.#prefix}l/${id}`
  }

  get lead(): string {
    return `${this.#prefix}lead`
  }

  get managers(): string {
    return `${this.#prefix}m/`
  }

  get init(): string {
    return `${this.#prefix}init`
  }

  /** Of all that the inventory has. */
  get all(): string {
    return this.#prefix
  }

  /** The revision that a commit's key names; undefined: it is none. */
  revisionOf(key: string): Revision | undefined {
    return key.startsWith(this.commits) ? Number(key.slice(this.commits.length)) : undefined
  }

  /** What a record's key names; undefined: it is none. Ids may hold slashes, kinds do not. */
  recordOf(key: string): { readonly kind: Kind; readonly id: string } | undefined {
    if (!key.startsWith(this.records)) return undefined
    const path = key.slice(this.records.length)
    const slash = path.indexOf('/')
    return { kind: path.slice(0, slash) as Kind, id: path.slice(slash + 1) }
  }
}

export function entryText({ changes, events }: PreparedCommit, by: string): string {
  const written = changes.filter((change) => change.do !== 'check')
  const entry: CommitEntry = {
    by,
    changes: written.map(({ kind, id, json }) => ({ kind, id, ...(json === null ? { isRemoved: true } : {}) })),
    events,
  }
  return JSON.stringify(entry)
}

/** Throws `store-error` where it is none of ours. */
export function parseEntry(text: string): CommitEntry {
  try {
    return JSON.parse(text) as CommitEntry
  } catch (cause) {
    throw new HoldfastError('store-error', 'the inventory in etcd holds a commit that cannot be read', {}, { cause })
  }
}

export function recordText(revision: Revision, json: string): string {
  return `${revision}\n${json}`
}

/** Throws `store-error` where it is none of ours. */
export function parseRecordText(text: string): {
  readonly value: NonNullable<WatchedChange['value']>
  readonly revision: Revision
} {
  const lineBreak = text.indexOf('\n')
  const revision = Number(text.slice(0, Math.max(0, lineBreak)))
  if (lineBreak < 1 || !Number.isSafeInteger(revision))
    throw new HoldfastError('store-error', 'the inventory in etcd holds a record that cannot be read')
  return { revision, value: parseRecord(text.slice(lineBreak + 1)) }
}

/** A commit for watchers. `textOf`: the record as this commit wrote it. */
export function batchOfEntry(
  revision: Revision,
  { changes, events }: CommitEntry,
  textOf: (kind: Kind, id: string) => string | undefined,
): WatchBatch {
  return {
    revision,
    changes: changes.map(({ kind, id, isRemoved }) => {
      const text = isRemoved ? undefined : textOf(kind, id)
      return { kind, id, revision, value: text === undefined ? undefined : parseRecordText(text).value }
    }),
    events: events.map((json, index) => parseEvent(json, revision, index + 1)),
  }
}
