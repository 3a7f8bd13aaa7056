/** Scenarios that are known to be hard, each as a script: one fault at one named moment of a move, then all is healed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Vm } from '../../src/contracts/inventory.ts'
import type { FakeGuestHabits } from '../../src/sim/fake-guest.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { Faults } from '../../src/sim/cluster/faults.ts'
import { settle } from '../../src/sim/cluster/settled.ts'
import { SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'
import type { SimulatedHost } from '../../src/sim/cluster/simulated-host.ts'

interface Stage {
  readonly world: SimulatedCluster
  readonly client: Client
  readonly vm: Vm
  readonly source: SimulatedHost
  readonly target: SimulatedHost
}

async function stage(
  disks: 'shared' | 'local1' = 'shared',
  allowPostCopy = false,
  habits: Partial<FakeGuestHabits> = {},
): Promise<Stage> {
  const world = await SimulatedCluster.open({ seed: 1, habits })
  const client = new Client(world)
  const vm = await world.run(client.createRunning({ name: 'one', datastore: disks, allowPostCopy }))
  client.names.set(vm.id, vm.name)
  const source = world.host(vm.run.host!)
  const target = world.hosts.find((host) => host !== source)!
  return { world, client, vm, source, target }
}

/** Begins the move and lets time pass until the moment comes. */
async function moveUntil({ world, client, vm, target }: Stage, moment: () => boolean): Promise<void> {
  const stored = (await world.store.list('disk')).items[0]
  const isShared = stored?.value.datastore === world.datastores.shared
  const datastore = isShared ? {} : { datastore: target.name.replace('node', 'local') }
  assert.ok(await world.run(client.migrate(vm.id, { host: target.name, ...datastore })))
  await world.clock.runUntil(moment, 30_000)
}

/** Heals everything and waits until the world is settled: nothing may be wrong then. Returns the VM and its lives. */
async function healed({ world, client, vm }: Stage, afterMs: number): Promise<{ host: string; lives: number }> {
  await world.clock.advance(afterMs)
  new Faults(world, client).heal()
  assert.deepEqual(await settle(world, client), [], world.trace.lines.join('\n'))
  const now = await world.run(world.ask(async () => (await world.store.get('run', vm.id))!.value.run))
  return { host: now.host ?? '', lives: world.truth.boots.get(vm.spec.uuid)?.size ?? 0 }
}

const isSent =
  ({ source, vm }: Stage) =>
  (): boolean =>
    source.guest(vm.id)?.state === 'sent'
const isRunningAtTarget =
  ({ target, vm }: Stage) =>
  (): boolean =>
    target.guest(vm.id)?.state === 'running'
const isOutgoing =
  ({ source, vm }: Stage) =>
  (): boolean =>
    source.guest(vm.id)?.state === 'outgoing'

test('a manager that is killed between the end of the stream and the release finds the guest at its target', async () => {
  const set = await stage()
  await moveUntil(set, isSent(set))
  set.world.manager.kill()
  assert.deepEqual(await healed(set, 5000), { host: set.target.id, lives: 1 })
})

test('a target whose agent is partitioned as the guest arrives runs it, and says so when it can', async () => {
  const set = await stage()
  await moveUntil(set, isOutgoing(set))
  set.world.network.cut(set.target.id, 'manager')
  set.world.network.cut('manager', set.target.id)
  await set.world.clock.advance(60_000)
  assert.deepEqual(set.world.truth.runningOn(set.vm.spec.uuid), [set.target.address])
  assert.deepEqual(await healed(set, 0), { host: set.target.id, lives: 1 })
})

test('a stream that breaks after the source has sent everything brings the guest back with its memory', async () => {
  const set = await stage()
  await moveUntil(set, isSent(set))
  set.world.truth.reset(set.source.address, set.target.address)
  assert.deepEqual(await healed(set, 1000), { host: set.source.id, lives: 1 })
})

test('a source agent that dies in the middle of the stream leaves one copy', async () => {
  const set = await stage('local1')
  await moveUntil(set, isOutgoing(set))
  set.source.killAgent()
  assert.equal((await healed(set, 20_000)).lives, 1)
})

test('a target host that crashes after the guest arrived is repaired once a person says that it is off', async () => {
  const set = await stage()
  await moveUntil(set, isRunningAtTarget(set))
  set.target.crash()
  await set.world.clock.advance(20_000)
  await set.world.run(set.client.confirmOff(set.target.id, () => true))
  await set.world.clock.advance(30_000)
  const [address] = set.world.truth.runningOn(set.vm.spec.uuid)
  assert.ok(address !== undefined && address !== set.target.address, 'it runs on another host before this one is back')
  assert.equal((await healed(set, 0)).lives, 2)
})

test('a source QEMU that dies while the target is prepared, with the target out of reach, starts again from its disks', async () => {
  const set = await stage('local1')
  await moveUntil(set, () => set.target.guest(set.vm.id) === undefined)
  set.source.guest(set.vm.id)?.kill()
  set.target.killAgent()
  assert.equal((await healed(set, 20_000)).lives, 2)
})

test('a manager that is killed and started again and again still ends the move', async () => {
  const set = await stage('local1')
  await moveUntil(set, isOutgoing(set))
  for (let calls = 1; calls < 400; calls += 40) {
    set.world.manager.kill()
    void set.world.manager.start(calls)
    await set.world.clock.advance(400)
  }
  assert.equal((await healed(set, 0)).lives, 1)
})

test('post-copy whose stream breaks is a restart from disk, never two copies', async () => {
  const set = await stage('shared', true, { neverConverges: true })
  await moveUntil(set, isRunningAtTarget(set))
  set.world.truth.reset(set.source.address, set.target.address)
  for (const host of set.world.hosts) host.hypervisor.habits = { ...host.hypervisor.habits, neverConverges: false }
  assert.equal((await healed(set, 5000)).lives, 2)
})
