/**
 * One VM on this host: its durable state, its QEMU, its newest run record. The operations on it (start-vm.ts,
 * incoming.ts, outgoing.ts, reconcile.ts) are run one at a time by its keeper.
 */
import { isoTime } from '../../base/clock.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { VmObservation, VmProcessState } from '../../contracts/host.ts'
import { noFigures, type ProtectionObservation } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { Machine, MachineEvent, MachineState } from '../../hypervisor/hypervisor.ts'
import type { GuestWatch } from '../guest/guest-watch.ts'
import type { Pump } from '../protect/pumps.ts'
import type { VmPorts } from './vm-ports.ts'
import { newVmState, type VmState } from './vm-state.ts'
import { newWatch, observeGuest } from './watch-guest.ts'

const processStates: Record<MachineState, VmProcessState> = {
  prelaunch: 'prelaunch',
  running: 'running',
  paused: 'paused',
  incoming: 'incoming',
  'incoming-complete': 'incoming-complete',
  'incoming-failed': 'failed',
  outgoing: 'outgoing',
  sent: 'sent',
  panicked: 'paused',
  shutdown: 'failed',
  failed: 'failed',
  gone: 'none',
}

const pumpedStates = new Set<MachineState>(['running', 'paused', 'outgoing', 'sent'])

/** A pump, or the finding out of what one came to, has the guest here in its hands. */
export function isHeldPrimary({ protection }: VmState): boolean {
  return protection?.side === 'primary' && protection.outcome === null
}

/** Throws `wrong-state` while a pair has the VM, or the record does not say yet what became of it. */
export function refuseHeld(core: VmCore, what: string): void {
  const { protection } = core.state
  if (protection == null) return
  throw new HoldfastError('wrong-state', `${core.vm} is held in step on two hosts and cannot be ${what}`, {
    mend: 'End its protection first.',
  })
}

/** Throws `wrong-state` for a guest that has panicked: nothing but a reset, or its end, does anything about it. */
export function refusePanicked(core: VmCore, what: string): void {
  if (core.machineState !== 'panicked') return
  throw new HoldfastError('wrong-state', `the guest of ${core.vm} has panicked and cannot be ${what}`, {
    mend: 'Reset the VM, or stop it.',
  })
}

/** Throws `unreachable` for the moment in which one has ended and another has not followed. */
export function mustHavePump({ pump, vm }: VmCore): Pump {
  if (pump !== undefined) return pump
  throw new HoldfastError('unreachable', `the pump of ${vm} has ended, and another is about to follow it`, {
    mend: 'Ask again.',
  })
}

/** Work that goes on beside the queue, each at most once at a time. */
export interface VmBackground {
  /** Asks the manager about the pending transition until it answers. */
  tell(): void
  /** Reads the record anew and acts on it. */
  refresh(): void
  /** Finds out how an outgoing stream that nobody drives ends. */
  settleOutgoing(): void
  /** Lets a guest that ran out of space go on when there is some. */
  watchSpace(): void
  /** Decides anew, soon. */
  look(): void
  /** Follows the pump of a VM that is held in step, and whoever comes after it, to what the pair comes to. */
  followPump(): void
  /** Ends the protection of a guest that has ended by itself. */
  endProtection(): void
}

/** Why a guest stands still, or was ended, that nobody stopped. */
export const panicWords = 'the kernel of its guest has panicked'

const calmMs = 300
/** Mere figures of a pump are told no sooner: they change all the time, and a report is work. */
const [syncingMs, figuresMs] = [250, 1000]

export class VmCore {
  readonly vm: VmId
  readonly ports: VmPorts
  readonly background: VmBackground
  readonly log: Logger
  state: VmState
  record: RunRecord | undefined
  machine: Machine | undefined
  /** The newest state that QEMU told; asked anew where a decision rests on it. */
  machineState: MachineState = 'gone'
  /** vCPUs of the machine have run since it came here. Set the moment the event is read, before anything queued. */
  hasRun = false
  /** Connected to the machine since before anything in it could run. */
  witnessed = false
  /** The pump of a VM that is held in step, while one is known to run. */
  pump: Pump | undefined
  /** What the last pump said last. */
  pumpStatus: ProtectionObservation | undefined
  /** A migrateOut of this process drives the outgoing stream. */
  isDriven = false
  /** The life of the guest since it began or was reset last. */
  watch: GuestWatch
  #listening: Disposable | undefined
  #calmUntil = 0
  readonly #onEvent: (event: MachineEvent) => void

