/** What strikes a cluster, by name; and the order that a seed gives. */
import { readFileSync } from 'node:fs'
import { nodeFolders } from '../../../src/lab/names.ts'
import type { PartitionRequest } from '../../../src/lab/partitions.ts'
import { SeededRandom } from '../../../src/sim/seeded-random.ts'
import type { World } from './world.ts'

export interface Blow {
  readonly world: World
  readonly random: SeededRandom
  /** Lost hosts are switched off by their fence devices; else leases alone say what may start elsewhere. */
  readonly isFenced: boolean
  /** Tells what is being struck. */
  readonly say: (what: string) => void
}

export interface Strike {
  readonly name: string
  /** No guest may have been started again by it, whatever is fenced. */
  readonly restartsNone?: boolean
  /** Guests stay paused until somebody resumes them. */
  readonly pauses?: boolean
  /** It fills what agents or managers keep. */
  readonly fillsState?: boolean
  /** Strikes, and holds on until it may be healed. */
  readonly hit: (blow: Blow) => Promise<void>
}

const network = 'management'
const isOneWay = false

/** A host that runs something, where there is one. */
async function pickHost({ world, random }: Blow, but?: string): Promise<string> {
  const busy = new Set((await world.vms()).map(({ host }) => host))
  const others = world.lab.hosts.filter((host) => host !== but)
  const running = others.filter((host) => busy.has(host))
  return random.pick(running.length > 0 ? running : others)
}

async function pickLeader({ world }: Blow): Promise<string> {
  let found = ''
  await world.until('a manager leads', async () => (found = (await world.leader()) ?? '') !== '')
  return found
}

const seconds = ({ world, random }: Blow, least: number, most: number): Promise<void> =>
  world.sleep(1000 * (least + random.int(most - least + 1)))

/** Guests of a lost host that come back elsewhere before it does answer again. */
async function backElsewhere({ world, isFenced }: Blow, host: string, lose: () => Promise<void>): Promise<void> {
  const { armed = [] } = (await world.host(host)).lease ?? {}
  const lost = (await world.vms()).filter((vm) => vm.host === host)
  const due = lost.filter(({ id, protection }) => isFenced || armed.includes(id) || protection.state === 'protected')
  await lose()
  const since = performance.now() + 1500
  const names = due.map(({ name }) => name)
  await world.until(`${names.join(', ')} of ${host} answer again before it is healed`, async () =>
    names.every((name) => world.answering(since).has(name)),
  )
}

async function anotherLeads({ world }: Blow, than: string): Promise<void> {
  await world.until(`another manager than ${than} leads`, async () => ![undefined, than].includes(await world.leader()))
}

function processOf({ world }: Blow, host: string, vm: string): number {
  const path = `${nodeFolders(world.lab.lab.folder, host).run}/vms/${vm}/machine.json`
  return (JSON.parse(readFileSync(path, 'utf8')) as { process: { pid: number } }).process.pid
}

async function crashHost(blow: Blow, but?: string): Promise<void> {
  const host = await pickHost(blow, but)
  blow.say(host)
  await backElsewhere(blow, host, () => blow.world.lab.crash(host))
  await seconds(blow, 2, 8)
}

/** One that was switched off meanwhile, by its device or its watchdog, has thawed so. */
async function freezeHost(blow: Blow): Promise<void> {
  const host = await pickHost(blow)
  const forS = 5 + blow.random.int(36)
  blow.say(`${host} for ${forS} s`)
  await blow.world.lab.freeze(host)
  await blow.world.sleep(1000 * forS)
  await blow.world.lab.thaw(host)
}

async function cutHost(blow: Blow, how: Omit<PartitionRequest, 'hosts'>): Promise<void> {
  const host = await pickHost(blow)
  blow.say(host)
  await blow.world.lab.partition({ hosts: [host], ...how })
  await seconds(blow, 6, 25)
}

/** What it sends arrives, and it hears nothing. */
async function deafen(blow: Blow): Promise<void> {
  const host = await pickHost(blow)
  blow.say(host)
  const { world } = blow
  const others = [...world.lab.hosts, ...world.managers].filter((node) => node !== host)
  await world.lab.partition({ hosts: others, from: [host], network, isOneWay: true })
  await seconds(blow, 6, 25)
}

async function storage(blow: Blow, how: 'hang' | 'fail'): Promise<void> {
  const host = await pickHost(blow)
  blow.say(host)
  await blow.world.lab.storageCut(host, how)
  await seconds(blow, 4, 15)
}

