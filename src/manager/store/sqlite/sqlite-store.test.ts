import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile, readFile, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { HoldfastError } from '../../../base/errors.ts'
import type { HostId, TaskId, VmId } from '../../../base/ids.ts'
import { silentLogger } from '../../../base/log.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import type { ClusterRecord, RunRecordStored } from '../records.ts'
import type { Change, WatchBatch } from '../store.ts'
import { storeSuite } from '../store-suite.ts'
import { openSqliteStore, restoreSqliteStore, type SqliteStore, type SqliteStoreOptions } from './sqlite-store.ts'

const logger = silentLogger

async function folder(): Promise<{ path: (name: string) => string } & AsyncDisposable> {
  const at = await mkdtemp(join(tmpdir(), 'holdfast-store-'))
  return {
    path: (name) => join(at, name),
    [Symbol.asyncDispose]: () => rm(at, { recursive: true, force: true }),
  }
}

function open(path: string, options: Partial<SqliteStoreOptions> = {}): Promise<SqliteStore> {
  return openSqliteStore({ path, clock: new VirtualClock(), logger, ...options })
}

const create = (id: string, owner = 'x'): Change => ({ do: 'create', kind: 'claim', value: { id, v: 1, owner } })

storeSuite('sqlite', async () => {
  const at = await folder()
  const stores: SqliteStore[] = []
  return {
    open: async (clock) => {
      const store = await openSqliteStore({ path: at.path('inventory.db'), clock, logger })
      stores.push(store)
      return store
    },
    close: async (store) => store[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: async () => {
      for (const store of stores) await store[Symbol.asyncDispose]()
      await at[Symbol.asyncDispose]()
    },
  }
})

test('every commit is flushed before it is acknowledged', async () => {
  await using at = await folder()
  await using store = await open(at.path('inventory.db'))
  const settings = await store.settings()
  assert.deepEqual(settings, { journalMode: 'wal', synchronous: 2, walAutocheckpoint: 1000 })
})

test('a second manager on one data folder is refused, and told who has it', async () => {
  await using at = await folder()
  const first = await open(at.path('inventory.db'))
  await assert.rejects(open(at.path('inventory.db')), (thrown: unknown) => {
    assert.ok(thrown instanceof HoldfastError)
    assert.equal(thrown.code, 'wrong-state')
    assert.match(thrown.message, new RegExp(`process ${process.pid}\\b`))
    assert.equal(thrown.details['holder'], process.pid)
    return true
  })
  await first.commit({ changes: [create('a')], events: [] })
  await first[Symbol.asyncDispose]()
  await using second = await open(at.path('inventory.db'))
  assert.equal((await second.get('claim', 'a'))?.revision, 1)
})

test('a full disk fails the commit whole, and the store works on when there is room', async () => {
  await using at = await folder()
  const path = at.path('inventory.db')
  await using store = await open(path, { maxPages: 100 })
  await store.commit({ changes: [create('kept')], events: [] })
  const big = (n: number) => store.commit({ changes: [create(`big-${n}`, 'x'.repeat(40_000))], events: [] })
  const failures: unknown[] = []
  for (let n = 0; n < 20; n++) await big(n).catch((thrown: unknown) => failures.push(thrown))
  const error = failures[0]
  assert.ok(error instanceof HoldfastError && error.code === 'store-error', String(error))
  assert.match(error.message, /is full/)
  assert.match(error.details.mend ?? '', /Make room/)
  const written = (await store.list('claim')).items
  assert.equal(written.length, 1 + 20 - failures.length)
  const revision = await store.revision()
  assert.equal(revision, written.length)
  const biggest = written.at(-1)
  assert.ok(biggest)
  // Room is made by removing and forgetting; then it goes on.
  const removal: Change = { do: 'remove', kind: 'claim', id: biggest.value.id, expected: biggest.revision }
  await store.compact(revision + 1)
  assert.ok((await store.commit({ changes: [removal], events: [] })).ok)
  await store.compact(revision + 2)
  assert.ok((await store.commit({ changes: [create('after')], events: [] })).ok)
})

test('a file that is damaged, foreign or newer is refused with what to do', async () => {
  await using at = await folder()
  const path = at.path('inventory.db')
  await using store = await open(path)
  for (let n = 0; n < 200; n++) await store.commit({ changes: [create(`c-${n}`, 'x'.repeat(500))], events: [] })
  await store[Symbol.asyncDispose]()
  const whole = await readFile(path)
  const damaged = Buffer.from(whole)
  damaged.fill(0xa5, 8192, 8192 + 6000)
  await writeFile(path, damaged)
  await assert.rejects(open(path), (thrown: unknown) => {
    assert.ok(thrown instanceof HoldfastError && thrown.code === 'store-error')
    assert.match(thrown.message, /damaged/)
    assert.match(thrown.details.mend ?? '', /backup/)
    return true
  })
  await writeFile(at.path('text.db'), 'this is no database, but long enough to be read as one '.repeat(100))
  await assert.rejects(open(at.path('text.db')), /damaged or is no inventory/)
  await assert.rejects(open(at.path('missing/inventory.db')), { code: 'store-error' })
  const newer = Buffer.from(whole)
  newer.writeUInt32BE(99, 60)
  await writeFile(path, newer)
  await assert.rejects(open(path), /newer Holdfast/)
  await writeFile(path, whole)
  await using again = await open(path)
  assert.equal((await again.list('claim')).items.length, 200)
})

test('old changes are forgotten by and by', async () => {
  await using at = await folder()
  await using store = await open(at.path('inventory.db'), { keepRevisions: 50 })
  for (let n = 0; n < 200; n++) await store.commit({ changes: [create(`c-${n}`)], events: [] })
  const oldest = await store.oldestKept()
  assert.ok(oldest > 100 && oldest <= 151, String(oldest))
  assert.equal((await store.list('claim')).items.length, 200)
})

test('a commit that fails in a batch leaves the others of the batch alone', async () => {
  await using at = await folder()
  await using store = await open(at.path('inventory.db'))
  const odd: Change = { do: 'create', kind: 'claim', value: { id: null as unknown as string, v: 1, owner: 'x' } }
  const results = await Promise.allSettled([
    store.commit({ changes: [create('first')], events: [] }),
    store.commit({ changes: [create('a')], events: [] }),
    store.commit({ changes: [create('a')], events: [] }),
    store.commit({ changes: [create('half'), odd], events: [] }),
    store.commit({ changes: [create('b')], events: [] }),
  ])
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value.ok : (result.reason as HoldfastError).code)),
    [true, true, false, 'store-error', true],
  )
  assert.equal(await store.get('claim', 'half'), undefined)
  assert.equal((await store.get('claim', 'b'))?.revision, 3)
})