  constructor(
    ports: VmPorts,
    vm: VmId,
    state: VmState | undefined,
    background: VmBackground,
    onEvent: (event: MachineEvent) => void,
  ) {
    this.vm = vm
    this.ports = ports
    this.background = background
    this.log = ports.log.child({ vm })
    this.state = state ?? newVmState(vm)
    this.watch = newWatch(ports.clock, 0)
    this.#onEvent = onEvent
  }

  /** Durable when it resolves. */
  async save(change: Partial<VmState>): Promise<void> {
    if (this.state.role === 'incoming' && change.role === 'running')
      this.#calmUntil = this.ports.clock.monotonic() + calmMs
    this.state = { ...this.state, boot: this.#boot(), ...change }
    await this.ports.states.write(this.state)
    this.#changed()
  }

  #boot(): NonNullable<VmState['boot']> | null {
    const { machine, watch } = this
    return machine === undefined ? null : { pid: machine.pid, name: watch.boot, isHeard: watch.isHeard }
  }

  /** What is known of the guest's boot is durable when it resolves: the next agent calls it the same. */
  async keepBoot(): Promise<void> {
    const { boot } = this.state
    if (boot?.name !== this.watch.boot || boot.isHeard !== this.watch.isHeard) await this.save({})
  }

  /** It was reset: whatever was seen of it was of another boot. */
  beginBoot(): void {
    this.watch = newWatch(this.ports.clock, this.machine?.pid ?? 0)
  }

