/** Reads of what memory does not hold: all records at the start, and older commits and events. In the worker thread. */
import type { DatabaseSync } from 'node:sqlite'
import type { Revision } from '../store.ts'
import type { CommitRow, EventRow, RecordRow, Verbs } from './protocol.ts'

export function readRecords(sql: DatabaseSync, after: Verbs['records']['takes']): RecordRow[] {
  const rows = sql
    .prepare(
      `SELECT kind, id, revision, value AS json FROM records WHERE (kind, id) > (?, ?) ORDER BY kind, id LIMIT ?`,
    )
    .all(after.afterKind, after.afterId, after.limit)
  return rows.map((row) => ({ ...row })) as unknown as RecordRow[]
}

export function readEvents(sql: DatabaseSync, after: Verbs['events']['takes']): EventRow[] {
  const rows = sql
    .prepare(
      `SELECT revision, sequence, value AS json FROM events
       WHERE (revision, sequence) > (?, ?) ORDER BY revision, sequence LIMIT ?`,
    )
    .all(after.revision, after.sequence, after.limit)
  return rows.map((row) => ({ ...row })) as unknown as EventRow[]
}

/** Whole commits after a place, oldest first; those that wrote only events too. */
export function readCommits(sql: DatabaseSync, { after, limit }: Verbs['commits']['takes']): CommitRow[] {
  const revisions = sql
    .prepare(
      `SELECT revision FROM (SELECT revision FROM changes WHERE revision > ?1
       UNION SELECT revision FROM events WHERE revision > ?1) ORDER BY revision LIMIT ?2`,
    )
    .all(after, limit)
  return revisions.map((row) => readCommit(sql, Number(row['revision'])))
}

function readCommit(sql: DatabaseSync, revision: Revision): CommitRow {
  const changes = sql
    .prepare('SELECT kind, id, value AS json FROM changes WHERE revision = ? ORDER BY position')
    .all(revision)
  const events = sql.prepare('SELECT value FROM events WHERE revision = ? ORDER BY sequence').all(revision)
  return {
    revision,
    changes: changes.map((row) => ({ ...row })) as unknown as CommitRow['changes'],
    events: events.map((row) => String(row['value'])),
  }
}
