/** Three real managers on three real members of etcd: who leads is killed, frozen and thawed, and members of etcd are lost. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, test } from 'node:test'
import { HoldfastError } from '../../src/base/errors.ts'
import { silentLogger } from '../../src/base/log.ts'
import { nodeClock, nodeNetwork, nodeRandom } from '../../src/base/node/index.ts'
import { EtcdInventory } from '../../src/manager/app/etcd-inventory.ts'
import { create } from '../../src/manager/store/store-suite-changes.ts'
import { ManagerProcesses } from '../support/manager-processes.ts'
import { EtcdMembers } from './etcd-members.ts'

let members: EtcdMembers
let managers: ManagerProcesses
const network = nodeNetwork()

before(async () => {
  members = await EtcdMembers.start(3, { isQuick: true })
  managers = await ManagerProcesses.start(3, `etcd://${members.endpoints.map((url) => url.slice(7)).join()}`)
})
after(async () => {
  await managers[Symbol.asyncDispose]()
  network[Symbol.dispose]()
  await members[Symbol.asyncDispose]()
})

/** Makes networks until it is ended; gives the names of all that were acknowledged. */
function writer(label: string) {
  const acknowledged: string[] = []
  let isEnded = false
  const client = managers.client()
  const done = (async () => {
    for (let nth = 0; !isEnded; nth++) {
      const name = `${label} ${nth}`
      const idempotencyKey = randomUUID()
      await managers.until(() => {
        const signal = AbortSignal.timeout(4000)
        return client.call('createNetwork', { body: { name } }, { idempotencyKey, signal })
      })
      acknowledged.push(name)
    }
  })()
  return {
    acknowledged,
    async end() {
      isEnded = true
      await done
    },
  }
}

async function more(of: { acknowledged: string[] }, count: number): Promise<void> {
  const from = of.acknowledged.length
  await managers.until(async () => assert.ok(of.acknowledged.length >= from + count))
}

/** Each change once, seen by every manager that answers. */
async function mustHave(names: readonly string[], label: string): Promise<void> {
  for (const name of managers.names) {
    const { items } = await managers.until(() => managers.client(name).call('listNetworks'))
    const found = items.map((made) => made.name).filter((each) => each.startsWith(label))
    assert.deepEqual(found.sort(), [...names].sort())
  }
}

for (const [title, strike, heal] of [
  ['killed', (name: string) => managers.end(name, 'SIGKILL'), (name: string) => managers.boot(name)],
  ['stopped', (name: string) => managers.end(name, 'SIGTERM'), (name: string) => managers.boot(name)],
  [
    'frozen, and thawed when another leads,',
    async (name: string) => managers.signal(name, 'SIGSTOP'),
    (name: string) => managers.signal(name, 'SIGCONT'),
  ],
] as const) {
  test(`with the leader ${title} the API answers again soon, and no acknowledged change is lost or made twice`, async () => {
    const label = randomUUID().slice(0, 8)
    const writing = writer(label)
    await more(writing, 3)
    const before = await managers.leader()
    const struck = performance.now()
    await strike(before)
    const others = managers.names.filter((name) => name !== before)
    await managers.until(() => managers.client(...others).call('getCluster'))
    const backMs = performance.now() - struck
    await more(writing, 3)
    const leader = await managers.until(async () => {
      const { items } = await managers.client(...others).call('listManagers')
      const found = items.find(({ state }) => state === 'leads')
      assert.ok(found !== undefined && found.name !== before)
      return found.name
    })
    const ends = managers.ends.length
    heal(before)
    if (title.startsWith('frozen')) {
      // It finds that its time is over, and ends; started anew it stands by.
      await managers.until(async () => assert.ok(managers.ends.length > ends))
      assert.deepEqual(managers.ends.at(-1), { name: before, code: 75 })
    }
    await more(writing, 3)
    await writing.end()
    await mustHave(writing.acknowledged, label)
    assert.equal(await managers.leader(), leader)
    assert.ok(backMs < 10_000, `the API was away for ${backMs.toFixed(0)} ms`)
  })
}

test('with a member of etcd killed the managers go on', async () => {
  const label = randomUUID().slice(0, 8)
  const writing = writer(label)
  await more(writing, 2)
  for (let member = 0; member < 3; member++) {
    await members.kill(member)
    await more(writing, 2)
    members.boot(member)
    await members.untilWell()
  }
  await writing.end()
  await mustHave(writing.acknowledged, label)
})

test('what agents ask of a standby it answers with the leader’s address', async () => {
  const leader = await managers.leader()
  const standby = managers.names.find((name) => name !== leader) ?? ''
  await managers.until(async () => {
    const answer = await network.request({
      ...{ method: 'POST', url: `${managers.url(standby)}/agent/v1/arbiter-life`, body: '{}' },
      headers: { 'content-type': 'application/json' },
      tls: { ca: await ca(), serverName: 'manager.holdfast' },
    })
    const problem = JSON.parse(await text(answer.body)) as { code: string; details?: { leader?: string } }
    assert.deepEqual([answer.status, problem.code, problem.details?.leader], [503, 'unreachable', managers.url(leader)])
  })
})

async function ca(): Promise<string> {
  const { readFile } = await import('node:fs/promises')
  return readFile(`${managers.data(managers.names[0] ?? '')}/ca/ca.crt`, 'utf8')
}

async function text(body: AsyncIterable<unknown>): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of body) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}

function inventory(prefix: string, name: string): Promise<EtcdInventory> {
  const place = { kind: 'etcd' as const, endpoints: members.endpoints, prefix }
  const ports = { network, clock: nodeClock(), random: nodeRandom(), logger: silentLogger }
  return EtcdInventory.open({ ...ports, place, self: () => ({ manager: name, name, urls: [`https://${name}`] }) })
}

test('a late write of a leader that was superseded is refused, and it is told so', async () => {
  const prefix = `fence/${randomUUID()}/`
  await using one = await inventory(prefix, 'one')
  await using two = await inventory(prefix, 'two')
  const add = (store: EtcdInventory['store'], id: string) => store.commit({ changes: [create(id)], events: [] })
  await assert.rejects(add(one.store, 'too-early'), { code: 'unreachable' })
  assert.ok(await one.lead.take())
  let isBroken = false
  one.fence(() => (isBroken = true))
  assert.ok((await add(one.store, 'in-time')).ok)
  assert.equal(await two.lead.take(), false)
  // It does not renew: its time passes, for itself before it does for the other.
  while (!(await two.lead.take())) await nodeClock().sleep(20)
  assert.equal(one.lead.holds(), false)
  two.fence(() => undefined)
  await assert.rejects(add(one.store, 'late'), (thrown) => thrown instanceof HoldfastError && thrown.isUnknown)
  assert.ok(isBroken)
  assert.equal((await two.store.get('claim', 'late'))?.value, undefined)
  assert.ok((await two.store.get('claim', 'in-time')) !== undefined)
  assert.equal((await two.lead.leader())?.term, 2)
})