  /** Reports cost CPU, and a guest that moves, or has just arrived, needs all there is: they wait a little then. */
  #changed(): void {
    const { role } = this.state
    const moves = role === 'incoming' || role === 'outgoing' || role === 'sent'
    const isCalm = moves || this.ports.clock.monotonic() < this.#calmUntil
    this.ports.onChange(isCalm ? calmMs : undefined)
  }

  /** Takes a machine in; its events are heard from now on. */
  attach(machine: Machine, state: MachineState): void {
    this.#listening?.[Symbol.dispose]()
    this.machine = machine
    this.machineState = state
    this.hasRun = false
    this.witnessed = state === 'prelaunch' || state === 'incoming'
    const { boot } = this.state
    // One that has just been started is none that an earlier agent knew, whatever its number.
    const isKnown = !this.witnessed && boot?.pid === machine.pid
    this.watch = newWatch(this.ports.clock, machine.pid, isKnown ? boot : undefined)
    this.#listening = machine.onEvent((event) => {
      if (this.machine !== machine) return
      this.#note(event)
      this.#onEvent(event)
    })
    this.#changed()
  }

  #note(event: MachineEvent): void {
    if (event.kind === 'ran') this.hasRun = true
    if (event.kind === 'gone') this.machineState = 'gone'
    if (event.kind === 'state') {
      this.machineState = event.state
      if (event.state === 'running') this.hasRun = true
      else this.watch.interrupt()
    }
    if (event.kind === 'reset') this.beginBoot()
    this.#changed()
  }

  /** What QEMU says now. One that does not answer is taken for what it last said, for gone when its process is. */
  async askMachine(): Promise<MachineState> {
    if (this.machine === undefined) return (this.machineState = 'gone')
    if (this.machineState === 'gone') return 'gone'
    const state = await this.machine.state()
    if (state === 'running') this.hasRun = true
    return (this.machineState = state)
  }

  /** `hasRun`, asked as a call because it may change at every wait. */
  sawRun(): boolean {
    return this.hasRun
  }

  /**
   * Ends QEMU and reaps it, then takes its place away. Rejects with `timeout` when the process cannot be reaped: nothing
   * may then be said of the VM but that it may still write.
   */
  async quitMachine(): Promise<void> {
    const machine = this.machine
    if (machine !== undefined) {
      await machine.quit()
      this.#listening?.[Symbol.dispose]()
      this.#listening = undefined
      this.machine = undefined
      this.machineState = 'gone'
      await machine[Symbol.asyncDispose]()
    }
    await this.ports.places.release(this.vm)
    this.#changed()
  }

  /** Tells the guest's networks where it is now. Nothing waits for it. */
  announce(): void {
    this.machine?.announce().catch((thrown: unknown) => {
      this.log.warn({ err: describeError(thrown) }, 'the guest could not be announced to its networks')
    })
  }

  /** Takes a pump in: it is heard from now on, and let go of when it has ended. */
  attachPump(pump: Pump): void {
    this.pump = pump
    this.pumpStatus = pump.status
    const listening = pump.onChange((status) => {
      if (this.pump !== pump) return
      const before = this.pumpStatus
      const hasTurned = status.phase !== before?.phase || status.n !== before.n
      this.pumpStatus = status
      if (hasTurned) this.background.look()
      if (hasTurned || status.problem !== before.problem) this.#changed()
      else this.ports.onChange(status.phase === 'syncing' ? syncingMs : figuresMs)
    })
    void pump.gone.then(() => {
      listening[Symbol.dispose]()
      if (this.pump !== pump) return
      this.pump = undefined
      this.#changed()
      return pump[Symbol.asyncDispose]()
    })
    this.background.look()
  }

  /** Lets go of QEMU and of the pump without touching them. */
  async detach(): Promise<void> {
    this.#listening?.[Symbol.dispose]()
    this.#listening = undefined
    const { machine, pump } = this
    this.machine = undefined
    this.pump = undefined
    await pump?.[Symbol.asyncDispose]()
    await machine?.[Symbol.asyncDispose]()
  }

  /** Takes note of a record, unless a newer one is known. Returns the newest. */
  async see(record: RunRecord): Promise<RunRecord> {
    const { incarnation, generation } = this.state
    const isOlder =
      record.incarnation < incarnation || (record.incarnation === incarnation && record.generation < generation)
    if (isOlder) return this.record ?? record
    this.record = record
    if (record.incarnation !== incarnation || record.generation !== generation) {
      await this.save({ incarnation: record.incarnation, generation: record.generation })
    }
    return record
  }

  /** Throws `stale-generation` for a command that was decided on an older record than this host has seen. */
  refuseOlder(generation: number, newest = this.state.generation): void {
    if (generation >= newest) return
    throw new HoldfastError(
      'stale-generation',
      `the command for ${this.vm} was decided on generation ${generation}; this host knows ${newest}`,
      { generation: newest, mend: 'Read the run record again and decide anew.' },
    )
  }

  /** Throws `unreachable` where it is armed and this host has lost the managers. */
  async resume(): Promise<void> {
    const machine = this.mustHaveMachine()
    this.ports.lease.mustHold(this.vm)
    await machine.resume()
    this.hasRun = true
    this.machineState = 'running'
    this.#changed()
  }

  mustHaveMachine(): Machine {
    if (this.machine !== undefined && this.machineState !== 'gone') return this.machine
    throw new HoldfastError('wrong-state', `no QEMU of ${this.vm} runs on this host`)
  }

  wallClock(): string {
    return isoTime(this.ports.clock.now())
  }

  async observe(): Promise<VmObservation> {
    const { state } = this
    const usage = await this.#usage()
    return {
      vm: this.vm,
      process: this.#processState(),
      generation: state.generation,
      discarded: state.discarded,
      problem: state.problem ?? (this.machineState === 'panicked' ? panicWords : null),
      outOfSpace: state.outOfSpace,
      startedAt: state.startedAt,
      ...usage,
      protection: this.#protection(),
      ...observeGuest(this),
    }
  }

  #protection(): ProtectionObservation | null {
    const held = this.state.protection
    if (held == null) return null
    if (held.outcome === null) return this.pumpStatus ?? null
    const { side, n, outcome: phase } = held
    return { side, n, ...noFigures, ...this.pumpStatus, phase }
  }

  #processState(): VmProcessState {
    const isStanding = this.machineState === 'incoming' || this.machineState === 'incoming-complete'
    if (this.state.role === 'second' && isStanding) return 'second'
    // Its pump stops it many times a second, and sends from it: it runs all the same.
    if (isHeldPrimary(this.state) && pumpedStates.has(this.machineState)) {
      return this.state.pausedByUser || this.state.outOfSpace ? 'paused' : 'running'
    }
    const isSending = this.state.role === 'outgoing' && this.state.outcome === null
    if (isSending && (this.machineState === 'running' || this.machineState === 'paused')) return 'outgoing'
    return processStates[this.machineState]
  }

  async #usage(): Promise<{ cpuSeconds: number; rssMiB: number }> {
    if (this.machine === undefined || this.machineState === 'gone') return { cpuSeconds: 0, rssMiB: 0 }
    try {
      return await this.machine.usage()
    } catch (err) {
      this.log.debug({ err: describeError(err) }, 'usage cannot be read')
      return { cpuSeconds: 0, rssMiB: 0 }
    }
  }
}
