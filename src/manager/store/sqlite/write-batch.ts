/**
 * Group commit: all that queued up while the last transaction was being written goes into the next one, one flush for
 * all. Each operation has its own outcome: a commit that lost its race, or a statement that failed, leaves the others.
 * Runs in the worker thread.
 */
import type { StatementSync } from 'node:sqlite'
import type { PreparedCommit } from '../prepared-commit.ts'
import type { CommitResult, Revision } from '../store.ts'
import type { Database } from './database.ts'
import { isDiskFault, problemOf } from './problems.ts'
import type { WriteOp, WriteResult } from './protocol.ts'

export class BatchWriter {
  readonly #database: Database
  readonly #find: StatementSync
  readonly #put: StatementSync
  readonly #remove: StatementSync
  readonly #logChange: StatementSync
  readonly #logEvent: StatementSync
  readonly #count: StatementSync

  constructor(database: Database) {
    const { sql } = database
    this.#database = database
    this.#find = sql.prepare('SELECT revision FROM records WHERE kind = ? AND id = ?')
    this.#put = sql.prepare('INSERT OR REPLACE INTO records (kind, id, revision, value) VALUES (?, ?, ?, ?)')
    this.#remove = sql.prepare('DELETE FROM records WHERE kind = ? AND id = ?')
    this.#logChange = sql.prepare('INSERT INTO changes (revision, position, kind, id, value) VALUES (?, ?, ?, ?, ?)')
    this.#logEvent = sql.prepare('INSERT INTO events (revision, sequence, value) VALUES (?, ?, ?)')
    this.#count = sql.prepare(
      'INSERT INTO counters VALUES (?, 1) ON CONFLICT (kind) DO UPDATE SET last = last + 1 RETURNING last',
    )
  }

  /** The outcomes in order, durable. Throws when the disk fails: then none was written, and all may be tried again. */
  write(ops: readonly WriteOp[]): WriteResult[] {
    const { sql } = this.#database
    sql.exec('BEGIN IMMEDIATE')
    try {
      const results = ops.map((op) => this.#one(op))
      sql.exec('COMMIT')
      return results
    } catch (thrown) {
      // SQLite itself has rolled back already when the disk is full.
      if (sql.isTransaction) sql.exec('ROLLBACK')
      throw thrown
    }
  }

  #one(op: WriteOp): WriteResult {
    const { sql, path } = this.#database
    sql.exec('SAVEPOINT one')
    try {
      const result = this.#do(op)
      sql.exec('RELEASE one')
      return result
    } catch (thrown) {
      if (isDiskFault(thrown) || !sql.isTransaction) throw thrown
      sql.exec('ROLLBACK TO one; RELEASE one')
      return { kind: 'failed', problem: problemOf(thrown, path) }
    }
  }

  #do(op: WriteOp): WriteResult {
    const { sql } = this.#database
    switch (op.op) {
      case 'commit':
        return { kind: 'commit', result: this.#commit(op.prepared) }
      case 'next-id':
        return { kind: 'number', number: Number(this.#count.get(op.kind)?.['last']) }
      case 'lease': {
        const { id, owner, ttlMs } = op.lease
        sql.prepare('INSERT OR REPLACE INTO leases VALUES (?, ?, ?)').run(id, owner, Math.ceil(ttlMs))
        return { kind: 'number', number: 0 }
      }
      case 'unlease':
        sql.prepare('DELETE FROM leases WHERE id = ?').run(op.id)
        return { kind: 'number', number: 0 }
      case 'compact':
        return { kind: 'number', number: this.#compact(op.before) }
    }
  }

  #commit(prepared: PreparedCommit): CommitResult {
    for (const { kind, id, expected } of prepared.changes) {
      const actual = Number(this.#find.get(kind, id)?.['revision'] ?? 0)
      if (actual !== expected) return { ok: false, reason: 'conflict', kind, id, actual }
    }
    const newest = this.#database.meta('revision')
    if (!prepared.isWrite) return { ok: true, revision: newest }
    const revision = newest + 1
    this.#database.setMeta('revision', revision)
    for (const [position, { do: verb, kind, id, json }] of prepared.changes.entries()) {
      if (verb === 'check') continue
      if (json === null) this.#remove.run(kind, id)
      else this.#put.run(kind, id, revision, json)
      this.#logChange.run(revision, position, kind, id, json)
    }
    for (const [index, json] of prepared.events.entries()) this.#logEvent.run(revision, index + 1, json)
    return { ok: true, revision }
  }

  #compact(before: Revision): Revision {
    const { sql } = this.#database
    const oldest = Math.max(this.#database.meta('oldest'), Math.min(before, this.#database.meta('revision') + 1))
    this.#database.setMeta('oldest', oldest)
    sql.prepare('DELETE FROM changes WHERE revision < ?').run(oldest)
    sql.prepare('DELETE FROM events WHERE revision < ?').run(oldest)
    return oldest
  }
}
