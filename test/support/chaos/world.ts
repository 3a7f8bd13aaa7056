/**
 * A lab that is struck: hosts, several managers on members of etcd, and small guests of several policies, each with a client
 * that writes numbers down. It knows at all times whether a promise was broken, and when all is whole again.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { Alarm } from '../../../src/contracts/alarms.ts'
import type { CallOptions } from '../../../src/contracts/client.ts'
import type { Host, Manager, Task, Vm } from '../../../src/contracts/inventory.ts'
import type { CreateVm } from '../../../src/contracts/vm-requests.ts'
import { addressOf } from '../../../src/lab/address-plan.ts'
import { made } from '../../../src/lab/cluster.ts'
import { managersOf, type LabState } from '../../../src/lab/state.ts'
import type { TestLab } from '../lab.ts'
import { RunWitness } from '../run-witness.ts'
import { amiss, standing, type Sight } from './amiss.ts'
import { LedgerClient } from './ledger-client.ts'
import { LedgerJudge } from './ledger-judge.ts'
import { StateDisks } from './state-disks.ts'

export interface Kind {
  readonly name: string
  readonly isProtected?: boolean
  readonly policies: NonNullable<CreateVm['policies']>
}

const usual: readonly Kind[] = [
  { name: 'first', policies: { restartPriority: 'critical', isolation: 'stop' } },
  { name: 'stop', policies: { isolation: 'stop' } },
  { name: 'leave', policies: { restartPriority: 'high', isolation: 'leave-running' } },
  { name: 'last', policies: { restartPriority: 'low', isolation: 'stop' } },
]
const held: Kind = { name: 'step', isProtected: true, policies: {} }

/** A VM and its client. */
export interface Guest {
  readonly kind: Kind
  readonly name: string
  readonly uuid: string
  readonly id: Vm['id']
  readonly judge: LedgerJudge
  readonly client: LedgerClient
  /** Absent where a second copy is held: a primary that is frozen has lost by the arbiter's word, and may thaw. */
  readonly witness?: RunWitness
}

export interface WorldOptions {
  /** One guest more, that is held in step on two hosts. */
  readonly hasProtected: boolean
  /** What agents and managers keep lies on file systems of their own; takes a minute to make. */
  readonly hasStateDisks: boolean
  /** Within which all is whole after it was healed. Restarts after several crashes pause for 30 s by themselves. */
  readonly patienceMs: number
}

/** A promise that was broken, or all that is not whole when it should be. */
export class Broken extends Error {
  override readonly name = 'Broken'
}

const callMs = 10_000
const [lookMs, witnessMs] = [500, 100] as const
/** One that was started again more often than this is left alone for minutes, as it should be: another one takes its place. */
const mostBoots = 3

export class World implements AsyncDisposable {
  readonly lab: TestLab
  readonly guests: Guest[] = []
  readonly managers: readonly string[]
  /** Undefined: there are none to fill. */
  readonly stateDisks: StateDisks | undefined
  readonly #state: LabState
  readonly #stop: AbortSignal
  readonly #patienceMs: number
  #made = 0
  #starvedMs = 0

  private constructor(
    lab: TestLab,
    state: LabState,
    stateDisks: StateDisks | undefined,
    patienceMs: number,
    stop: AbortSignal,
  ) {
    this.#patienceMs = patienceMs
    this.lab = lab
    this.stateDisks = stateDisks
    this.#state = state
    this.#stop = stop
    this.managers = managersOf(state)
  }

  /** `stop`: every wait ends with it. */
  static async open(lab: TestLab, options: WorldOptions, stop: AbortSignal): Promise<World> {
    const stateDisks = options.hasStateDisks ? await StateDisks.make(lab) : undefined
    const world = new World(lab, await lab.lab.existing(), stateDisks, options.patienceMs, stop)
    try {
      await world.whole()
      for (const kind of options.hasProtected ? [...usual, held] : usual) await world.#add(kind)
      return world
    } catch (thrown) {
      await world[Symbol.asyncDispose]()
      throw thrown
    }
  }

