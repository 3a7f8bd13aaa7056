/**
 * What must be true once nothing fails any more and everything has had its time: each VM runs once where its intent is
 * `on` and nowhere where it is `off`, nothing is half done, and no file is without an owner.
 */
import type { Vm } from '../../contracts/inventory.ts'
import type { TaskRecord } from '../../manager/store/records.ts'
import type { Client } from './client.ts'
import { call, type SimulatedCluster } from './simulated-cluster.ts'

/** By then the slowest repair (a stuck task is tried again after five minutes, a VM restarted after ten) has happened. */
const settleWithinMs = 45 * 60_000
/** Stops of these kinds wait for a person: both copies of moved disks may hold the newest writes. */
const undecided = 'migration-disks-undecided'

/** Moves time until the world is settled, then says what is wrong with it; empty when all is well. */
export async function settle(world: SimulatedCluster, client: Client): Promise<string[]> {
  const until = world.clock.elapsedMs + settleWithinMs
  let wrong: string[] = ['nothing was looked at']
  let stepMs = 500
  while (world.clock.elapsedMs < until) {
    await world.clock.advance(stepMs)
    if (world.truth.violations.length > 0) break
    wrong = await world.run(wrongNow(world, client).catch((thrown: unknown) => [String(thrown)]))
    if (wrong.length === 0) {
      world.trace.note('settled')
      break
    }
    stepMs = Math.min(10_000, stepMs * 1.2)
  }
  for (const what of wrong) world.trace.note(`NOT SETTLED ${what}`)
  return [...world.truth.violations, ...wrong]
}

async function wrongNow(world: SimulatedCluster, client: Client): Promise<string[]> {
  const vms = await client.listVms()
  const tasks = (await world.store.list('task')).items.map(({ value }) => value)
  const stuck = tasks.filter((task) => task.state === 'stuck' && runbookOf(task) === undecided)
  const waiting = new Set(stuck.map((task) => task.holds))
  return [
    ...(await wrongTasks(world, client, tasks)),
    ...vms.flatMap((vm) => (waiting.has(vm.id) ? [] : wrongVm(world, vm))),
    ...wrongMachines(world, vms),
    ...lostNames(client, vms),
    ...(waiting.size > 0 ? [] : await wrongFiles(world)),
  ]
}

function runbookOf(task: TaskRecord): unknown {
  return task.problem?.details?.['runbook']
}

async function wrongTasks(world: SimulatedCluster, client: Client, tasks: readonly TaskRecord[]): Promise<string[]> {
  const wrong: string[] = []
  const known = new Set<string>(tasks.map((task) => task.id))
  for (const [id, what] of client.tasks) if (!known.has(id)) wrong.push(`${id} (${what}) was acknowledged and is lost`)
  for (const task of tasks) {
    if (task.ended !== null) continue
    if (task.state !== 'stuck') wrong.push(`${task.id} (${task.saga}) is ${task.state} at ${task.step ?? 'no step'}`)
    else if (runbookOf(task) !== undecided)
      wrong.push(`${task.id} (${task.saga}) is stuck: ${task.problem?.detail ?? ''}`)
    else if (!(await hasEvent(world, task.id))) wrong.push(`${task.id} is stuck and no event says so`)
  }
  return wrong
}

async function hasEvent(world: SimulatedCluster, task: string): Promise<boolean> {
  const { items } = await world.ask((manager) => manager.api.listEvents({ params: {}, query: { limit: 1000 } }, call))
  return items.some((event) => event.type === 'task.stuck' && event.task === task)
}

function wrongVm(world: SimulatedCluster, vm: Vm): string[] {
  const wrong: string[] = []
  if (vm.operation !== null) wrong.push(`${vm.id} is held by ${vm.operation}`)
  const { phase, host, cause } = vm.run
  const runsOn = world.truth.runningOn(vm.spec.uuid)
  const expected = phase === 'running' && host !== null ? [world.host(host).address] : []
  if (phase !== 'running' && phase !== 'stopped') wrong.push(`the record of ${vm.id} is ${phase}`)
  if (runsOn.join() !== expected.join()) {
    wrong.push(`${vm.id} runs on [${runsOn.join()}], its record says ${phase} on ${host ?? 'no host'}`)
  }
  // A guest that shut itself down, or a start that no host could take, has its intent put right by whoever noticed.
  if ((vm.power === 'on') !== (phase === 'running') && !isLeftDown(vm))
    wrong.push(`${vm.id} should be ${vm.power} and is ${phase} (${cause ?? ''})`)
  return wrong
}

/** Its policies are that it is not started again after what has happened to it. */
function isLeftDown({ run, policies }: Vm): boolean {
  if (run.phase !== 'stopped' || run.cause === null) return false
  if (policies.restart === 'never') return ['crashed', 'host-lost', 'lost-in-move'].includes(run.cause)
  return policies.restartPriority === 'disabled' && ['host-lost', 'lost-in-move'].includes(run.cause)
}

function wrongMachines(world: SimulatedCluster, vms: readonly Vm[]): string[] {
  const wrong: string[] = []
  for (const host of world.hosts) {
    for (const guest of host.hypervisor.alive()) {
      const vm = vms.find((each) => each.id === guest.config.name)
      const isMeant = vm?.run.phase === 'running' && vm.run.host === host.id
      if (guest.state !== 'running' || !isMeant)
        wrong.push(`a QEMU of ${guest.config.name} is left on ${host.name}: ${guest.state}`)
    }
  }
  return wrong
}

function lostNames(client: Client, vms: readonly Vm[]): string[] {
  return [...client.names].flatMap(([id, name]) => {
    const vm = vms.find((each) => each.id === id)
    if (vm === undefined) return [`${id} (${name}) was acknowledged and is lost`]
    return vm.name === name ? [] : [`the name ${name} of ${id} was acknowledged, and it is ${vm.name}`]
  })
}

/** Each file of a disk is where its record says, with its note, and there is no other. */
async function wrongFiles(world: SimulatedCluster): Promise<string[]> {
  const { shared, local } = world.datastores
  const records = (await world.store.list('disk')).items.map(({ value }) => value)
  const expected = new Map<string, string>()
  for (const disk of records) {
    for (const place of [disk.datastore, ...(disk.alsoAt ?? [])]) {
      const at = place === shared ? 'shared' : (world.hosts[local.indexOf(place)]?.name ?? place)
      expected.set(`${at}: ${disk.id}.qcow2`, disk.vm)
    }
    if ((disk.alsoAt ?? []).length > 0) return [`old copies of ${disk.id} are not cleaned up`]
  }
  const found = new Set<string>()
  const first = world.hosts[0]
  if (first !== undefined) for (const name of await first.files.list('/shared/disks')) found.add(`shared: ${name}`)
  for (const host of world.hosts) {
    for (const name of await host.files.list('/local/disks')) found.add(`${host.name}: ${name}`)
  }
  return [
    ...[...found]
      .filter((name) => !expected.has(name.replace(/\.json$/, '.qcow2')))
      .map((name) => `nobody owns the file ${name}`),
    ...[...expected.keys()].filter((name) => !found.has(name)).map((name) => `the file ${name} is missing`),
  ]
}
