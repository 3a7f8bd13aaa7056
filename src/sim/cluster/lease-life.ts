/**
 * Random runs with leases: some VMs are stopped where their host is cut off, managers and hosts are lost in all ways.
 *
 * Where hosts have a hardware watchdog the storage keeps no locks: the lease alone must hold a second copy back. Without that
 * hardware a host that stood still and goes on runs for an instant until its watchdog looks; there the locks are what helps.
 *
 * In every fifth world only managers and the network to them fail: there nothing may be stopped, and no guest begins anew.
 */
import { Client } from './client.ts'
import { Faults, leaseFaultKinds, managerFaultKinds } from './faults.ts'
import type { RunOptions, RunOutcome } from './scenarios.ts'
import { settle } from './settled.ts'
import { SimulatedCluster } from './simulated-cluster.ts'

export async function leaseLife(options: RunOptions): Promise<RunOutcome> {
  const world = await SimulatedCluster.open({
    ...options,
    isClustered: true,
    hosts: 2 + (options.seed % 3),
    ...(options.seed % 2 === 0 ? { watchdogMs: 2000, hasLocks: false } : {}),
  })
  const client = new Client(world)
  const wanted = 2 + world.random.int(2)
  for (let at = 1; at <= wanted; at++) {
    const isolation = world.random.chance(0.7) ? 'stop' : 'leave-running'
    const vm = await world.run(client.createRunning({ name: `vm ${at}`, datastore: 'shared', isolation }))
    client.names.set(vm.id, vm.name)
  }
  // Leases are begun, and what is armed is written down.
  await world.clock.advance(4000)
  const faults = new Faults(world, client)
  const lastsMs = 60_000 + world.random.int(60_000)
  const isOfManagers = options.seed % 5 === 4
  faults.plan(isOfManagers ? managerFaultKinds : leaseFaultKinds, 2 + world.random.int(6), lastsMs)
  const until = world.clock.elapsedMs + lastsMs
  while (world.clock.elapsedMs < until) {
    await world.clock.advance(2000 + world.random.int(10_000))
    if (!isOfManagers) void actAtRandom(world, client)
  }
  faults.heal()
  const wrong = [...(await settle(world, client)), ...(isOfManagers ? restarted(world) : [])]
  const tally: Record<string, number> = { faults: faults.count }
  for (const line of world.trace.lines) {
    for (const [key, words] of Object.entries(counted)) if (line.includes(words)) tally[key] = (tally[key] ?? 0) + 1
  }
  const { items } = await world.store.list('promise')
  tally['rounds'] = items.reduce((sum, { value }) => sum + value.promise.round, 0)
  return { seed: options.seed, wrong, trace: world.trace.lines, virtualMs: world.clock.elapsedMs, tally }
}

/** Guests that have begun more than one life. */
function restarted(world: SimulatedCluster): string[] {
  return [...world.truth.boots].flatMap(([guest, lives]) =>
    lives.size === 1 ? [] : [`${guest} was stopped and started anew, though only managers failed`],
  )
}

const counted = {
  'killed by the watchdog': 'kills QEMU of',
  'reset by the hardware': 'the hardware watchdog resets',
} as const

async function actAtRandom(world: SimulatedCluster, client: Client): Promise<unknown> {
  const { random } = world
  const ids = (await world.store.list('vm')).items.map(({ value }) => value.id)
  const vm = random.pick(ids)
  switch (random.int(5)) {
    case 0:
      return client.migrate(vm, {})
    case 1:
      return client.stop(vm).then(() => client.start(vm))
    case 2:
      return client.isolate(vm, random.chance(0.6) ? 'stop' : 'leave-running')
    default:
      return undefined
  }
}
