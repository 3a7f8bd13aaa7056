/** Alarms of a whole simulated cluster: raised once, cleared once, and told, whatever dies meanwhile. */
import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { HoldfastError } from '../../src/base/errors.ts'
import type { HttpRequest, HttpResponse } from '../../src/base/network.ts'
import type { Alarm } from '../../src/contracts/alarms.ts'
import type { Event } from '../../src/contracts/inventory.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { Faults } from '../../src/sim/cluster/faults.ts'
import { settle } from '../../src/sim/cluster/settled.ts'
import { call, SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'
import { SeededRandom } from '../../src/sim/seeded-random.ts'
import { alarmWorlds } from './sound-seeds.ts'

const seeds = alarmWorlds

/** A receiver that fails in every way that receivers do. `got`: delivery id → what it was told, as often as that was. */
class Receiver {
  readonly got = new Map<string, { alarm: string; change: string; times: number }>()
  readonly #random: SeededRandom
  isKind = false

  constructor(seed: number) {
    this.#random = new SeededRandom(seed + 7000)
  }

  async request(request: HttpRequest): Promise<HttpResponse> {
    const luck = this.isKind ? 1 : this.#random.fraction()
    const gone = new HoldfastError('unreachable', 'the receiver did not answer')
    if (luck < 0.15) throw gone
    if (luck < 0.25) return answer(500)
    if (luck < 0.3) {
      return new Promise((_resolve, reject) => {
        request.signal?.addEventListener('abort', () => reject(request.signal?.reason as Error), { once: true })
      })
    }
    const told = JSON.parse(request.body as string) as { delivery: string; change: string; alarm: { id: string } }
    const before = this.got.get(told.delivery)
    this.got.set(told.delivery, { alarm: told.alarm.id, change: told.change, times: (before?.times ?? 0) + 1 })
    // It has taken it, and the answer is lost.
    if (luck < 0.4) throw gone
    return answer(204)
  }
}

function answer(status: number): HttpResponse {
  return { status, headers: {}, body: Readable.from([]) }
}

async function openWorld(seed: number): Promise<{ world: SimulatedCluster; receiver: Receiver }> {
  const receiver = new Receiver(seed)
  const world = await SimulatedCluster.open({ seed, receivers: receiver })
  const body = { name: 'pager', leastSeverity: 'info' as const, webhook: { url: 'https://pager.example/hook' } }
  await world.run(world.ask((manager) => manager.api.createNotificationTarget({ params: {}, body }, call)))
  return { world, receiver }
}

async function alarmsOf(world: SimulatedCluster, type: string, state = 'all'): Promise<Alarm[]> {
  const { items } = await world.run(
    world.ask((manager) => manager.api.listAlarms({ params: {}, query: { state } }, call)),
  )
  return items.filter((alarm) => alarm.type === type)
}

async function alarmEvents(world: SimulatedCluster): Promise<Event[]> {
  const events = await world.run(world.store.events({ revision: 0, sequence: 0 }, 1_000_000))
  assert.ok(events !== 'relist')
  return events.filter((event) => event.type === 'alarm.raised' || event.type === 'alarm.cleared')
}

/** Moves time until there are exactly so many open alarms of the type. */
async function until(world: SimulatedCluster, type: string, count: number, withinMs: number): Promise<Alarm[]> {
  const end = world.clock.elapsedMs + withinMs
  for (;;) {
    const open = await alarmsOf(world, type, 'raised,acknowledged')
    if (open.length === count) return open
    assert.ok(
      world.clock.elapsedMs < end,
      `${type}: ${open.length} open instead of ${count}\n${world.trace.lines.join('\n')}`,
    )
    await world.clock.advance(1000)
  }
}

async function bootAgain(world: SimulatedCluster, at: number): Promise<void> {
  const host = world.hosts[at]!
  host.isOn = true
  await world.run(host.boot())
}

test('a host that crashes raises one alarm, also when the manager is killed meanwhile, and coming back clears it', async () => {
  const { world, receiver } = await openWorld(1)
  receiver.isKind = true
  await world.clock.advance(15_000)
  world.hosts[1]!.crash()
  await world.clock.advance(4000)
  world.manager.kill()
  await world.run(world.manager.start())
  const [raised] = await until(world, 'host-down', 1, 60_000)
  assert.deepEqual([raised?.subject.name, raised?.severity, raised?.count], ['node2', 'critical', 1])
  assert.match(raised?.message ?? '', /^node2 has been out of reach for \d+ s/)
  for (let round = 0; round < 3; round++) {
    world.manager.kill()
    await world.run(world.manager.start())
    await world.clock.advance(40_000)
  }
  assert.deepEqual(
    (await alarmsOf(world, 'host-down')).map(({ id, count }) => [id, count]),
    [[raised?.id, 1]],
  )
  await bootAgain(world, 1)
  await until(world, 'host-down', 0, 60_000)
  await world.clock.advance(5000)
  const events = await alarmEvents(world)
  assert.deepEqual(
    events.map(({ type }) => type),
    ['alarm.raised', 'alarm.cleared'],
  )
  assert.deepEqual(
    [...receiver.got.values()].map(({ change }) => change),
    ['raised', 'cleared'],
  )
})

test('room for a failure that is gone after the loss of a host is an alarm until the host is back', async () => {
  const { world } = await openWorld(4)
  await world.clock.advance(15_000)
  const body = { admission: { policy: 'hosts' as const, hosts: 2 } }
  await world.run(world.ask((manager) => manager.api.changeCluster({ params: {}, body }, call)))
  await world.clock.advance(120_000)
  assert.deepEqual(await alarmsOf(world, 'room-not-kept'), [], 'of three hosts two may fail, while there are no VMs')
  world.hosts[1]!.crash()
  const [raised] = await until(world, 'room-not-kept', 1, 150_000)
  assert.match(raised?.message ?? '', /room for 2 host failures is to be kept, and 2 hosts take VMs/)
  await bootAgain(world, 1)
  await until(world, 'room-not-kept', 0, 120_000)
})

test('an alarm that is acknowledged stays so across managers; one that a person clears is not raised again while it lasts', async () => {
  const { world } = await openWorld(2)
  world.hosts[0]!.crash()
  const [raised] = await until(world, 'host-down', 1, 60_000)
  const params = { alarm: raised!.id }
  const taken = await world.run(world.ask((manager) => manager.api.acknowledgeAlarm({ params, body: {} }, call)))
  assert.deepEqual([taken.state, taken.acknowledgedBy], ['acknowledged', 'simulation'])
  world.manager.kill()
  await world.run(world.manager.start())
  await world.clock.advance(60_000)
  assert.equal((await alarmsOf(world, 'host-down'))[0]?.state, 'acknowledged')
  await world.run(world.ask((manager) => manager.api.clearAlarm({ params, body: {} }, call)))
  await world.clock.advance(10 * 60_000)
  assert.deepEqual(
    (await alarmsOf(world, 'host-down')).map(({ state, clearedBy }) => [state, clearedBy]),
    [['cleared', 'simulation']],
  )
  await bootAgain(world, 0)
  await world.clock.advance(60_000)
  world.hosts[0]!.crash()
  assert.equal((await until(world, 'host-down', 1, 60_000))[0]?.count, 2)
})

test('a datastore that fills up raises an alarm at its threshold, which is cleared under the other', async () => {
  const { world } = await openWorld(3)
  const total = 2 ** 40
  world.shared.takenBytes = total * 0.87
  await world.clock.advance(60_000)
  assert.deepEqual(await alarmsOf(world, 'datastore-full'), [])
  world.shared.takenBytes = total * 0.91
  const [raised] = await until(world, 'datastore-full', 1, 60_000)
  assert.match(raised?.message ?? '', /^the datastore shared is 91 % full/)
  world.shared.takenBytes = total * 0.87
  await world.clock.advance(120_000)
  assert.equal((await alarmsOf(world, 'datastore-full', 'raised')).length, 1)
  world.shared.takenBytes = total * 0.8
  await until(world, 'datastore-full', 0, 60_000)
  const body = { datastoreFullPercent: 70, datastoreClearPercent: 60 }
  await world.run(world.ask((manager) => manager.api.changeAlarmSettings({ params: {}, body }, call)))
  assert.equal((await until(world, 'datastore-full', 1, 60_000))[0]?.count, 2)
})

test('a move of which nobody can tell how it ended is a stuck task, until that is known', async () => {
  const { world } = await openWorld(4)
  const client = new Client(world)
  const vm = await world.run(client.createRunning({ name: 'one', datastore: 'shared' }))
  const [source, target] = [world.host(vm.run.host!), world.hosts.find((host) => host.id !== vm.run.host)!]
  await world.run(client.migrate(vm.id, { host: target.name }))
  await world.clock.runUntil(() => source.guest(vm.id)?.state === 'outgoing', 30_000)
  for (const host of [source, target]) {
    world.network.cut(host.id, 'manager')
    world.network.cut('manager', host.id)
  }
  const [raised] = await until(world, 'task-stuck', 1, 20 * 60_000)
  assert.match(raised?.mend ?? '', /docs\/runbooks\/migration-stuck\.md/)
  new Faults(world, client).heal()
  assert.deepEqual(await settle(world, client), [])
  await until(world, 'task-stuck', 0, 60_000)
})

test(`over ${seeds} seeds of hosts and managers that die, no alarm is lost, doubled or never told`, async () => {
  let [raises, repeats] = [0, 0]
  for (let seed = 1; seed <= seeds; seed++) {
    const { world, receiver } = await openWorld(seed)
    await world.clock.advance(12_000)
    for (let round = 0; round < 2; round++) await crashOnce(world)
    receiver.isKind = true
    // What comes and goes is cleared later each time; what failed is tried again after a growing pause.
    for (const type of ['host-down', 'datastore-unusable']) await until(world, type, 0, 40 * 60_000)
    const owed = async (): Promise<number> => (await world.store.list('delivery')).items.length
    for (let minutes = 0; (await owed()) > 0 && minutes < 120; minutes++) await world.clock.advance(60_000)
    const why = `seed ${seed}\n${world.trace.lines.join('\n')}`
    assert.equal(await owed(), 0, why)
    const events = await alarmEvents(world)
    const told = [...receiver.got.values()]
    for (const { value: alarm } of (await world.store.list('alarm')).items) {
      const own = events.filter(({ data }) => data['alarm'] === alarm.id).map(({ type }) => type)
      own.forEach((type, at) => assert.equal(type, at % 2 === 0 ? 'alarm.raised' : 'alarm.cleared', why))
      assert.equal(own.filter((type) => type === 'alarm.raised').length, alarm.count, why)
      raises += alarm.count
      assert.equal(told.filter((each) => each.alarm === alarm.id).length, own.length, why)
    }
    repeats += told.filter(({ times }) => times > 1).length
    const keys = (await world.store.list('alarm')).items.map(
      ({ value }) => `${value.type} ${value.subject.id} ${value.place?.id}`,
    )
    assert.equal(new Set(keys).size, keys.length, why)
  }
  assert.ok(raises > seeds && repeats > 0, `${raises} raises, ${repeats} told again`)
})

/** A host is down for long, while the manager dies at random calls; when that is over its alarm must be there. */
async function crashOnce(world: SimulatedCluster): Promise<void> {
  const { random, manager } = world
  const at = random.int(world.hosts.length)
  world.hosts[at]!.crash()
  for (let death = 0; death < 4; death++) {
    manager.process?.life.endAfter(random.int(80))
    await world.clock.advance(random.int(15_000))
    manager.kill()
    await world.clock.advance(random.int(5000))
    await world.run(manager.start())
  }
  await world.clock.advance(25_000)
  const open = await alarmsOf(world, 'host-down', 'raised')
  assert.ok(
    open.some(({ subject }) => subject.id === world.hosts[at]!.id),
    `the alarm is lost, seed ${world.seed}`,
  )
  await bootAgain(world, at)
  manager.process?.life.endAfter(random.int(120))
  await world.clock.advance(random.int(20_000))
  manager.kill()
  await world.run(manager.start())
}
