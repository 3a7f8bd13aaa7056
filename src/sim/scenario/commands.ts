/** What the steps of a scenario can do: what strikes, what mends it, and what people ask of the manager. */
import { HoldfastError } from '../../base/errors.ts'
import { clientForms } from './client-commands.ts'
import { spanMs } from './format.ts'
import { readSentence, type Form, type Read } from './forms.ts'
import type { Stage } from './stage.ts'
import type { Names } from './words.ts'
import { simulatedFaults, fenceAgent } from '../cluster/simulated-fences.ts'
import type { SimulatedHost } from '../cluster/simulated-host.ts'
import type { FakeGuest } from '../fake-guest.ts'

export interface Command {
  /** Left out where a scenario is played without its faults. */
  readonly isFault: boolean
  readonly run: (stage: Stage, args: readonly string[]) => void
}
export type CommandForm = Form<Command>

const fault = (form: string, run: Command['run']): CommandForm => ({ form, act: { isFault: true, run } })
const mending = (form: string, run: Command['run']): CommandForm => ({ form, act: { isFault: false, run } })

const hostFaults: readonly CommandForm[] = [
  fault('crash HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach((host) => crash(stage, host))),
  mending('boot HOSTS', (stage, [hosts = '']) => {
    for (const host of stage.hosts(hosts)) {
      host.isOn = true
      void host.boot()
    }
  }),
  fault('freeze HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach((host) => host.freeze())),
  mending('thaw HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach((host) => host.thaw())),
  fault('kill agent HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach((host) => host.killAgent())),
  fault('kill agent HOST after NUMBER calls', (stage, [host = '', calls = '']) => {
    stage.host(host).process?.life.endAfter(numberOf(stage, calls))
  }),
  fault('freeze agent HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach((host) => host.process?.freeze())),
  mending('thaw agent HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach((host) => host.process?.thaw())),
  fault('jump clock of HOST by SPAN', (stage, [host = '', span = '']) => {
    stage.host(host).process?.jump(spanMs(span))
  }),
  fault('power cut', (stage) => {
    stage.world.manager.kill()
    for (const host of stage.world.hosts) crash(stage, host)
  }),
]

const managerFaults: readonly CommandForm[] = [
  fault('kill manager', (stage) => stage.world.manager.kill()),
  fault('kill manager after NUMBER calls', (stage, [calls = '']) => {
    const { manager, clock } = stage.world
    const { process } = manager
    process?.life.endAfter(numberOf(stage, calls))
    // One that asks for nothing any more is killed all the same.
    void clock.sleep(2000).then(() => process?.kill())
  }),
  mending('start manager', (stage) => void stage.world.manager.start()),
  fault('start manager for NUMBER calls', (stage, [calls = '']) => {
    void stage.world.manager.start(numberOf(stage, calls))
  }),
  fault('freeze manager', (stage) => stage.world.manager.process?.freeze()),
  mending('thaw manager', (stage) => stage.world.manager.process?.thaw()),
  fault('another manager leads', (stage) => {
    const { world, topology } = stage
    stage.former.push(world.manager)
    const next = world.newManager({
      ...{ hasFences: topology.fences !== undefined, isClustered: topology.managers === 'several' },
    })
    world.manager = next
    void next.start()
  }),
  fault('former manager thaws', (stage) => stage.former.at(-1)?.process?.thaw()),
  mending('former manager ends', (stage) => stage.former.forEach((former) => former.kill())),
  fault('jump clock of manager by SPAN', (stage, [span = '']) => stage.world.manager.process?.jump(spanMs(span))),
]

const networkFaults: readonly CommandForm[] = [
  fault('cut END <-> END', (stage, [a = '', b = '']) => {
    cut(stage, a, b)
    cut(stage, b, a)
  }),
  fault('cut END -> END', (stage, [a = '', b = '']) => cut(stage, a, b)),
  mending('join HOSTS', (stage, [hosts = '']) => stage.hosts(hosts).forEach(({ id }) => stage.world.network.join(id))),
  fault('network loses SHARE', (stage, [share = '']) => void (stage.world.network.badness = Number(share))),
  fault('network takes SPAN', (stage, [span = '']) => void (stage.world.network.delayMs = spanMs(span))),
  mending('network is well', (stage) => {
    stage.world.network.badness = 0
    stage.world.network.delayMs = 2
  }),
  fault('cut streams HOST -> HOST', (stage, [a = '', b = '']) => {
    stage.world.truth.cutOneWay(stage.host(a).address, stage.host(b).address)
  }),
  fault('break streams HOST HOST', (stage, [a = '', b = '']) => {
    stage.world.truth.reset(stage.host(a).address, stage.host(b).address)
  }),
  mending('join streams', (stage) => stage.world.truth.heal()),
]

const storageFaults: readonly CommandForm[] = [
  fault('STORE hangs on HOSTS', (stage, [store = '', hosts = '']) => failStore(stage, store, hosts, 'hang')),
  fault('managers lose the store', ({ world }) => {
    const lost = (): never => {
      throw new HoldfastError('unreachable', 'the store has lost its quorum')
    }
    world.store.faults.beforeCommit = lost
    world.store.faults.beforeRead = lost
  }),
  mending('managers have the store', (stage) => restoreStore(stage)),
  fault('STORE fails on HOSTS', (stage, [store = '', hosts = '']) => failStore(stage, store, hosts, 'errors')),
  mending('STORE is well on HOSTS', (stage, [store = '', hosts = '']) => failStore(stage, store, hosts, null)),
]

const fenceFaults: readonly CommandForm[] = [
  fault(`fence of HOST is made to (${simulatedFaults.join('|')})`, (stage, [host = '', kind = '']) => {
    failFence(stage, fenceAgent, host, kind)
  }),
  fault(`spare fence of HOST is made to (${simulatedFaults.join('|')})`, (stage, [host = '', kind = '']) => {
    failFence(stage, 'fence_spare', host, kind)
  }),
  fault('fence of HOST is wired to HOST', (stage, [host = '', other = '']) => {
    stage.world.fences.wires.set(`${fenceAgent} ${host}`, other)
  }),
  mending('mend fence of HOST', (stage, [host = '']) => {
    stage.world.fences.faults.delete(`${fenceAgent} ${host}`)
    stage.world.fences.wires.delete(`${fenceAgent} ${host}`)
  }),
]

const guestFaults: readonly CommandForm[] = [
  fault('kill qemu of VM', (stage, [vm = '']) => everyGuest(stage, vm).forEach((guest) => guest.kill())),
  fault('qemu of VM fails', (stage, [vm = '']) => everyGuest(stage, vm).forEach((guest) => guest.fail())),
  fault('guest VM panics', (stage, [vm = '']) => everyGuest(stage, vm).forEach((guest) => guest.panic())),
  fault('guest VM hangs', (stage, [vm = '']) => {
    everyGuest(stage, vm).forEach((guest) => guest.live({ answers: false, isBusy: false }))
  }),
  fault('guest VM shuts down', (stage, [vm = '']) => everyGuest(stage, vm).forEach((guest) => guest.shutDown())),
  fault('guest VM runs out of space', (stage, [vm = '']) => {
    everyGuest(stage, vm).forEach((guest) => guest.runOutOfSpace([...guest.disks.keys()][0] ?? 0))
  }),
  fault('next start on HOST fails', (stage, [host = '']) => {
    stage.host(host).hypervisor.failNextStart = 'QEMU does not start: a fault'
  }),
  fault('guests never converge', (stage) => converge(stage, false)),
  mending('guests converge', (stage) => converge(stage, true)),
]

const forms: readonly CommandForm[] = [
  ...hostFaults,
  ...managerFaults,
  ...networkFaults,
  ...storageFaults,
  ...fenceFaults,
  ...guestFaults,
  ...clientForms.map(({ form, act }): CommandForm => mending(form, (stage, args) => void act(stage, args))),
]

export const commandWords: readonly string[] = forms.map(({ form }) => form)

export function readCommand(text: string, names: Names): Read<CommandForm> | { readonly wrong: string } {
  return readSentence(text, forms, names)
}

/** Everything is well again that `Faults.heal` knows nothing of. */
export function mendAll(stage: Stage): void {
  const { fences, hosts } = stage.world
  fences.faults.clear()
  fences.wires.clear()
  converge(stage, true)
  restoreStore(stage)
  for (const host of hosts) {
    host.files.mend()
    host.hypervisor.failNextStart = undefined
  }
  for (const former of stage.former) former.kill()
}

function crash({ world }: Stage, host: SimulatedHost): void {
  if (!host.isOn) return
  host.crash()
  for (const other of world.hosts) world.truth.reset(host.address, other.address)
}

/** Nothing passes from any of these to any of those. */
function cut(stage: Stage, from: string, to: string): void {
  const { network, hosts } = stage.world
  const ends = (word: string): string[] => {
    if (word === 'manager') return ['manager']
    if (word === 'hosts') return hosts.map(({ id }) => id)
    if (word === 'everybody') return ['manager', ...hosts.map(({ id }) => id)]
    return word.split(',').map((name) => stage.host(name).id)
  }
  for (const a of ends(from)) for (const b of ends(to)) if (a !== b) network.cut(a, b)
}

function failStore(stage: Stage, store: string, hosts: string, kind: 'hang' | 'errors' | null): void {
  for (const host of stage.hosts(hosts)) host.files.fail(store === 'shared' ? '/shared' : '/local', kind)
}

function restoreStore({ world }: Stage): void {
  delete world.store.faults.beforeCommit
  delete world.store.faults.beforeRead
}

function failFence({ world }: Stage, agent: string, host: string, kind: string): void {
  const known = simulatedFaults.find((each) => each === kind)
  if (known !== undefined) world.fences.faults.set(`${agent} ${host}`, known)
}

function everyGuest(stage: Stage, vm: string): FakeGuest[] {
  return stage.world.hosts.flatMap((host) => host.guest(stage.id(vm)) ?? [])
}

function converge({ world }: Stage, doesConverge: boolean): void {
  for (const { hypervisor } of world.hosts) {
    hypervisor.habits = { ...hypervisor.habits, neverConverges: !doesConverge }
  }
}

/** `7`, or one of `3..40` by the seed. */
function numberOf({ world }: Stage, text: string): number {
  const [least = 0, most = least] = text.split('..').map(Number)
  return least + world.random.int(most - least + 1)
}
