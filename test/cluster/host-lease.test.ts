/** Hosts that are lost although nobody can switch them off: the lease, the watchdog, and the word of the other hosts. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Vm } from '../../src/contracts/inventory.ts'
import { lossTermMs, usualLeaseTerms } from '../../src/contracts/host-lease.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { Faults } from '../../src/sim/cluster/faults.ts'
import { settle } from '../../src/sim/cluster/settled.ts'
import { call, SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'
import type { SimulatedHost } from '../../src/sim/cluster/simulated-host.ts'

const watchdogMs = 2000
const lossMs = lossTermMs({ terms: usualLeaseTerms, watchdogMs })

interface Stage {
  readonly world: SimulatedCluster
  readonly client: Client
  /** Stopped where its host is cut off. */
  readonly armed: Vm
  /** Left running there. */
  readonly left: Vm
  readonly host: SimulatedHost
  readonly others: readonly SimulatedHost[]
}

/** Hosts with a hardware watchdog, and storage without locks: nothing but the lease holds a second copy back. */
async function stage(): Promise<Stage> {
  const world = await SimulatedCluster.open({ seed: 1, isClustered: true, watchdogMs, hasLocks: false })
  const client = new Client(world)
  const make = async (name: string, isolation: 'stop' | 'leave-running'): Promise<Vm> => {
    const vm = await world.run(client.createRunning({ name, datastore: 'shared', isolation }))
    client.names.set(vm.id, vm.name)
    return vm
  }
  const armed = await make('armed', 'stop')
  const left = await make('left', 'leave-running')
  const host = world.host(armed.run.host!)
  if (left.run.host !== host.id) {
    await world.run(client.migrate(left.id, { host: host.name }))
    await world.clock.runUntil(() => host.guest(left.id)?.state === 'running', 60_000)
  }
  await world.clock.runUntil(() => isArmed(world, host, armed), 30_000)
  return { world, client, armed, left, host, others: world.hosts.filter((each) => each !== host) }
}

const promises = new WeakMap<SimulatedCluster, { round: number; armed: readonly string[]; isClosed: boolean }>()

/** Looks at the store without time going by. */
function isArmed(world: SimulatedCluster, host: SimulatedHost, vm: Vm): boolean {
  void world.store.get('promise', host.id).then((stored) => {
    if (stored !== undefined) promises.set(world, { ...stored.value.promise, isClosed: stored.value.isClosed })
  })
  return promises.get(world)?.armed.includes(vm.id) === true
}

/** A host hears nobody, and nobody hears it. */
function isolate(world: SimulatedCluster, host: SimulatedHost): void {
  for (const other of ['manager', ...world.hosts.map(({ id }) => id)]) {
    world.network.cut(host.id, other)
    world.network.cut(other, host.id)
  }
}

async function healed({ world, client }: Stage): Promise<void> {
  new Faults(world, client).heal()
  assert.deepEqual(await settle(world, client), [], world.trace.lines.join('\n'))
}

const lives = ({ world }: Stage, vm: Vm): number => world.truth.boots.get(vm.spec.uuid)?.size ?? 0
const runsOn = ({ world }: Stage, vm: Vm): string[] => world.truth.runningOn(vm.spec.uuid)

async function eventTypes({ world }: Stage): Promise<string[]> {
  const { items } = await world.run(
    world.ask((manager) => manager.api.listEvents({ params: {}, query: { limit: 1000 } }, call)),
  )
  return items.map((event) => event.type)
}

test('a host that dies: what was armed runs elsewhere after the sum of the terms, the rest waits for proof', async () => {
  const set = await stage()
  const { world, host } = set
  host.crash()
  const at = world.clock.elapsedMs
  await world.clock.runUntil(
    () => runsOn(set, set.armed).length === 1 && !runsOn(set, set.armed).includes(host.address),
    60_000,
  )
  const tookMs = world.clock.elapsedMs - at
  assert.ok(tookMs >= lossMs - 1500 && tookMs <= lossMs + 2500, `${tookMs} ms`)
  await world.clock.advance(60_000)
  assert.deepEqual(runsOn(set, set.left), [], 'nobody knows whether it runs')
  await healed(set)
  assert.equal(lives(set, set.armed), 2)
})

test('a host that is cut off from everybody stops what is armed before it runs elsewhere', async () => {
  const set = await stage()
  const { world, host } = set
  isolate(world, host)
  await world.clock.runUntil(() => runsOn(set, set.armed).length === 0, 60_000)
  await world.clock.runUntil(() => runsOn(set, set.armed).length === 1, 60_000)
  assert.notEqual(runsOn(set, set.armed)[0], host.address)
  assert.deepEqual(runsOn(set, set.left), [host.address], 'it is left running')
  assert.ok((await eventTypes(set)).includes('host.lease-over'))
  await healed(set)
  assert.deepEqual([lives(set, set.armed), lives(set, set.left)], [2, 1])
})

