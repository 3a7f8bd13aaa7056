/** Whole random runs: from one seed to what was wrong in the end. */
import type { SeededRandom } from '../seeded-random.ts'
import { Client } from './client.ts'
import { Faults, faultKinds, losingFaults, type FaultKind } from './faults.ts'
import { plantedProtection } from '../protection/planted.ts'
import { searchProtection } from '../protection/search.ts'
import { leaseLife } from './lease-life.ts'
import { plantedFaults, type Planted } from './planted.ts'
import { settle } from './settled.ts'
import { SimulatedCluster } from './simulated-cluster.ts'

export const scenarioNames = ['migration', 'life', 'leases', 'protection'] as const
export type ScenarioName = (typeof scenarioNames)[number]

export interface RunOptions {
  readonly seed: number
  readonly planted?: ReadonlySet<Planted>
  readonly isVerbose?: boolean
}

/** Faults that can be planted into any of the scenarios. */
export const allPlanted = [...plantedFaults, ...plantedProtection] as const
export type AnyPlanted = (typeof allPlanted)[number]

export interface RunOutcome {
  readonly seed: number
  /** What broke an invariant; empty in a sound run. */
  readonly wrong: readonly string[]
  readonly trace: readonly string[]
  readonly virtualMs: number
  readonly tally: Readonly<Record<string, number>>
}

export async function runScenario(
  name: ScenarioName,
  options: Omit<RunOptions, 'planted'> & { readonly planted?: ReadonlySet<AnyPlanted> },
): Promise<RunOutcome> {
  const has = (fault: AnyPlanted): boolean => options.planted?.has(fault) === true
  if (name === 'protection') return searchProtection({ ...options, planted: new Set(plantedProtection.filter(has)) })
  const planted = new Set(plantedFaults.filter(has))
  if (name === 'leases') return leaseLife({ ...options, planted })
  return name === 'migration' ? migrationSchedule({ ...options, planted }) : randomLife({ ...options, planted })
}

/** Moves in one world, one after the other, each under its own faults and healed before the next. */
const roundsPerWorld = 3

/**
 * One running VM moves: its disk is shared or moves with it, post-copy is allowed or not, its memory converges or does
 * not; somebody may cancel at any time; up to three faults strike.
 */
export async function migrationSchedule(options: RunOptions): Promise<RunOutcome> {
  const world = await SimulatedCluster.open(options)
  const client = new Client(world)
  const { random } = world
  const movesDisks = random.chance(0.4)
  const allowPostCopy = random.chance(0.4)
  const vm = await world.run(
    client.createRunning({ name: 'one', datastore: movesDisks ? 'local1' : 'shared', allowPostCopy }),
  )
  client.names.set(vm.id, vm.name)
  const wrong: string[] = []
  const tally: Record<string, number> = {}
  for (let round = 0; round < roundsPerWorld && wrong.length === 0; round++) {
    const neverConverges = random.chance(allowPostCopy ? 0.7 : 0.1)
    for (const host of world.hosts) host.hypervisor.habits = { ...host.hypervisor.habits, neverConverges }
    const faults = new Faults(world, client)
    const livesBefore = world.truth.boots.get(vm.spec.uuid)?.size ?? 0
    await moveOnce(world, client, vm.id, faults, random)
    wrong.push(...(await settle(world, client)))
    const lives = (world.truth.boots.get(vm.spec.uuid)?.size ?? 0) - livesBefore
    wrong.push(...neededRestart(lives, faults, allowPostCopy))
    const state = (await world.store.list('task')).items.filter(({ value }) => value.saga === 'vm.migrate/1').at(-1)
    const key = state?.value.state ?? 'not begun'
    tally[key] = (tally[key] ?? 0) + 1
    tally['restarts'] = (tally['restarts'] ?? 0) + lives
    if (key === 'stuck') break
  }
  return { seed: options.seed, wrong, trace: world.trace.lines, virtualMs: world.clock.elapsedMs, tally }
}