async function killProgram(blow: Blow, node: string, program: RegExp): Promise<void> {
  const { lab } = blow.world
  await lab.kill(node, await lab.processesOf(node, program))
}

/** The folder of its agent, or of a manager and its member of etcd. */
async function fillState(blow: Blow, node: string): Promise<void> {
  blow.say(node)
  await blow.world.stateDisks?.fill(node)
  await seconds(blow, 8, 20)
}

const programs = { agent: /main\.ts agent run/, manager: /main\.ts manager run/, etcd: /^etcd / }

async function killAgent(blow: Blow): Promise<void> {
  const host = await pickHost(blow)
  blow.say(host)
  await killProgram(blow, host, programs.agent)
}

async function killQemu(blow: Blow): Promise<void> {
  const { world, random } = blow
  const vm = random.pick((await world.vms()).filter(({ state }) => state === 'running'))
  blow.say(`${vm.name} on ${vm.host ?? '?'}`)
  const since = performance.now() + 1500
  await world.lab.kill(vm.host ?? '', [processOf(blow, vm.host ?? '', vm.id)])
  await world.until(`${vm.name} answers again`, async () => world.answering(since).has(vm.name))
}

async function killLeader(blow: Blow): Promise<void> {
  const leader = await pickLeader(blow)
  blow.say(leader)
  await killProgram(blow, leader, programs.manager)
}

async function crashLeader(blow: Blow): Promise<void> {
  const leader = await pickLeader(blow)
  blow.say(leader)
  await blow.world.lab.crash(leader)
  await anotherLeads(blow, leader)
}

async function freezeLeader(blow: Blow): Promise<void> {
  const leader = await pickLeader(blow)
  blow.say(leader)
  await blow.world.lab.freeze(leader)
  await anotherLeads(blow, leader)
  await seconds(blow, 1, 10)
  await blow.world.lab.thaw(leader)
}

async function killMember(blow: Blow): Promise<void> {
  const node = blow.random.pick(blow.world.managers)
  blow.say(node)
  await killProgram(blow, node, programs.etcd)
}

/** Nobody leads, until one of the two is back. */
async function killTwoMembers(blow: Blow): Promise<void> {
  const { world, random } = blow
  const [one = '', other = ''] = random.shuffle(world.managers)
  blow.say(`${one}, ${other}; ${one} comes back`)
  await Promise.all([world.lab.crash(one), world.lab.crash(other)])
  await seconds(blow, 15, 25)
  await world.lab.boot(one)
  await world.until('a manager leads', async () => (await world.leader()) !== undefined)
}

async function cutLeader(blow: Blow): Promise<void> {
  const leader = await pickLeader(blow)
  blow.say(leader)
  const from = blow.world.managers.filter((node) => node !== leader)
  await blow.world.lab.partition({ hosts: [leader], from, network, isOneWay })
  await anotherLeads(blow, leader)
  await seconds(blow, 1, 10)
}

async function killManagers(blow: Blow): Promise<void> {
  const { world } = blow
  await Promise.all(world.managers.map((node) => world.lab.crash(node)))
  await world.sleep(30_000)
}

/** Every guest that has no second copy begins to move, to wherever it is placed. */
async function moveAll(blow: Blow): Promise<void> {
  const { world, random } = blow
  for (const { id, protection } of await world.vms()) {
    if (protection.state !== 'unprotected') continue
    // A host that has no room, or a VM that is held, is no fault here.
    await world.lab.client.call('migrateVm', { params: { vm: id }, body: {} }, world.soon()).catch(() => undefined)
  }
  await world.sleep(random.int(2000))
}

async function empty(blow: Blow): Promise<string> {
  const host = await pickHost(blow)
  blow.say(`${host} in maintenance`)
  const { world } = blow
  const { id } = await world.host(host)
  await world.lab.client.call('enterMaintenance', { params: { host: id }, body: {} }, world.soon())
  await world.sleep(blow.random.int(3000))
  return host
}

const together =
  (...hits: Strike['hit'][]): Strike['hit'] =>
  async (blow) => {
    await Promise.all(hits.map((hit) => hit(blow)))
  }