test('a host that hears the others, which hear managers, stops what is armed', async () => {
  const set = await stage()
  const { world, host } = set
  world.network.cut(host.id, 'manager')
  world.network.cut('manager', host.id)
  await world.clock.runUntil(() => runsOn(set, set.armed).some((address) => address !== host.address), 60_000)
  await healed(set)
  assert.deepEqual([lives(set, set.armed), lives(set, set.left)], [2, 1])
})

test('the loss of all managers stops nothing, however long it lasts', async () => {
  const set = await stage()
  const { world, host } = set
  world.manager.kill()
  // Many times as long as all terms together.
  await world.clock.advance(12 * lossMs)
  assert.deepEqual([runsOn(set, set.armed), runsOn(set, set.left)], [[host.address], [host.address]])
  // An agent that begins anew meanwhile goes on with what it knew.
  host.killAgent()
  await world.run(host.boot())
  await world.clock.advance(60_000)
  assert.deepEqual(runsOn(set, set.armed), [host.address])
  await healed(set)
  assert.deepEqual([lives(set, set.armed), lives(set, set.left)], [1, 1])
  // And the lease is good for something again.
  await world.clock.runUntil(() => isArmed(world, host, set.armed), 30_000)
  host.crash()
  await world.clock.runUntil(() => runsOn(set, set.armed).some((address) => address !== host.address), 60_000)
})

test('a host that has vouched while the network was away for seconds may take its VMs later', async () => {
  const set = await stage()
  const { world, client, host, others } = set
  const [vouching, away] = others
  assert.ok(vouching && away)
  // The third one hears a manager all the time.
  for (const each of [host, vouching]) {
    world.network.cut(each.id, 'manager')
    world.network.cut('manager', each.id)
  }
  // The host asks after 4 to 5 seconds, and stops what is armed after 6 to 7.
  await world.clock.advance(5500)
  const memory = await world.run(vouching.files.readText('/data/lease.json'))
  assert.match(memory, new RegExp(`"vouchedFor":\\[{"host":"${host.id}"`))
  new Faults(world, client).heal()
  await world.run(client.enterMaintenance(away.id))
  await world.clock.advance(10_000)
  assert.equal(lives(set, set.armed), 1, 'nothing was stopped')
  host.crash()
  await world.clock.runUntil(() => runsOn(set, set.armed).includes(vouching.address), 60_000)
  await healed(set)
})

test('managers that hear no host at all give none up, and stop nothing', async () => {
  const set = await stage()
  const { world } = set
  for (const each of world.hosts) {
    world.network.cut(each.id, 'manager')
    world.network.cut('manager', each.id)
  }
  await world.clock.advance(120_000)
  await healed(set)
  assert.deepEqual([lives(set, set.armed), lives(set, set.left)], [1, 1])
})

test('a host that lost a VM and is asked to take it again does not claim that it has arrived', async () => {
  const set = await stage()
  const { world, client, host, armed } = set
  host.crash()
  await world.clock.advance(3000)
  await world.run(client.confirmOff(host.id, () => !host.isOn))
  await world.clock.runUntil(() => runsOn(set, armed).length === 1, 60_000)
  const [elsewhere] = runsOn(set, armed)
  // It boots and reports, and hears nothing: what it remembers is that the VM runs here.
  world.network.cut('manager', host.id)
  host.isOn = true
  await world.run(host.boot())
  await world.clock.advance(2000)
  const task = await world.run(client.migrate(armed.id, { host: host.name }))
  assert.notEqual(task, undefined)
  await world.clock.advance(4000)
  assert.deepEqual(runsOn(set, armed), [elsewhere])
  world.network.join(host.id)
  await healed(set)
  assert.equal(lives(set, armed), 2)
})

test('a frozen host is reset by its hardware before what it ran begins elsewhere', async () => {
  const set = await stage()
  const { world, host } = set
  host.freeze()
  await world.clock.runUntil(() => lives(set, set.armed) === 2, 60_000)
  await healed(set)
  assert.equal(lives(set, set.armed), 2)
})

test('without hardware a host that thaws has its armed VMs killed by its watchdog', async () => {
  const world = await SimulatedCluster.open({ seed: 2, isClustered: true })
  const client = new Client(world)
  const vm = await world.run(client.createRunning({ name: 'one', datastore: 'shared', isolation: 'stop' }))
  client.names.set(vm.id, vm.name)
  const host = world.host(vm.run.host!)
  await world.clock.runUntil(() => isArmed(world, host, vm), 30_000)
  for (const other of world.hosts) if (other !== host) world.network.cut(host.id, other.id)
  world.network.cut(host.id, 'manager')
  await world.clock.advance(4000)
  // Its programs stand still for a while, and go on.
  host.killAgent()
  await world.clock.runUntil(
    () => world.truth.runningOn(vm.spec.uuid).some((address) => address !== host.address),
    60_000,
  )
  new Faults(world, client).heal()
  assert.deepEqual(await settle(world, client), [])
})
