/**
 * labd: the power switch and the watchdogs of a lab's hosts, outside of them all. It alone switches hosts on, one change
 * per host at a time, so that a host is never started twice. A lab works on when labd dies; the next verb starts it again.
 */
import { HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { fenceFaults, FenceSwitch } from './fence-switch.ts'
import { serveLines, textField, type Message } from './lines.ts'
import { powerOff, powerOn, type Machines } from './machine.ts'
import { nodeFolders, sockets } from './names.ts'
import { managersOf, readState, type LabState } from './state.ts'
import { Watchdogs } from './watchdog.ts'

export interface PowerStatus {
  readonly power: 'on' | 'off' | 'frozen'
  /** Term of the armed watchdog; null when it is not armed. */
  readonly watchdogMs: number | null
  /** How often the watchdog has power-cycled the host since labd started. */
  readonly watchdogResets: number
}

class PowerSwitch {
  readonly #machines: Machines
  readonly #turns = new Map<string, Promise<unknown>>()
  readonly resets = new Map<string, number>()
  watchdogs: Watchdogs | undefined

  constructor(machines: Machines) {
    this.#machines = machines
  }

  on(node: string): Promise<void> {
    return this.#inTurn(node, () => powerOn(this.#machines, node))
  }

  off(node: string): Promise<void> {
    return this.#inTurn(node, async () => {
      await powerOff(this.#machines, node)
      await this.watchdogs?.disarm(node)
    })
  }

  cycle(node: string): Promise<void> {
    return this.#inTurn(node, async () => {
      await powerOff(this.#machines, node)
      await this.watchdogs?.disarm(node)
      await powerOn(this.#machines, node)
    })
  }

  async bite(node: string): Promise<void> {
    this.resets.set(node, (this.resets.get(node) ?? 0) + 1)
    await this.cycle(node)
  }

  async status(node: string): Promise<PowerStatus> {
    return {
      power: await this.#machines.cgroups.power(node),
      watchdogMs: this.watchdogs?.termMs(node) ?? null,
      watchdogResets: this.resets.get(node) ?? 0,
    }
  }

  async #inTurn(node: string, work: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(node) ?? Promise.resolve()
    const turn = before.catch(() => undefined).then(work)
    this.#turns.set(node, turn)
    await turn
  }
}

/** Serves until the process ends. */
export async function serveLabd(machines: Machines, log: Logger): Promise<void> {
  const { ports, folder } = machines
  const state = await readState(ports.files, folder)
  if (state === undefined) throw new HoldfastError('not-found', `there is no lab in ${folder}`)
  const power = new PowerSwitch(machines)
  power.watchdogs = await Watchdogs.open(ports, `${folder}/watchdogs.json`, log, (host) => power.bite(host))
  const { watchdogs } = power
  for (const host of state.hosts) {
    const bmc = `${nodeFolders(folder, host).run}/bmc`
    await ports.files.makeDirectory(bmc)
    await serveLines(ports, `${bmc}/watchdog.sock`, (message) => watchdogs.handle(host, message))
  }
  const fencing = await serveFencing(machines, power, state)
  await serveLines(ports, sockets(folder).labd, async (message) => {
    const node = textField(message, 'host')
    const nodes = [...state.hosts, ...managersOf(state)]
    if (!nodes.includes(node)) {
      throw new HoldfastError('not-found', `the lab has no "${node}"`, {
        mend: `Use one of: ${nodes.join(', ')}.`,
      })
    }
    if (message['verb'] !== 'status') log.info({ host: node, verb: message['verb'] }, 'power')
    if (message['verb'] === 'fence-fault') {
      const wanted = textField(message, 'fault')
      const fault = fenceFaults.find((each) => each === wanted)
      fencing.fault(node, fault)
      return { host: node, fault: fault ?? 'none' }
    }
    return await obey(power, node, message)
  })
  log.info({ lab: machines.lab, pid: process.pid }, 'labd serves')
}

/** The switch that managers reach: in the own /run of each, as if it were on the management network. */
async function serveFencing({ ports, folder }: Machines, power: PowerSwitch, state: LabState): Promise<FenceSwitch> {
  const outlets = {
    on: (host: string) => power.on(host),
    off: (host: string) => power.off(host),
    isOff: async (host: string) => (await power.status(host)).power === 'off',
  }
  const fencing = new FenceSwitch(outlets, state.hosts, state.fencePassword ?? '')
  for (const manager of managersOf(state)) {
    const bmc = `${nodeFolders(folder, manager).run}/bmc`
    await ports.files.makeDirectory(bmc)
    await serveLines(ports, `${bmc}/power.sock`, (message) => fencing.handle(message))
  }
  return fencing
}

async function obey(power: PowerSwitch, node: string, message: Message): Promise<Message> {
  switch (message['verb']) {
    case 'on':
      await power.on(node)
      break
    case 'off':
      await power.off(node)
      break
    case 'cycle':
      await power.cycle(node)
      break
    case 'status':
      break
    default:
      throw new HoldfastError('invalid-request', `the power switch knows no verb ${textField(message, 'verb')}`)
  }
  return { ...(await power.status(node)) }
}
