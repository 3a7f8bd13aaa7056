/**
 * A manager's store and nothing else: writes as fast as it can, in several lanes at once, and says on standard output
 * what was acknowledged, a line a commit: `ack LANE COUNT REVISION`. Ends when it is killed.
 *
 *   commit-loop.ts PATH [unsynced]
 *
 * With `unsynced` it writes without the store, and without any flush: what such a program says is no promise, and a test
 * of power loss that does not notice is worth nothing.
 */
import { once } from 'node:events'
import { DatabaseSync } from 'node:sqlite'
import { nodeClock } from '../../src/base/node/clock.ts'
import { silentLogger } from '../../src/base/log.ts'
import { openSqliteStore, type SqliteStore } from '../../src/manager/store/sqlite/sqlite-store.ts'

const lanes = 4
const [path = '', mode] = process.argv.slice(2)

/** A reader that is slow holds the loop up: what only waits in this process's memory was said to nobody. */
async function say(line: string): Promise<void> {
  if (!process.stdout.write(`${line}\n`)) await once(process.stdout, 'drain')
}

/** One lane: a record that counts, and a new record of some size for each count, in one commit. */
async function run(store: SqliteStore, lane: number): Promise<never> {
  const id = `lane-${lane}`
  for (;;) {
    const stored = await store.get('claim', id)
    const count = Number(stored?.value.owner ?? 0) + 1
    const value = { id, v: 1, owner: String(count) } as const
    const filler = { id: `${id}/${count}`, v: 1, owner: 'x'.repeat((count * 37) % 3000) } as const
    const result = await store.commit({
      changes: [
        stored === undefined
          ? { do: 'create', kind: 'claim', value }
          : { do: 'update', kind: 'claim', value, expected: stored.revision },
        { do: 'create', kind: 'claim', value: filler },
      ],
      events: [{ type: 'lane.counted', subject: null, message: `${id} ${count}`, task: null, data: {} }],
    })
    if (!result.ok) throw new Error(`lane ${lane} lost a race that nobody else runs`)
    await say(`ack ${lane} ${count} ${result.revision}`)
  }
}

async function runUnsynced(): Promise<never> {
  const sql = new DatabaseSync(path)
  sql.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; CREATE TABLE IF NOT EXISTS rows (n INTEGER)')
  for (let count = 1; ; count++) {
    sql.prepare('INSERT INTO rows VALUES (?)').run(count)
    await say(`ack 0 ${count} ${count}`)
  }
}

if (mode === 'unsynced') await runUnsynced()
const store = await openSqliteStore({ path, clock: nodeClock(), logger: silentLogger })
await say('open')
await Promise.all(Array.from({ length: lanes }, (_, lane) => run(store, lane)))
