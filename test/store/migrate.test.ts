/** An inventory with everything in it moves from SQLite to etcd, is cut short on the way, and is backed up and restored there. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { HoldfastError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../../src/base/node/index.ts'
import type { Network } from '../../src/base/network.ts'
import { EtcdInventory } from '../../src/manager/app/etcd-inventory.ts'
import { beginMaking, markAt } from '../../src/manager/app/inventory-mark.ts'
import { backupEtcd, moveToEtcd, restoreIntoEtcd, type MoveDeps } from '../../src/manager/app/inventory-moves.ts'
import { EtcdClient, type Condition } from '../../src/manager/store/etcd/etcd-client.ts'
import { openEtcdStore } from '../../src/manager/store/etcd/etcd-store.ts'
import { Keys } from '../../src/manager/store/etcd/keys.ts'
import { readWholeEtcd } from '../../src/manager/store/etcd/whole.ts'
import { openSqliteStore, type SqliteStore } from '../../src/manager/store/sqlite/sqlite-store.ts'
import { readWholeFile } from '../../src/manager/store/sqlite/whole.ts'
import { create } from '../../src/manager/store/store-suite-changes.ts'
import { TestManager } from '../../src/server/testing/test-manager.ts'
import { EtcdMembers } from './etcd-members.ts'

let members: EtcdMembers
let folder: string
const network = nodeNetwork()
const manager = randomUUID()
const real = { clock: nodeClock(), files: nodeFiles(), random: nodeRandom(), logger: silentLogger }

before(async () => {
  members = await EtcdMembers.start(1)
  folder = await mkdtemp(join(tmpdir(), 'hf-migrate-'))
})
after(async () => {
  network[Symbol.dispose]()
  await members[Symbol.asyncDispose]()
  await rm(folder, { recursive: true, force: true })
})

function depsFor(prefix: string, through: Network = network): MoveDeps {
  return { ...real, network: through, place: { kind: 'etcd', endpoints: members.endpoints, prefix } }
}

function client(): EtcdClient {
  return new EtcdClient({ network, clock: real.clock, endpoints: members.endpoints })
}

function sqlite(path: string): Promise<SqliteStore> {
  return openSqliteStore({ path, ...real })
}

/** A file that a manager has worked on: hosts, VMs, tasks, tokens, networks, secrets, answers that are kept, registers. */
async function inventory(name: string): Promise<string> {
  const path = join(folder, `${name}.db`)
  await using store = await sqlite(path)
  await using running = await TestManager.open({ ...real, processes: nodeProcesses() }, store)
  await running.addHost(store, 'one')
  for (const vm of ['a', 'b']) await running.addVm(vm)
  const { api } = running.manager
  await api.createToken({ params: {}, body: { name: 'ci', role: 'reader' } }, running.context)
  await api.createNetwork({ params: {}, body: { name: 'dmz', cidr: '10.9.0.0/24' } }, running.context)
  await api.createJoinToken({ params: {}, body: {} }, running.context)
  const register = { id: 'vm-1', v: 1, life: 'x', register: {} }
  const answer = { id: 'k', v: 1, requestDigest: '', status: 200, body: 'ä'.repeat(50_000), expires: '2999-01-01' }
  await store.commit({
    changes: [
      { do: 'create', kind: 'register', value: register as never },
      { do: 'create', kind: 'idempotency', value: answer as never },
    ],
    events: [],
  })
  for (let nth = 0; nth < 300; nth++) await store.commit({ changes: [create(`c-${nth}`)], events: [] })
  return path
}

