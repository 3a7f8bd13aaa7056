/** Managers that tell of themselves, join and are removed, as the one that leads sees them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isoTime } from '../../base/clock.ts'
import { silentLogger } from '../../base/log.ts'
import { nodeClock, nodeRandom } from '../../base/node/index.ts'

import { MemoryStore } from '../store/memory/memory-store.ts'
import type { ClusterRecord } from '../store/records.ts'
import { Access } from './access.ts'
import type { AppContext, Caller } from './context.ts'
import { fencePort } from './fence-devices.ts'
import { ManagerJoins } from './manager-joins.ts'
import { Managers, type LivingManager } from './managers.ts'
import { Mirror } from './mirror.ts'

const ca = `-----BEGIN CERTIFICATE-----\n${'A'.repeat(200)}\n-----END CERTIFICATE-----\n`
const caller: Caller = { name: 'a test', role: 'administrator', id: 'test' }
const [own, other, third] = ['uuid-own', 'uuid-other', 'uuid-third']

async function world() {
  await using made = new AsyncDisposableStack()
  const real = nodeClock()
  // The wall clock may jump; the other does not.
  const passed = { wallMs: 0, ms: 0 }
  const clock = { ...real, now: () => real.now() + passed.wallMs, monotonic: () => real.monotonic() + passed.ms }
  const store = made.use(new MemoryStore(clock))
  const value = {
    id: 'cluster-1',
    uuid: 'uuid-cluster',
    name: 'test',
    v: 1,
    incarnation: 1,
  } as unknown as ClusterRecord
  await store.commit({ changes: [{ do: 'create', kind: 'cluster', value }], events: [] })
  const mirror = made.use(await Mirror.open({ store, clock, logger: silentLogger }))
  const context = { store, clock, random: nodeRandom(), logger: silentLogger, mirror } as unknown as AppContext
  const access = new Access(context)
  const living = new Map<string, LivingManager>()
  const tell = (manager: string, name: string, seen: string): void => {
    living.set(manager, { manager, name, urls: [`https://${name}`], version: '1', seen })
  }
  const port = {
    living: async () => [...living.values()],
    leader: () => ({ manager: own, since: isoTime(0) }),
    members: async () => [{ url: 'http://etcd', problem: 'no leader' }],
    forget: async (manager: string) => void living.delete(manager),
  }
  const managers = new Managers(context, { port, own: () => ['https://own'], access })
  const place = { kind: 'etcd' as const, endpoints: ['http://etcd'], prefix: 'x/' }
  const handOver = { authority: async () => ({ ca, key: 'KEY' }), store: async () => place }
  const joins = new ManagerJoins(context, { access, managers, handOver })
  const states = async () =>
    Object.fromEntries((await managers.list()).items.map(({ name, state }) => [name, state] as const))
  const held = made.move()
  return {
    ...{ store, mirror, access, passed, managers, joins, tell, states, living },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  }
}

test('a manager is silent when it has told nothing new for ten seconds here, whatever its clock says', async () => {
  await using c = await world()
  c.tell(own, 'own', isoTime(0))
  // Its clock is years behind.
  c.tell(other, 'other', isoTime(1))
  await c.managers.look()
  assert.deepEqual(await c.states(), { own: 'leads', other: 'stands-by' })
  for (let beat = 2; beat < 10; beat++) {
    c.passed.ms += 4000
    c.tell(other, 'other', isoTime(beat))
    assert.equal((await c.states())['other'], 'stands-by')
  }
  await assert.rejects(c.managers.remove('manager-2', caller), { code: 'wrong-state' })
  // Our own clock is set by an hour: it is silent neither sooner for that, nor later.
  c.passed.wallMs += 3_600_000
  assert.equal((await c.states())['other'], 'stands-by')
  c.passed.wallMs -= 7_200_000
  c.passed.ms += 11_000
  assert.equal((await c.states())['other'], 'silent')
  // As alarms see them.
  assert.deepEqual(
    c.managers.seen().map(({ name, isSilent }) => [name, isSilent]),
    [
      ['own', false],
      ['other', true],
    ],
  )
  assert.deepEqual(c.managers.storeMembers(), [{ url: 'http://etcd', problem: 'no leader' }])
})

test('a manager of a name that another bears is not let in, and takes nothing from that; removed, a token of its own goes', async () => {
  await using c = await world()
  c.tell(own, 'own', isoTime(0))
  const join = async (name: string, uuid: string) => {
    const { token } = await c.joins.createToken()
    const answer = await c.joins.join({ token, name, uuid })
    return answer.token
  }
  const secret = await join('m2', other)
  c.tell(other, 'm2', isoTime(1))
  await c.managers.look()
  await c.mirror.fresh()
  await assert.rejects(join('m2', third), { code: 'name-taken', message: /called m2/ })
  assert.equal((await c.access.callerOfToken(secret))?.role, 'administrator')
  // One more, with a name of its own; and the first again, whose answer was lost.
  const another = await join('m3', third)
  const again = await join('m2', other)
  assert.equal(await c.access.callerOfToken(secret), undefined)
  assert.ok((await c.access.callerOfToken(again)) && (await c.access.callerOfToken(another)))

  const id = (await c.managers.list()).items.find(({ name }) => name === 'm2')?.id ?? ''
  c.passed.ms += 11_000
  await c.managers.remove(id, caller)
  assert.equal(await c.access.callerOfToken(again), undefined)
  assert.ok(await c.access.callerOfToken(another))
})

test('a token that a refused machine brought is not used up', async () => {
  await using c = await world()
  c.tell(other, 'm2', isoTime(1))
  await c.managers.look()
  await c.mirror.fresh()
  const { token } = await c.joins.createToken()
  await assert.rejects(c.joins.join({ token, name: 'm2', uuid: third }), { code: 'name-taken' })
  assert.ok((await c.joins.join({ token, name: 'm3', uuid: third })).token)
})

test('one that has lost the lead switches no host', async () => {
  let [holds, runs] = [true, 0]
  const fencer = { run: async () => (runs++, 'on' as const) }
  const port = fencePort({ fencer, sealed: undefined } as never, () => holds)
  const order = { host: 'host-1', device: { agent: 'fence_x', options: {}, secrets: {} }, timeoutMs: 1 } as never
  assert.equal(await port.status(order), 'on')
  holds = false
  await assert.rejects(port.switch(order, 'off'), { code: 'unreachable' })
  await assert.rejects(port.status(order), { code: 'unreachable' })
  assert.equal(runs, 1)
})