function runRecord(id: string, phase: 'running' | 'moving' | 'stopped'): Change {
  const value: RunRecordStored = {
    id: id as VmId,
    v: 1,
    lastAttempt: null,
    run: {
      vm: id as VmId,
      phase,
      host: 'host-1' as HostId,
      target: phase === 'moving' ? ('host-2' as HostId) : null,
      postCopy: false,
      task: phase === 'moving' ? ('task-1' as TaskId) : null,
      cause: null,
      incarnation: 1,
      generation: 5,
      since: '2026-01-01T00:00:00.000Z',
    },
  }
  return { do: 'create', kind: 'run', value }
}

test('a restored store is a new life in which nobody knows yet what runs', async () => {
  await using at = await folder()
  const path = at.path('inventory.db')
  const cluster = { id: 'cluster-1', v: 1, incarnation: 1, name: 'c' } as unknown as ClusterRecord
  {
    await using store = await open(path)
    const runs = [runRecord('vm-1', 'running'), runRecord('vm-2', 'moving'), runRecord('vm-3', 'stopped')]
    await store.commit({ changes: [...runs, { do: 'create', kind: 'cluster', value: cluster }], events: [] })
    await store.nextId('vm')
    await store.acquireLease('host-1', 'agent', 1000)
    await store.backup(at.path('backup.db'))
    await assert.rejects(store.backup(at.path('backup.db')), { code: 'store-error' })
    await store.commit({ changes: [create('after the backup')], events: [] })
    await store.nextId('vm')
    await assert.rejects(restoreSqliteStore({ from: at.path('backup.db'), path, clock: new VirtualClock(), logger }), {
      code: 'wrong-state',
    })
  }
  const restore = (to: string) =>
    restoreSqliteStore({ from: at.path('backup.db'), path: at.path(to), clock: new VirtualClock(), logger })
  const done = await restore('inventory.db')
  assert.deepEqual([done.incarnation, done.records], [2, 4])
  await using store = await open(path)
  assert.equal(store.incarnation, 2)
  assert.equal(await store.get('claim', 'after the backup'), undefined)
  const { items } = await store.list('run')
  assert.deepEqual(
    items.map(({ value: { run } }) => [run.phase, run.incarnation, run.generation, run.target, run.task]),
    [1, 2, 3].map(() => ['unknown', 2, 6, null, null]),
  )
  assert.equal((await store.get('cluster', 'cluster-1'))?.value.incarnation, 2)
  assert.ok(Number((await store.nextId('vm')).slice(3)) > 1000)
  assert.equal(await store.leaseOwner('host-1'), undefined)
  // Who watched the old life, however far, is told to list again; who lists now can watch on.
  const seen: (WatchBatch | 'relist')[] = []
  for await (const batch of store.watch(2, AbortSignal.timeout(5000))) seen.push(batch)
  assert.deepEqual(seen, ['relist'])
  const next = await store.commit({ changes: [create('new')], events: [] })
  assert.ok(next.ok && next.revision === done.revision + 1)
  // A second restore is a third life, also elsewhere once it is known there.
  await store[Symbol.asyncDispose]()
  assert.equal((await restore('inventory.db')).incarnation, 3)
  assert.equal((await restore('elsewhere.db')).incarnation, 2)
  await assert.rejects(restoreSqliteStore({ from: at.path('none.db'), path, clock: new VirtualClock(), logger }), {
    code: 'store-error',
  })
  assert.ok((await stat(at.path('backup.db'))).size > 0)
})