export const singles: readonly Strike[] = [
  { name: 'host crash', hit: crashHost },
  {
    name: 'host power cycle',
    hit: async (blow) => {
      const host = await pickHost(blow)
      blow.say(host)
      await blow.world.lab.lab.cycle(host)
    },
  },
  { name: 'host frozen', hit: freezeHost },
  { name: 'host cut from management', hit: (blow) => cutHost(blow, { network, isOneWay }) },
  { name: 'host cut from the storage network', hit: (blow) => cutHost(blow, { network: 'storage', isOneWay }) },
  { name: 'host cut from all', hit: (blow) => cutHost(blow, { isOneWay }) },
  { name: 'host mute on management', hit: (blow) => cutHost(blow, { network, isOneWay: true }) },
  { name: 'host deaf on management', hit: deafen },
  { name: 'datastores hang', hit: (blow) => storage(blow, 'hang') },
  { name: 'datastores fail', pauses: true, hit: (blow) => storage(blow, 'fail') },
  {
    name: 'local datastore full',
    restartsNone: true,
    hit: async (blow) => {
      const host = await pickHost(blow)
      blow.say(host)
      await blow.world.lab.storageFill(host)
      await seconds(blow, 5, 10)
    },
  },
  { name: 'state disk of a host full', fillsState: true, hit: async (blow) => fillState(blow, await pickHost(blow)) },
  {
    name: 'state disk of a manager full',
    fillsState: true,
    restartsNone: true,
    hit: (blow) => fillState(blow, blow.random.pick(blow.world.managers)),
  },
  {
    name: 'state disk of the leader full',
    fillsState: true,
    restartsNone: true,
    hit: async (blow) => fillState(blow, await pickLeader(blow)),
  },
  { name: 'agent killed', hit: killAgent },
  { name: 'QEMU killed', hit: killQemu },
  { name: 'leader killed', restartsNone: true, hit: killLeader },
  { name: 'leader machine crash', restartsNone: true, hit: crashLeader },
  { name: 'leader frozen', restartsNone: true, hit: freezeLeader },
  { name: 'etcd member killed', restartsNone: true, hit: killMember },
  { name: 'two etcd members down', restartsNone: true, hit: killTwoMembers },
  { name: 'leader cut from etcd', restartsNone: true, hit: cutLeader },
  { name: 'all managers down 30 s', restartsNone: true, hit: killManagers },
  { name: 'migrations', restartsNone: true, hit: moveAll },
]

/** Everything of the host dies, and it stays off for 10 to 20 s. */
async function crashForSeconds(blow: Blow, host: string): Promise<void> {
  blow.say(host)
  await blow.world.lab.crash(host)
  await seconds(blow, 10, 20)
}

export const doubles: readonly Strike[] = [
  { name: 'host crash + leader killed', hit: together(crashHost, killLeader) },
  { name: 'host cut + etcd member killed', hit: together((blow) => cutHost(blow, { network, isOneWay }), killMember) },
  { name: 'host frozen + leader frozen', hit: together(freezeHost, freezeLeader) },
  { name: 'QEMU killed + leader crash', hit: together(killQemu, crashLeader) },
  {
    name: 'migrations + host crash',
    hit: async (blow) => {
      await moveAll(blow)
      await crashForSeconds(blow, await pickHost(blow))
    },
  },
  {
    name: 'migrations + leader killed',
    restartsNone: true,
    hit: async (blow) => {
      await moveAll(blow)
      await killLeader(blow)
    },
  },
  {
    name: 'maintenance + another host crash',
    hit: async (blow) => {
      await crashForSeconds(blow, await pickHost(blow, await empty(blow)))
    },
  },
  {
    name: 'maintenance + leader killed',
    restartsNone: true,
    hit: async (blow) => {
      await empty(blow)
      await killLeader(blow)
      await seconds(blow, 3, 10)
    },
  },
]

export interface Planned {
  readonly strike: Strike
  readonly isFenced: boolean
  /** What its own choices are drawn from. */
  readonly random: SeededRandom
}

/** Rounds without end: in each, every strike once, two single ones between double ones; devices are off for about half. */
export function* order(seed: number, chosen: readonly Strike[]): Generator<Planned, never> {
  const random = new SeededRandom(seed)
  for (;;) {
    const one = random.shuffle(singles.filter((strike) => chosen.includes(strike)))
    const two = random.shuffle(doubles.filter((strike) => chosen.includes(strike)))
    while (one.length + two.length > 0) {
      for (const strike of [one.shift(), one.shift(), two.shift()])
        if (strike !== undefined) yield { strike, isFenced: random.chance(0.5), random: random.fork() }
    }
  }
}