  async #add(kind: Kind): Promise<void> {
    const { lab } = this
    const { client } = lab
    const name = `${kind.name}-${++this.#made}`
    const cmdline = `${lab.guest?.cmdline ?? ''} hf.ledger=/dev/vda`
    const disks = [{ sizeBytes: 2 ** 26, datastore: made.sharedDatastore }]
    const kernel = { kernel: made.kernel, initrd: made.initrd, cmdline }
    const body = { name, memoryMiB: 96, video: 'none', disks, kernel, policies: kind.policies, start: true } as const
    await this.#finish((options) => client.call('createVm', { body }, options))
    const vm = (await this.vms()).find((each) => each.name === name)
    if (vm === undefined) throw new Broken(`${name} was made, and is not there`)
    const judge = new LedgerJudge(name)
    const ledger = new LedgerClient(judge, vm.addresses[0] ?? '')
    const witness = kind.isProtected === true ? {} : { witness: new RunWitness(lab, vm.id, witnessMs) }
    this.guests.push({ kind, name, id: vm.id, uuid: vm.uuid, judge, client: ledger, ...witness })
    if (kind.isProtected !== true) return
    await this.#finish((options) => client.call('protectVm', { params: { vm: vm.id }, body: {} }, options))
  }

  /** Guests that were started again as often as is done without a long pause give their place to new ones. */
  async renew(): Promise<string[]> {
    const tired = this.guests.filter(({ judge }) => judge.boots.length > mostBoots)
    const { client } = this.lab
    for (const guest of tired) {
      this.guests.splice(this.guests.indexOf(guest), 1)
      await release(guest)
      const params = { vm: guest.id }
      if (guest.kind.isProtected === true)
        await this.#finish((options) => client.call('unprotectVm', { params, body: {} }, options))
      await this.#finish((options) => client.call('stopVm', { params, body: {} }, options))
      await this.#finish((options) => client.call('deleteVm', { params }, options))
      await this.#add(guest.kind)
    }
    return tired.map(({ name }) => name)
  }

  /** Begins a task once, however often the asking has to be repeated, and waits for its end. */
  async #finish(begin: (options: CallOptions) => Promise<Task>): Promise<void> {
    const idempotencyKey = randomUUID()
    const said: Task[] = []
    await this.until('a manager begins a task', async () => {
      return said.push(await begin({ ...this.soon(), idempotencyKey })) > 0
    })
    const params = { task: said[0]?.id ?? '' } as { task: Task['id'] }
    await this.until(`${said[0]?.name ?? 'a task'} (${params.task}) ends`, async () => {
      const task = await this.lab.client.call('getTask', { params, query: {} }, this.soon())
      said.push(task)
      return task.state !== 'running' && task.state !== 'undoing'
    })
    const { name, state, problem } = said.at(-1) ?? {}
    if (state !== 'done') throw new Broken(`${params.task} (${name ?? ''}) is ${state ?? ''}: ${problem?.detail ?? ''}`)
  }

  /** Waits, unless a promise is broken meanwhile. */
  async sleep(ms: number): Promise<void> {
    const end = performance.now() + ms
    do {
      this.check()
      const leftMs = Math.max(0, Math.min(lookMs, end - performance.now()))
      const from = performance.now()
      await pause(leftMs, undefined, { signal: this.#stop })
      this.#starvedMs = Math.max(this.#starvedMs, performance.now() - from - leftMs)
    } while (performance.now() < end)
  }

  /** Waits for a condition; what it throws is one more reason to wait. */
  async until(what: string, condition: () => Promise<boolean>, withinMs = this.#patienceMs): Promise<void> {
    const end = performance.now() + withinMs
    let last = ''
    for (;;) {
      const isSo = await condition().catch((thrown: unknown) => {
        last = ` (${String(thrown)})`
        return false
      })
      if (isSo) return
      if (performance.now() > end) throw new Broken(`not within ${withinMs / 1000} s: ${what}${last}`)
      await this.sleep(200)
    }
  }

  /**
   * How long this program, of all that share the machine, had no turn at most since it was asked last, milliseconds. Where that is
   * long everybody's terms may have passed without anybody's fault.
   */
  starved(): number {
    const ms = this.#starvedMs
    this.#starvedMs = 0
    return ms
  }

  /** Throws when a guest's client or the hosts have shown that a promise is broken. */
  check(): void {
    for (const { name, judge, witness } of this.guests) {
      if (judge.problem !== undefined) throw new Broken(judge.problem)
      const two = witness?.overlap()
      if (two !== undefined) throw new Broken(`${name} ran twice at once: ${JSON.stringify(two)}`)
    }
  }

  /** Waits until nothing is amiss and every guest has answered since this was asked. */
  async whole(withinMs = this.#patienceMs): Promise<void> {
    const since = performance.now()
    let last: readonly string[] = []
    const look = async (): Promise<boolean> => {
      last = amiss(await this.#see(since), (name) => this.#guest(name)?.kind.isProtected === true)
      return last.length === 0
    }
    await this.until('all is whole', look, withinMs).catch((thrown: unknown) => {
      if (!(thrown instanceof Broken) || last.length === 0) throw thrown
      throw new Broken(`${thrown.message}: ${last.join('; ')}`)
    })
  }

  /** Ends every fault of the lab, and maintenance of hosts. */
  async heal(): Promise<void> {
    await this.stateDisks?.unfill()
    await this.lab.heal()
    await this.until('no host is in maintenance', async () => {
      const kept = (await this.#hosts()).filter(({ maintenance }) => maintenance !== 'off')
      for (const { id } of kept) await this.lab.client.call('leaveMaintenance', { params: { host: id } }, this.soon())
      return kept.length === 0
    })
  }

  /** What a person does with guests whose storage gave errors: they stay paused until then. */
  async resume(): Promise<void> {
    await this.until('paused guests are let go on', async () => {
      const paused = (await this.#vms()).filter(({ state }) => state === 'paused')
      for (const { id } of paused) await this.lab.client.call('resumeVm', { params: { vm: id }, body: {} }, this.soon())
      return (await this.#vms()).every(({ state }) => state !== 'paused')
    })
  }

  /** Whether lost hosts are switched off by their fence devices from now on. */
  async fence(automatic: boolean): Promise<void> {
    await this.until('the managers take a setting', async () => {
      await this.lab.client.call('changeFencing', { body: { automatic } }, this.soon())
      return true
    })
  }

  /** Every number that was acknowledged is on the disk of its guest. */
  async verify(): Promise<void> {
    for (const { name, client } of this.guests)
      await this.until(`${name} reads its disk to the end`, () => client.verify().then(() => true), 120_000)
    this.check()
  }

  /** Names of those that have answered since a moment. */
  answering(since: number): Set<string> {
    return new Set(this.guests.filter(({ judge }) => (judge.lastAt ?? 0) > since).map(({ name }) => name))
  }

  /** Alarms that stand although their conditions are over, and those that may still stand for a while. */
  async alarms(wholeSince: number): Promise<{ wrong: Alarm[]; waiting: Alarm[] }> {
    const { items } = await this.lab.client.call('listAlarms', { query: {} }, this.soon())
    return standing(items, performance.now() - wholeSince)
  }

  /** Asked until a manager answers. */
  hosts = (): Promise<readonly Host[]> => this.#asked('hosts', () => this.#hosts())
  vms = (): Promise<readonly Vm[]> => this.#asked('VMs', () => this.#vms())

  async #asked<T>(what: string, ask: () => Promise<T>): Promise<T> {
    const said: T[] = []
    await this.until(`a manager lists ${what}`, async () => said.push(await ask()) > 0)
    return said[0] as T
  }

  async #hosts(): Promise<readonly Host[]> {
    return (await this.lab.client.call('listHosts', {}, this.soon())).items
  }

  async #vms(): Promise<readonly Vm[]> {
    return (await this.lab.client.call('listVms', {}, this.soon())).items
  }

  async host(name: string): Promise<Host> {
    const found = (await this.hosts()).find((host) => host.name === name)
    if (found === undefined) throw new Error(`the managers know no ${name}`)
    return found
  }

  async leader(): Promise<string | undefined> {
    return (await this.#managers()).find(({ state }) => state === 'leads')?.name
  }

  async #managers(): Promise<readonly Manager[]> {
    return (await this.lab.client.call('listManagers', {}, this.soon())).items
  }

  async #tasks(): Promise<readonly Task[]> {
    return (await this.lab.client.call('listTasks', { query: { limit: 200 } }, this.soon())).items
  }

  async #see(since: number): Promise<Sight> {
    const [hosts, managers, vms, tasks] = await Promise.all([this.hosts(), this.#managers(), this.vms(), this.#tasks()])
    const [copies, illMembers] = await Promise.all([this.#copies(), this.#illMembers()])
    return { hosts, managers, vms, tasks, copies, illMembers, answering: this.answering(since) }
  }

  /** Of each VM's uuid the hosts on which there is a QEMU of it, whoever knows of it. */
  async #copies(): Promise<Map<string, string[]>> {
    const copies = new Map<string, string[]>()
    for (const host of this.lab.hosts) {
      for (const pid of await this.lab.qemus(host)) {
        const text = await this.lab.ports.files.readText(`/proc/${pid}/cmdline`).catch(() => '')
        const { uuid } = this.guests.find((guest) => text.includes(guest.uuid)) ?? {}
        if (uuid !== undefined) copies.set(uuid, [...(copies.get(uuid) ?? []), host])
      }
    }
    return copies
  }

  async #illMembers(): Promise<string[]> {
    if (this.managers.length === 1) return []
    const isWell = async (node: string): Promise<boolean> => {
      const url = `http://${addressOf(this.#state.plan, node, 'management')}:2379/health`
      const said = await fetch(url, { signal: AbortSignal.timeout(3000) }).then((answer) => answer.json() as unknown)
      return (said as { health?: string }).health === 'true'
    }
    const words = await Promise.all(this.managers.map((node) => isWell(node).catch(() => false)))
    return this.managers.filter((_, at) => words[at] !== true)
  }

  #guest(name: string): Guest | undefined {
    return this.guests.find((guest) => guest.name === name)
  }

  /** A manager that is frozen, or cut off, answers nobody. */
  soon(): CallOptions {
    return { signal: AbortSignal.any([AbortSignal.timeout(callMs), this.#stop]) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.guests.map(release))
  }
}

async function release({ client, witness }: Guest): Promise<void> {
  await Promise.all([client[Symbol.asyncDispose](), witness?.[Symbol.asyncDispose]()])
}
