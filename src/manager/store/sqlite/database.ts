/**
 * The file of the inventory: its schema, and the lock that lets one manager alone have it. Runs in the worker thread.
 *
 * The lock is a write transaction that stays open on a second small file (`PATH.lock`). The kernel takes it back however
 * the process ends; readers are not shut out, so a manager that is refused can say who has it.
 */
import { DatabaseSync } from 'node:sqlite'
import { HoldfastError } from '../../../base/errors.ts'
import type { Lease, Revision } from '../store.ts'
import { isBusy } from './problems.ts'
import type { Opened, OpenOptions, Settings } from './protocol.ts'

/** `HFST`, in the file's header: whose file it is. */
const applicationId = 0x48465354
const schemaVersion = 1
/** In place of the version, in a file whose inventory has moved to etcd: every older Holdfast refuses it too. */
export const movedVersion = 1000

const schema = `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
  CREATE TABLE records (
    kind TEXT NOT NULL, id TEXT NOT NULL, revision INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (kind, id)
  ) WITHOUT ROWID, STRICT;
  CREATE TABLE changes (
    revision INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, value TEXT,
    PRIMARY KEY (revision, position)
  ) WITHOUT ROWID, STRICT;
  CREATE TABLE events (
    revision INTEGER NOT NULL, sequence INTEGER NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (revision, sequence)
  ) WITHOUT ROWID, STRICT;
  CREATE TABLE counters (kind TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID, STRICT;
  CREATE TABLE leases (id TEXT PRIMARY KEY, owner TEXT NOT NULL, ttl_ms INTEGER NOT NULL) WITHOUT ROWID, STRICT;
  INSERT INTO meta VALUES ('revision', 0), ('oldest', 1), ('incarnation', 1);
  PRAGMA application_id = ${applicationId};
  PRAGMA user_version = ${schemaVersion};
`

export type MetaKey = 'revision' | 'oldest' | 'incarnation'

export class Database implements Disposable {
  readonly #options: OpenOptions
  readonly #lock: DatabaseSync
  #sql: DatabaseSync

  private constructor(options: OpenOptions, sql: DatabaseSync, lock: DatabaseSync) {
    this.#options = options
    this.#sql = sql
    this.#lock = lock
  }

  get path(): string {
    return this.#options.path
  }

  get sql(): DatabaseSync {
    return this.#sql
  }

  /** Throws `wrong-state` when another process has it, and `store-error` when the file is not ours or is damaged. */
  static open(options: OpenOptions): Database {
    const lock = takeLock(options)
    try {
      return new Database(options, openFile(options), lock)
    } catch (thrown) {
      lock.close()
      throw thrown
    }
  }

  opened(): Opened {
    const rows = this.sql.prepare('SELECT id, owner, ttl_ms AS ttlMs FROM leases').all()
    return {
      revision: this.meta('revision'),
      oldest: this.meta('oldest'),
      incarnation: this.meta('incarnation'),
      leases: rows.map((row) => ({ ...row })) as unknown as Lease[],
    }
  }

  meta(key: MetaKey): number {
    return metaOf(this.sql, key)
  }

  setMeta(key: MetaKey, value: Revision): void {
    this.sql.prepare('UPDATE meta SET value = ? WHERE key = ?').run(value, key)
  }

  settings(): Settings {
    return {
      journalMode: String(pragma(this.sql, 'journal_mode')),
      synchronous: Number(pragma(this.sql, 'synchronous')),
      walAutocheckpoint: Number(pragma(this.sql, 'wal_autocheckpoint')),
    }
  }

  /** Reads anew what is really on the disk, the lock being held on. Throws as `open` does; then nothing works any more. */
  reopen(): void {
    if (this.#sql.isOpen) this.#sql.close()
    this.#sql = openFile(this.#options)
  }

  [Symbol.dispose](): void {
    if (this.#sql.isOpen) this.#sql.close()
    this.#lock.close()
  }
}

/** A number that the store keeps of itself. */
export function metaOf(sql: DatabaseSync, key: MetaKey): number {
  return Number(sql.prepare('SELECT value FROM meta WHERE key = ?').get(key)?.['value'] ?? Number.NaN)
}

function pragma(sql: DatabaseSync, name: string): unknown {
  return Object.values(sql.prepare(`PRAGMA ${name}`).get() ?? {})[0]
}

function takeLock({ path, pid }: OpenOptions): DatabaseSync {
  const lock = new DatabaseSync(`${path}.lock`, { timeout: 0 })
  try {
    lock.exec('PRAGMA journal_mode = DELETE')
    lock.exec('CREATE TABLE IF NOT EXISTS holder (pid INTEGER NOT NULL)')
    lock.exec('BEGIN IMMEDIATE; DELETE FROM holder')
    lock.prepare('INSERT INTO holder VALUES (?)').run(pid)
    // Readers see the new holder, and then the lock is held for good.
    lock.exec('COMMIT; BEGIN IMMEDIATE')
    return lock
  } catch (thrown) {
    if (!isBusy(thrown)) throw thrown
    const holder = readHolder(lock)
    throw new HoldfastError('wrong-state', `another manager (process ${holder}) has the data folder of ${path} open`, {
      mend: `Stop process ${holder} first, or give this manager another data folder.`,
      holder,
    })
  } finally {
    if (!lock.isTransaction && lock.isOpen) lock.close()
  }
}

function readHolder(lock: DatabaseSync): number | 'unknown' {
  try {
    const pid = lock.prepare('SELECT pid FROM holder').get()?.['pid']
    return typeof pid === 'number' ? pid : 'unknown'
  } catch {
    return 'unknown'
  }
}

function openFile({ path, maxPages }: OpenOptions): DatabaseSync {
  const sql = new DatabaseSync(path, { timeout: 5000 })
  try {
    sql.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY')
    sql.exec('PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 67108864')
    if (maxPages > 0) sql.exec(`PRAGMA max_page_count = ${maxPages}`)
    if (isEmpty(sql)) sql.exec(`BEGIN IMMEDIATE; ${schema} COMMIT`)
    checkFile(sql, path)
    return sql
  } catch (thrown) {
    sql.close()
    throw thrown
  }
}

function isEmpty(sql: DatabaseSync): boolean {
  return Number(sql.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.['n']) === 0
}

/** Throws unless this is an inventory, of a version that is known here, and whole. */
export function checkFile(sql: DatabaseSync, path: string, { isMovedToo = false } = {}): void {
  if (pragma(sql, 'application_id') !== applicationId) {
    throw new HoldfastError('store-error', `${path} is no inventory of Holdfast`, { mend: 'Check the path.' })
  }
  const version = Number(pragma(sql, 'user_version'))
  if (version === movedVersion && !isMovedToo) {
    throw new HoldfastError('wrong-state', `the inventory of ${path} has moved to etcd`, {
      mend: 'If manager.json does not name etcd, the move was cut short: run `holdfast manager migrate-store` again.',
    })
  }
  if (version > schemaVersion && version !== movedVersion) {
    throw new HoldfastError(
      'store-error',
      `the inventory ${path} was written by a newer Holdfast (format ${version})`,
      {
        mend: 'Start the version that wrote it, or a newer one.',
      },
    )
  }
  const damage = pragma(sql, 'quick_check(1)')
  if (damage !== 'ok') {
    throw new HoldfastError('store-error', `the inventory file ${path} is damaged`, {
      mend: 'Restore the newest backup with holdfast manager restore.',
      sqlite: String(damage),
    })
  }
}