test('everything is there afterwards: records and their revisions, events, short ids; and the file opens no more', async () => {
  const prefix = `moved/${randomUUID()}/`
  const path = await inventory('whole')
  const whole = readWholeFile(path)
  const { records } = await moveToEtcd(depsFor(prefix), path, manager)
  assert.equal(records, whole.records.length)
  await using store = await openEtcdStore({ ...real, network, time: real.clock, endpoints: members.endpoints, prefix })
  assert.equal(await store.revision(), whole.revision)
  for (const { kind, id, revision, json } of whole.records) {
    const found = await store.get(kind as 'vm', id)
    assert.deepEqual([found?.revision, found?.value], [revision, JSON.parse(json)], `${kind}/${id}`)
  }
  const events = await store.events({ revision: 0, sequence: 0 }, 10_000)
  assert.ok(events !== 'relist')
  assert.deepEqual(
    events.map(({ revision, sequence }) => [revision, sequence]),
    whole.events.map(({ revision, sequence }) => [revision, sequence]),
  )
  assert.equal(await store.nextId('vm'), 'vm-3')
  assert.ok((await store.commit({ changes: [create('after')], events: [] })).ok)
  await assert.rejects(sqlite(path), { code: 'wrong-state', message: /has moved to etcd/ })
  // A manager on it has what it had.
  await using running = await TestManager.open({ ...real, processes: nodeProcesses() }, store)
  const { items } = await running.manager.api.listVms({ params: {}, query: {} }, running.context)
  assert.deepEqual(
    items.map(({ name }) => name),
    ['a', 'b'],
  )
})

/** Loses every request from the nth on: before it is sent; or the nth is carried out, and its answer lost. */
function losing(from: number, isSent: boolean): Network {
  let asked = 0
  return {
    ...network,
    request: async (request) => {
      if (++asked > from || (asked === from && !isSent)) throw new HoldfastError('store-error', 'cut short')
      const answer = await network.request(request)
      if (asked === from) throw new HoldfastError('store-error', 'cut short')
      return answer
    },
  }
}

for (const [title, isSent] of [
  ['before a call is sent', false],
  ['with the answer of a call lost', true],
] as const) {
  test(`cut short anywhere, ${title}, the file is used on or the move is gone on with, and never are there two`, async () => {
    const path = await inventory(`cut-${isSent}`)
    const whole = readWholeFile(path)
    const prefix = `cut/${randomUUID()}/`
    let [isDone, isFileGone] = [false, false]
    for (let from = 1; !isDone; from++) {
      assert.ok(from < 100)
      try {
        await moveToEtcd(depsFor(prefix, losing(from, isSent)), path, manager)
        isDone = true
      } catch (thrown) {
        assert.ok(thrown instanceof HoldfastError && /cut short/.test(thrown.message), String(thrown))
        const isWhole = (await markAt(depsFor(prefix)))?.isWhole === true
        // A manager on the file may go on for as long as what is there is not taken for an inventory by anybody.
        isFileGone ||= isWhole
        if (isFileGone) await assert.rejects(sqlite(path), { code: 'wrong-state' })
        else {
          const store = await sqlite(path).catch(() => undefined)
          isFileGone = store === undefined
          if (store !== undefined) assert.equal(await store.revision(), whole.revision)
          await store?.[Symbol.asyncDispose]()
        }
      }
    }
    assert.ok(isFileGone, 'it was cut short after the file was given up, too')
    await assert.rejects(sqlite(path), { code: 'wrong-state' })
    // Before manager.json was switched: the same again says the same.
    assert.equal((await moveToEtcd(depsFor(prefix), path, manager)).records, whole.records.length)
    assert.equal((await markAt(depsFor(prefix)))?.isWhole, true)
    await assert.rejects(moveToEtcd(depsFor(`${prefix}elsewhere/`), path, manager), { message: /and not to/ })
  })
}

/** Loses the answer of every second write; what was written before arrives once more after each. */
function repeating(): Network {
  let [nth, last] = [0, undefined as Parameters<Network['request']>[0] | undefined]
  return {
    ...network,
    request: async (request) => {
      if (!request.url.endsWith('/kv/txn')) return network.request(request)
      const answer = await network.request(request)
      if (last !== undefined) (await network.request(last)).body.resume()
      const { method, url, headers, body } = request
      last = { method, url, ...(headers === undefined ? {} : { headers }), ...(body === undefined ? {} : { body }) }
      if (++nth % 2 === 1) return answer
      answer.body.resume()
      throw new HoldfastError('unreachable', 'the answer was lost')
    },
  }
}

test('calls whose answers are lost, or that arrive late, change nothing of a move or a restore', async () => {
  const prefix = `late/${randomUUID()}/`
  const path = await inventory('late')
  const whole = readWholeFile(path)
  assert.equal((await moveToEtcd(depsFor(prefix, repeating()), path, manager)).records, whole.records.length)
  assert.equal((await markAt(depsFor(prefix)))?.isWhole, true)
  const [backup, scratch] = [join(folder, 'late-backup.db'), join(folder, 'late-scratch')]
  await backupEtcd(depsFor(prefix), backup)
  await mkdir(scratch)
  await led(prefix, async (lead) => {
    await restoreIntoEtcd(depsFor(prefix, repeating()), backup, scratch, { by: manager, lead })
  })
  assert.equal((await markAt(depsFor(prefix)))?.isWhole, true)
})

