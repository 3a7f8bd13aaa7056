/** A simulated cluster whose hosts have fence devices, with one VM, and what tests of fencing ask of it. */
import assert from 'node:assert/strict'
import type { Vm } from '../../src/contracts/inventory.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { Faults } from '../../src/sim/cluster/faults.ts'
import { settle } from '../../src/sim/cluster/settled.ts'
import { SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'
import type { SimulatedHost } from '../../src/sim/cluster/simulated-host.ts'

export interface Stage {
  readonly world: SimulatedCluster
  readonly client: Client
  readonly vm: Vm
  /** That runs the VM. */
  readonly lost: SimulatedHost
}

export async function stage(options: { hosts?: number; seed?: number } = {}): Promise<Stage> {
  const { seed = 1, hosts = 3 } = options
  const world = await SimulatedCluster.open({ seed, hosts, hasFences: true })
  const client = new Client(world)
  const vm = await world.run(client.createRunning({ name: 'one', datastore: 'shared' }))
  client.names.set(vm.id, vm.name)
  return { world, client, vm, lost: world.host(vm.run.host!) }
}

export function runningOn({ world, vm }: Stage): string[] {
  return world.truth.runningOn(vm.spec.uuid)
}

export const isElsewhere = (set: Stage) => (): boolean => {
  const [address] = runningOn(set)
  return address !== undefined && address !== set.lost.address
}

/** It has booted again, wherever: a manager that has just begun may find the host that was switched on before it finds another. */
export const runsAgain =
  ({ world, vm }: Stage) =>
  (): boolean =>
    world.truth.boots.get(vm.spec.uuid)?.size === 2 && world.truth.runningOn(vm.spec.uuid).length === 1

export async function eventsOf({ world }: Stage, type: string): Promise<string[]> {
  const all = await world.run(world.store.events({ revision: 0, sequence: 0 }, 10_000))
  assert.ok(all !== 'relist')
  return all.filter((event) => event.type === type).map((event) => event.message)
}

/** Heals everything: nothing may be wrong then. */
export async function healed({ world, client, vm }: Stage): Promise<number> {
  world.fences.faults.clear()
  new Faults(world, client).heal()
  assert.deepEqual(await settle(world, client), [], world.trace.lines.join('\n'))
  return world.truth.boots.get(vm.spec.uuid)?.size ?? 0
}