async function moveOnce(
  world: SimulatedCluster,
  client: Client,
  vm: string,
  faults: Faults,
  random: SeededRandom,
): Promise<void> {
  const stored = await world.store.get('run', vm)
  const here = stored?.value.run.host
  const target = random.pick(world.hosts.filter((host) => host.id !== here))
  const usesLocal = (await world.store.list('disk')).items.some(
    ({ value }) => value.datastore !== world.datastores.shared,
  )
  const body = usesLocal
    ? { host: target.name, datastore: target.name.replace('node', 'local') }
    : { host: target.name }
  if (random.chance(0.15)) faults.strike('bad-network')
  faults.plan(faultKinds, random.int(4), 700)
  const begun = client.migrate(vm, body)
  if (random.chance(0.35) || world.hosts.some((host) => host.hypervisor.habits.neverConverges)) {
    const afterMs = random.int(1200)
    void begun.then(async (task) => {
      await world.clock.sleep(afterMs)
      if (task !== undefined) await client.cancel(task.id)
    })
  }
  await world.clock.advance(1000 + random.int(25_000))
  faults.heal()
  await world.run(begun)
  const task = await begun
  // A guest that never converges has no end of its own.
  if (task !== undefined) {
    await world.clock.advance(5000)
    await world.run(client.cancel(task.id))
  }
}

/** A VM whose memory nothing has taken must not have started anew. */
function neededRestart(lives: number, faults: Faults, allowPostCopy: boolean): string[] {
  const kinds: FaultKind[] = [...faults.struck]
  const isLosing = kinds.some((kind) => losingFaults.has(kind))
  // Once post-copy has begun, a broken stream is a restart.
  const isPostCopy = allowPostCopy && kinds.some((kind) => kind.endsWith('-streams') || kind === 'freeze-host')
  if (lives === 0 || isLosing || isPostCopy) return []
  return [`the VM started anew though nothing took its memory (${kinds.join(', ')})`]
}

/** Several VMs and all that people do with them, while everything fails now and then. */
export async function randomLife(options: RunOptions): Promise<RunOutcome> {
  const world = await SimulatedCluster.open(options)
  const client = new Client(world)
  const { random } = world
  for (const name of ['a', 'b']) {
    const datastore = random.pick(['shared', 'shared', 'local1', 'local2'])
    const vm = await world.run(client.createRunning({ name, datastore, allowPostCopy: random.chance(0.3) }))
    client.names.set(vm.id, vm.name)
  }
  const faults = new Faults(world, client)
  const lastsMs = 40_000 + random.int(40_000)
  faults.plan(faultKinds, 2 + random.int(8), lastsMs)
  const until = world.clock.elapsedMs + lastsMs
  let made = 2
  while (world.clock.elapsedMs < until) {
    await world.clock.advance(200 + random.int(4000))
    void actAtRandom(world, client, random, () => ++made)
  }
  faults.heal()
  for (const host of world.hosts) void client.leaveMaintenance(host.id)
  const wrong = await settle(world, client)
  const tasks = (await world.store.list('task')).items
  const tally: Record<string, number> = {}
  for (const { value } of tasks) {
    const key = `${value.saga} ${value.state}`
    tally[key] = (tally[key] ?? 0) + 1
  }
  return { seed: options.seed, wrong, trace: world.trace.lines, virtualMs: world.clock.elapsedMs, tally }
}

async function actAtRandom(
  world: SimulatedCluster,
  client: Client,
  random: SeededRandom,
  next: () => number,
): Promise<unknown> {
  const ids = (await world.store.list('vm')).items.map(({ value }) => value.id)
  const vm = ids.length === 0 ? 'vm-1' : random.pick(ids)
  const host = random.pick(world.hosts)
  const local = host.name.replace('node', 'local')
  switch (random.int(14)) {
    case 0:
      return client.create({
        name: `vm ${next()}`,
        datastore: random.pick(['shared', local]),
        start: random.chance(0.7),
      })
    case 1:
    case 2:
      return client.start(vm)
    case 3:
      return client.stop(vm)
    case 4:
      return client.shutdown(vm)
    case 5:
      return client.delete(vm)
    case 6:
      return client.rename(vm, `named ${next()}`)
    case 7:
      return client.enterMaintenance(host.id)
    case 8:
      return client.leaveMaintenance(host.id)
    case 9:
      return client.migrate(vm, { host: host.name, datastore: random.pick([local, 'shared']) })
    case 10: {
      const open = [...client.tasks.keys()].slice(-3)
      return open.length === 0 ? undefined : client.cancel(random.pick(open))
    }
    default:
      return client.migrate(vm, random.chance(0.5) ? { host: host.name } : {})
  }
}

/** The command that runs one seed again, step for step. */
export function replayCommand(name: ScenarioName, seed: number): string {
  return `./dev/sim --replay ${seed} --scenario ${name}`
}
