/**
 * Backups of the inventory, and coming back from one. In the worker thread.
 *
 * A restored store is a new life: hosts have gone on since the backup was made. So its incarnation is raised, every run
 * record becomes `unknown` until the hosts have said what they run, all watchers are told to list again, and short ids
 * go on far above those of the backup, since what was given out after it must never be given out twice.
 */
import { DatabaseSync } from 'node:sqlite'
import { stepRunRecord } from '../../../contracts/run-record.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { ClusterRecord, RunRecordStored } from '../records.ts'
import { checkFile, metaOf, type Database } from './database.ts'
import type { RecordRow, Verbs } from './protocol.ts'
import { readRecords } from './read-log.ts'

/** How far revisions and ids jump: more than any life makes between a backup and its restore. */
const revisionJump = 1_000_000_000
const idJump = 1000

/** A whole copy at one revision, on the device when this returns. Throws `store-error` when `to` exists. */
export function makeBackup(database: Database, to: string): null {
  database.sql.prepare('VACUUM INTO ?').run(to)
  const copy = new DatabaseSync(to)
  try {
    // VACUUM INTO does not flush. A commit does, and with it all that the file holds.
    copy.exec('PRAGMA synchronous = EXTRA; BEGIN IMMEDIATE')
    copy.prepare("INSERT OR REPLACE INTO meta VALUES ('backup', 1)").run()
    copy.exec('COMMIT')
    checkFile(copy, to)
  } finally {
    copy.close()
  }
  return null
}

/** Replaces all that the store holds by the backup's records, in one transaction. */
export function restoreBackup(
  database: Database,
  { from, now }: Verbs['restore']['takes'],
): Verbs['restore']['answers'] {
  const source = openBackup(from)
  try {
    const incarnation = Math.max(database.meta('incarnation'), metaOf(source, 'incarnation')) + 1
    const revision = Math.max(database.meta('revision'), metaOf(source, 'revision')) + revisionJump
    database.sql.exec('BEGIN IMMEDIATE')
    try {
      database.sql.exec('DELETE FROM records; DELETE FROM changes; DELETE FROM events; DELETE FROM leases')
      const records = copyRecords(database, source, { incarnation, revision, now })
      raiseCounters(database, source)
      database.setMeta('incarnation', incarnation)
      database.setMeta('revision', revision)
      database.setMeta('oldest', revision + 1)
      database.sql.exec('COMMIT')
      return { incarnation, revision, records }
    } catch (thrown) {
      if (database.sql.isTransaction) database.sql.exec('ROLLBACK')
      throw thrown
    }
  } finally {
    source.close()
  }
}

function openBackup(from: string): DatabaseSync {
  const source = new DatabaseSync(from, { readOnly: true })
  try {
    checkFile(source, from)
    return source
  } catch (thrown) {
    source.close()
    throw thrown
  }
}

interface NewLife {
  readonly incarnation: number
  readonly revision: number
  readonly now: string
}

function copyRecords(database: Database, source: DatabaseSync, life: NewLife): number {
  const put = database.sql.prepare('INSERT INTO records (kind, id, revision, value) VALUES (?, ?, ?, ?)')
  let count = 0
  for (let rows = readRecords(source, { afterKind: '', afterId: '', limit: 500 }); rows.length > 0;) {
    for (const row of rows) put.run(row.kind, row.id, life.revision, restored(row, life))
    count += rows.length
    const last = rows.at(-1)
    rows = readRecords(source, { afterKind: last?.kind ?? '', afterId: last?.id ?? '', limit: 500 })
  }
  return count
}

/** The record in its new life. */
function restored(row: RecordRow, { incarnation, now }: NewLife): string {
  if (row.kind === 'run') {
    const stored = JSON.parse(row.json) as RunRecordStored
    const step = stepRunRecord(stored.run, { event: 'restored', incarnation }, now)
    if (!step.ok) throw new HoldfastError('internal', `run record ${row.id} cannot be restored: ${step.reason}`)
    return JSON.stringify({ ...stored, run: step.record })
  }
  if (row.kind === 'cluster') {
    return JSON.stringify({ ...(JSON.parse(row.json) as ClusterRecord), incarnation })
  }
  return row.json
}

function raiseCounters(database: Database, source: DatabaseSync): void {
  const put = database.sql.prepare(
    'INSERT INTO counters VALUES (?1, ?2) ON CONFLICT (kind) DO UPDATE SET last = max(last, ?2)',
  )
  for (const row of source.prepare('SELECT kind, last FROM counters').all()) {
    put.run(String(row['kind']), Number(row['last']))
  }
  database.sql.prepare('UPDATE counters SET last = last + ?').run(idJump)
}