/** Does something while the inventory's lead is held. */
async function led(prefix: string, act: (lead: Condition) => Promise<void>): Promise<void> {
  const self = () => ({ manager, name: 'm1', urls: [] })
  await using held = await EtcdInventory.open({ ...depsFor(prefix), self })
  await using _lead = await held.takeLead()
  assert.ok(held.lead.condition)
  await act(held.lead.condition)
}

test('a place where something is already is refused, and so is another manager’s', async () => {
  const prefix = `taken/${randomUUID()}/`
  await moveToEtcd(depsFor(prefix), await inventory('first'), manager)
  const second = await inventory('second')
  await assert.rejects(moveToEtcd(depsFor(prefix), second, randomUUID()), { code: 'wrong-state' })
  // An old copy of the first manager's file: what was made of it lives, and is not written anew.
  await assert.rejects(moveToEtcd(depsFor(prefix), second, manager), { message: /there is an inventory at/ })
  assert.equal((await markAt(depsFor(prefix)))?.isWhole, true)
  await using store = await sqlite(second)
  assert.ok((await store.list('vm')).items.length === 2)
})

test('where managers live, or one leads, nothing is moved, although the inventory there is half made', async () => {
  const path = await inventory('living')
  for (const key of ['m/other', 'l/lead']) {
    const prefix = `living/${randomUUID()}/`
    await beginMaking(depsFor(prefix), manager)
    await client().write([], [{ do: 'put', key: prefix + key, value: '{}' }])
    await assert.rejects(moveToEtcd(depsFor(prefix), path, manager), { message: /managers run/ })
    assert.equal((await client().range(`${prefix}s/head`)).items.length, 0)
  }
})

test('a restore that has lost the lead writes nothing more', async () => {
  const prefix = `unled/${randomUUID()}/`
  await moveToEtcd(depsFor(prefix), await inventory('unled'), manager)
  const [backup, scratch] = [join(folder, 'unled-backup.db'), join(folder, 'unled')]
  await backupEtcd(depsFor(prefix), backup)
  await mkdir(scratch)
  const before = await readWholeEtcd(client(), new Keys(prefix))
  const lead = { key: new Keys(prefix).lead, value: 'of before' }
  await assert.rejects(restoreIntoEtcd(depsFor(prefix), backup, scratch, { by: manager, lead }), {
    message: /another manager leads/,
  })
  assert.deepEqual(await readWholeEtcd(client(), new Keys(prefix)), before)
  assert.equal((await markAt(depsFor(prefix)))?.isWhole, true)
})

test('a backup of an inventory in etcd comes back as a new life, above all that was given out since', async () => {
  const prefix = `back/${randomUUID()}/`
  await moveToEtcd(depsFor(prefix), await inventory('back'), manager)
  const backup = join(folder, 'backup.db')
  await backupEtcd(depsFor(prefix), backup)
  const open = () => openEtcdStore({ ...real, network, time: real.clock, endpoints: members.endpoints, prefix })
  let revision: number
  {
    await using store = await open()
    await store.commit({ changes: [create('since')], events: [] })
    assert.equal(await store.nextId('vm'), 'vm-3')
    revision = await store.revision()
  }
  // More were given out than a restored file jumps by.
  await client().write([], [{ do: 'put', key: `${prefix}n/vm`, value: '5000' }])
  const scratch = join(folder, 'scratch')
  await mkdir(scratch)
  await led(prefix, async (lead) => {
    const { incarnation } = await restoreIntoEtcd(depsFor(prefix), backup, scratch, { by: manager, lead })
    assert.equal(incarnation, 2)
  })
  await using store = await open()
  assert.ok((await store.revision()) > revision)
  assert.equal(await store.get('claim', 'since'), undefined)
  assert.equal((await store.list('cluster')).items[0]?.value.incarnation, 2)
  assert.equal((await store.get('run', 'vm-1'))?.value.run.phase, 'unknown')
  assert.ok(Number((await store.nextId('vm')).slice(3)) > 5000)
})
