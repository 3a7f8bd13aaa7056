/** The clustered store on real members of etcd: the suite of all stores, several managers at once, and lost members. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { silentLogger } from '../../src/base/log.ts'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../../src/base/node/index.ts'
import type { Clock } from '../../src/base/clock.ts'
import type { Vm } from '../../src/contracts/inventory.ts'
import { TestManager } from '../../src/server/testing/test-manager.ts'
import { EtcdClient } from '../../src/manager/store/etcd/etcd-client.ts'
import { openEtcdStore, type EtcdStore } from '../../src/manager/store/etcd/etcd-store.ts'
import { storeSuite } from '../../src/manager/store/store-suite.ts'
import { claim, create, event, update } from '../../src/manager/store/store-suite-changes.ts'
import type { WatchBatch } from '../../src/manager/store/store.ts'
import { EtcdMembers } from './etcd-members.ts'

let members: EtcdMembers
const network = nodeNetwork()

before(async () => {
  members = await EtcdMembers.start(3)
})
after(async () => {
  network[Symbol.dispose]()
  await members[Symbol.asyncDispose]()
})

function open(prefix: string, time: Clock = nodeClock(), first = 0): Promise<EtcdStore> {
  const { endpoints } = members
  const ordered = [...endpoints.slice(first), ...endpoints.slice(0, first)]
  const real = { network, clock: nodeClock(), random: nodeRandom(), logger: silentLogger }
  return openEtcdStore({ ...real, endpoints: ordered, prefix, time })
}

storeSuite('etcd', async () => {
  const prefix = `suite/${randomUUID()}/`
  return {
    open: (clock) => open(prefix, clock),
    close: async (store) => store[Symbol.asyncDispose](),
    [Symbol.asyncDispose]: async () => undefined,
  }
})

async function raise(store: EtcdStore, count: number): Promise<void> {
  for (let done = 0; done < count;) {
    const at = await store.get('claim', 'n')
    assert.ok(at)
    const result = await store.commit({
      changes: [update('n', at.revision, String(Number(at.value.owner) + 1))],
      events: [event(String(Number(at.value.owner) + 1))],
    })
    if (result.ok) done++
  }
}

async function watched(store: EtcdStore, from: number, count: number): Promise<WatchBatch[]> {
  const seen: WatchBatch[] = []
  for await (const batch of store.watch(from, AbortSignal.timeout(30_000))) {
    assert.ok(batch !== 'relist')
    seen.push(batch)
    if (seen.length === count) break
  }
  return seen
}

test('three managers raise one counter, none loses a step, and each is told all of it in order', async () => {
  const prefix = `counter/${randomUUID()}/`
  await using one = await open(prefix)
  await using two = await open(prefix, nodeClock(), 1)
  await using three = await open(prefix, nodeClock(), 2)
  await one.commit({ changes: [create('n', '0')], events: [] })
  const watching = [one, two, three].map((store) => watched(store, 1, 60))
  await Promise.all([one, two, three].map((store) => raise(store, 20)))
  for (const batches of await Promise.all(watching)) {
    assert.deepEqual(
      batches.map(({ revision, changes }) => [revision, changes[0]?.value]),
      Array.from({ length: 60 }, (_, n) => [n + 2, claim('n', String(n + 1))]),
    )
  }
  for (const store of [one, two, three]) assert.equal((await store.get('claim', 'n'))?.value.owner, '60')
})

test('what one manager has written the other reads at once, and a short id is never given out twice', async () => {
  const prefix = `read/${randomUUID()}/`
  await using one = await open(prefix)
  await using two = await open(prefix, nodeClock(), 1)
  for (let n = 1; n <= 50; n++) {
    const made = await one.commit({ changes: [create(`c-${n}`)], events: [] })
    assert.ok(made.ok)
    assert.equal((await two.get('claim', `c-${n}`))?.revision, made.revision)
    const stale = await two.commit({ changes: [create(`c-${n}`)], events: [] })
    assert.ok(!stale.ok && stale.actual === made.revision)
  }
  const ids = await Promise.all(Array.from({ length: 40 }, (_, n) => (n % 2 === 0 ? one : two).nextId('vm')))
  assert.equal(new Set(ids).size, 40)
})

test('a lease is one manager’s until it has not been renewed for all of its time', async () => {
  const prefix = `lease/${randomUUID()}/`
  await using one = await open(prefix)
  await using two = await open(prefix, nodeClock(), 1)
  assert.ok(await one.acquireLease('lead', 'one', 600))
  for (let n = 0; n < 4; n++) {
    await nodeClock().sleep(250)
    assert.equal(await two.acquireLease('lead', 'two', 600), undefined)
    assert.ok(await one.acquireLease('lead', 'one', 600))
  }
  const from = performance.now()
  while ((await two.acquireLease('lead', 'two', 600)) === undefined) await nodeClock().sleep(20)
  assert.ok(performance.now() - from >= 580, 'not before its time')
  assert.equal(await one.acquireLease('lead', 'one', 600), undefined)
})

for (const [title, strike, heal] of [
  ['killed', (member: number) => members.kill(member), (member: number) => members.boot(member)],
  [
    'frozen',
    async (member: number) => members.signal(member, 'SIGSTOP'),
    (member: number) => members.signal(member, 'SIGCONT'),
  ],
] as const) {
  test(`with a member that is ${title} under way no acknowledged commit is lost, none is written twice, and watches go on`, async () => {
    const prefix = `lost/${randomUUID()}/`
    await using one = await open(prefix)
    await using two = await open(prefix, nodeClock(), 1)
    await one.commit({ changes: [create('n', '0')], events: [] })
    const total = 4 * 60
    const watching = [one, two].map((store) => watched(store, 1, total))
    const struck = (async () => {
      for (let member = 0; member < 2; member++) {
        await nodeClock().sleep(400)
        await strike(member)
        await nodeClock().sleep(1500)
        heal(member)
        await members.untilWell()
      }
    })()
    const raising = Promise.all([raise(one, total / 2), raise(two, total / 2)])
    await Promise.all([struck, raising])
    for (const batches of await Promise.all(watching)) {
      assert.deepEqual(
        batches.map(({ events }) => events[0]?.message),
        Array.from({ length: total }, (_, n) => String(n + 1)),
      )
    }
    assert.equal((await one.get('claim', 'n'))?.value.owner, String(total))
  })
}

test('without a majority it says so, loses nothing, and works again when there is one', async () => {
  const prefix = `majority/${randomUUID()}/`
  await using store = await open(prefix, nodeClock(), 2)
  await store.commit({ changes: [create('a')], events: [] })
  const client = new EtcdClient({ network, clock: nodeClock(), endpoints: members.endpoints, attemptMs: 1000 })
  const problems = async () => (await client.members()).map(({ problem }) => problem)
  assert.deepEqual(await problems(), [null, null, null])
  for (const member of [0, 1]) await members.kill(member)
  for (const until = performance.now() + 30_000; ;) {
    const [first, second, third] = await problems()
    assert.ok(first && second, 'they are dead')
    if (/no leader/.test(third ?? '')) break
    assert.ok(performance.now() < until, `the third says ${third}`)
  }
  await Promise.all([
    assert.rejects(store.commit({ changes: [create('b')], events: [] }), { code: 'unreachable' }),
    assert.rejects(store.get('claim', 'a'), { code: 'unreachable' }),
  ])
  for (const member of [0, 1]) members.boot(member)
  await members.untilWell()
  assert.ok(await store.get('claim', 'a'))
  assert.ok((await store.commit({ changes: [create('c')], events: [] })).ok)
})

test('a member that has lost the others ends its watches, so that they go on elsewhere', async () => {
  const client = new EtcdClient({ network, clock: nodeClock(), endpoints: members.endpoints.slice(2) })
  const { revision } = await client.range('nothing/')
  const watched = (async () => {
    for await (const { events } of client.watch('nothing/', revision + 1, AbortSignal.timeout(30_000)))
      assert.deepEqual(events, [])
    return 'aborted'
  })()
  watched.catch(() => undefined)
  for (const member of [0, 1]) await members.kill(member)
  await assert.rejects(watched, { code: 'unreachable' })
  for (const member of [0, 1]) members.boot(member)
  await members.untilWell()
})

test('a manager on it makes and starts VMs while members are lost, and another goes on with what it left', async () => {
  const prefix = `manager/${randomUUID()}/`
  const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
  const names = ['a', 'b', 'c', 'd']
  let before: Vm[]
  {
    await using store = await open(prefix)
    await using running = await TestManager.open(ports, store)
    await running.addHost(store, 'one')
    for (const [nth, name] of names.entries()) {
      if (nth === 1) await members.kill(0)
      if (nth === 3) members.boot(0)
      const vm = await running.addVm(name)
      assert.equal(vm.state, 'running')
    }
    before = (await running.manager.api.listVms({ params: {}, query: {} }, running.context)).items
  }
  await members.untilWell()
  await using store = await open(prefix, nodeClock(), 1)
  await using running = await TestManager.open(ports, store)
  const { items } = await running.manager.api.listVms({ params: {}, query: {} }, running.context)
  assert.deepEqual(
    items.map(({ id, name, uuid }) => [id, name, uuid]),
    before.map(({ id, name, uuid }) => [id, name, uuid]),
  )
  assert.deepEqual(
    items.map(({ name }) => name),
    names,
  )
  const tasks = await running.manager.tasks.list({})
  assert.deepEqual(new Set(tasks.items.map(({ state }) => state)), new Set(['done']))
})

test('where somebody else has compacted etcd, watchers from before begin anew and nothing else notices', async () => {
  const prefix = `compacted/${randomUUID()}/`
  await using writer = await open(prefix)
  for (let n = 1; n <= 10; n++) await writer.commit({ changes: [create(`c-${n}`)], events: [event(String(n))] })
  const range = { method: 'POST', body: JSON.stringify({ key: 'YQ==' }) }
  const { header } = (await (await fetch(`${members.endpoints[0]}/v3/kv/range`, range)).json()) as {
    header: { revision: string }
  }
  const body = JSON.stringify({ revision: header.revision })
  assert.ok((await fetch(`${members.endpoints[0]}/v3/kv/compaction`, { method: 'POST', body })).ok)
  await using late = await open(prefix, nodeClock(), 1)
  const seen: unknown[] = []
  for await (const batch of late.watch(3, AbortSignal.timeout(10_000))) {
    seen.push(batch)
    break
  }
  assert.deepEqual(seen, ['relist'])
  assert.equal((await late.list('claim')).items.length, 10)
  assert.ok((await late.commit({ changes: [create('c-11')], events: [] })).ok)
})

test('an inventory that has gone back behind the manager’s back is not taken for the one it was', async () => {
  const prefix = `back/${randomUUID()}/`
  await using store = await open(prefix)
  for (let n = 1; n <= 3; n++) await store.commit({ changes: [create(`c-${n}`)], events: [] })
  const encode = (text: string): string => Buffer.from(text).toString('base64')
  const body = JSON.stringify({ key: encode(`${prefix}s/head`), value: encode('1') })
  assert.ok((await fetch(`${members.endpoints[0]}/v3/kv/put`, { method: 'POST', body })).ok)
  await assert.rejects(store.get('claim', 'c-1'), { code: 'store-error' })
  await assert.rejects(store.commit({ changes: [create('c-4')], events: [] }), { code: 'store-error' })
})
