/** Pure: a commit checked against the limits and written as text, the same for every implementation. */
import { HoldfastError } from '../../base/errors.ts'
import type { Event } from '../../contracts/inventory.ts'
import type { Kind, Records } from './records.ts'
import {
  maxChangesPerCommit,
  maxCommitBytes,
  type Change,
  type Commit,
  type Revision,
  type WatchBatch,
  type WatchedChange,
} from './store.ts'

export interface PreparedChange {
  readonly do: Change['do']
  readonly kind: Kind
  readonly id: string
  /** The revision that must be found; 0: none may be there. */
  readonly expected: Revision
  /** The record as JSON; null where nothing is written or it is removed. */
  readonly json: string | null
}

export interface PreparedCommit {
  readonly changes: readonly PreparedChange[]
  /** Events as JSON, without their revision and sequence. */
  readonly events: readonly string[]
  /** Whether it writes anything: a commit of checks alone makes no revision. */
  readonly isWrite: boolean
}

/** Throws `too-large` beyond the limits, and `internal` when one record is written twice. */
export function prepareCommit(commit: Commit, now: string): PreparedCommit {
  if (commit.changes.length > maxChangesPerCommit) {
    throw tooLarge(`${commit.changes.length} changes, at most ${maxChangesPerCommit} are possible`)
  }
  const changes = commit.changes.map(prepareChange)
  const events = commit.events.map((event) => JSON.stringify({ ...event, time: now }))
  const written = changes.filter((change) => change.do !== 'check')
  const keys = new Set(written.map((change) => `${change.kind}/${change.id}`))
  if (keys.size !== written.length) throw new HoldfastError('internal', 'a commit writes the same record twice')
  const bytes = [...changes.map((change) => change.json ?? ''), ...events].reduce(
    (sum, text) => sum + byteLength(text),
    0,
  )
  if (bytes > maxCommitBytes) throw tooLarge(`${bytes} bytes, at most ${maxCommitBytes} are possible`)
  return { changes, events, isWrite: written.length > 0 || events.length > 0 }
}

function prepareChange(change: Change): PreparedChange {
  const { kind } = change
  switch (change.do) {
    case 'create':
      return { do: change.do, kind, id: change.value.id, expected: 0, json: JSON.stringify(change.value) }
    case 'update':
      return { do: change.do, kind, id: change.value.id, expected: change.expected, json: JSON.stringify(change.value) }
    case 'remove':
    case 'check':
      return { do: change.do, kind, id: change.id, expected: change.expected, json: null }
  }
}

function byteLength(text: string): number {
  return Buffer.byteLength(text, 'utf8')
}

function tooLarge(what: string): HoldfastError {
  return new HoldfastError('too-large', `a commit of ${what}`, { mend: 'Write less at a time.' })
}

/** What watchers are told of a prepared commit that was written. */
export function batchOf(prepared: PreparedCommit, revision: Revision): WatchBatch {
  const changes = prepared.changes
    .filter((change) => change.do !== 'check')
    .map((change) => ({
      kind: change.kind,
      id: change.id,
      revision,
      value: change.json === null ? undefined : parseRecord(change.json),
    }))
  const events = prepared.events.map((json, index) => parseEvent(json, revision, index + 1))
  return { revision, changes, events }
}

/** A record read from its text: nobody can change it in place, since all readers share it. */
export function parseRecord(json: string): NonNullable<WatchedChange['value']> {
  return deepFreeze(JSON.parse(json) as Records[Kind])
}

export function parseEvent(json: string, revision: Revision, sequence: number): Event {
  return deepFreeze({ ...(JSON.parse(json) as Omit<Event, 'revision' | 'sequence'>), revision, sequence })
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) deepFreeze(inner)
    Object.freeze(value)
  }
  return value
}

/** Ids in their natural order: `vm-2` before `vm-10`. */
export function compareIds(a: string, b: string): number {
  const [left, right] = [sortKey(a), sortKey(b)]
  if (left !== right) return left < right ? -1 : 1
  return a < b ? -1 : a > b ? 1 : 0
}

function sortKey(id: string): string {
  return id.replace(/\d+/g, (digits) => digits.padStart(16, '0'))
}
