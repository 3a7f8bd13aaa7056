/** A whole inventory out of a SQLite file, and into a new one. The file must be nobody's while that is done. */
import { DatabaseSync } from 'node:sqlite'
import type { WholeEvent, WholeInventory, WholeRecord } from '../whole-inventory.ts'
import { checkFile, metaOf, movedVersion } from './database.ts'

/** Throws `store-error` for a file that is no sound inventory. One that has moved away can be read still. */
export function readWholeFile(path: string): WholeInventory {
  const sql = new DatabaseSync(path, { readOnly: true })
  try {
    checkFile(sql, path, { isMovedToo: true })
    const all = <T>(text: string): T[] =>
      sql
        .prepare(text)
        .all()
        .map((row) => ({ ...row })) as T[]
    return {
      revision: metaOf(sql, 'revision'),
      oldest: metaOf(sql, 'oldest'),
      incarnation: metaOf(sql, 'incarnation'),
      counters: all('SELECT kind, last FROM counters'),
      records: all<WholeRecord>('SELECT kind, id, revision, value AS json FROM records'),
      events: all<WholeEvent>('SELECT revision, sequence, value AS json FROM events ORDER BY revision, sequence'),
    }
  } finally {
    sql.close()
  }
}

/** Into a file that `openSqliteStore` has made and that holds nothing yet. On the device when it returns. */
export function writeWholeFile(path: string, whole: WholeInventory): void {
  const sql = new DatabaseSync(path)
  try {
    sql.exec('PRAGMA synchronous = EXTRA; BEGIN IMMEDIATE')
    const meta = sql.prepare('UPDATE meta SET value = ? WHERE key = ?')
    for (const key of ['revision', 'oldest', 'incarnation'] as const) meta.run(whole[key], key)
    const counter = sql.prepare('INSERT INTO counters VALUES (?, ?)')
    for (const { kind, last } of whole.counters) counter.run(kind, last)
    const record = sql.prepare('INSERT INTO records (kind, id, revision, value) VALUES (?, ?, ?, ?)')
    for (const { kind, id, revision, json } of whole.records) record.run(kind, id, revision, json)
    const event = sql.prepare('INSERT INTO events (revision, sequence, value) VALUES (?, ?, ?)')
    for (const { revision, sequence, json } of whole.events) event.run(revision, sequence, json)
    sql.exec('COMMIT')
  } finally {
    sql.close()
  }
}

/** From now on nobody opens it as an inventory, an older Holdfast neither. */
export function markMoved(path: string): void {
  const sql = new DatabaseSync(path)
  try {
    sql.exec(`PRAGMA synchronous = EXTRA; PRAGMA user_version = ${movedVersion}`)
  } finally {
    sql.close()
  }
}

export function isMoved(path: string): boolean {
  const sql = new DatabaseSync(path, { readOnly: true })
  try {
    return Object.values(sql.prepare('PRAGMA user_version').get() ?? {})[0] === movedVersion
  } finally {
    sql.close()
  }
}
