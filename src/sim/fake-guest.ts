/**
 * A simulated QEMU process: it lives on when the agent that started it dies, and ends when it is killed. Its states and
 * the order of its events are those of the real one; its memory is a number of steps to send.
 */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type {
  IncomingOptions,
  MachineConfig,
  MachineEvent,
  MachineState,
  OutgoingOptions,
  OutgoingResult,
} from '../hypervisor/hypervisor.ts'
import type { FakeWire, WireEnd } from './fake-wire.ts'

export interface FakeGuestHabits {
  /** How long its memory takes to send. */
  readonly transferMs: number
  /** It dirties memory faster than it can be sent: only post-copy or a cancel ends its migration. */
  readonly neverConverges: boolean
  readonly obeysPowerButton: boolean
  /** How long after its start the agent in it answers; never when absent. */
  readonly agentAfterMs?: number
}

/** What a guest knows: which power-on it lives since, and a counter that it raises while its vCPUs run. */
export interface GuestMemory {
  readonly boot: number
  readonly counter: number
}

/** What can be seen of it from outside. */
export interface GuestVitals {
  /** An agent runs in it. */
  readonly hasAgent: boolean
  /** That agent answers: not so once the guest hangs. */
  readonly answers: boolean
  /** It reads and writes its disks. */
  readonly isBusy: boolean
  /** On its serial line. */
  readonly lastWords: string
}

interface Stream {
  isStopped(): boolean
  isBroken(): boolean
}
type MemoryEnd = 'converged' | 'post-copy' | 'cancelled' | 'broken'

const transferSteps = 10
const frozenState = new Set<MachineState>(['prelaunch', 'paused', 'incoming-complete', 'sent'])

export class FakeGuest implements WireEnd {
  readonly host: string
  readonly config: MachineConfig
  readonly pid: number
  readonly #clock: Clock
  readonly #wire: FakeWire<FakeGuest>
  readonly #habits: FakeGuestHabits
  /** Paths of disks that were moved while it ran. */
  readonly movedTo = new Map<number, string>()
  readonly listeners = new Set<(event: MachineEvent) => void>()
  /** How often it was reset. */
  resets = 0
  #state: MachineState
  #incoming: IncomingOptions | undefined
  /** `stop` while incoming: vCPUs stay still when the state is whole. */
  #isHeldByStop = false
  #isCancelled = false
  #vitals: GuestVitals = { hasAgent: false, answers: true, isBusy: true, lastWords: '' }
  #operations = 0
  #settleAsked = Promise.withResolvers<void>()
  #outgoing: Promise<OutgoingResult> | undefined
  #memory: GuestMemory
  #runningSince: number | undefined
  /** Device key → what names the file that it writes to. */
  readonly disks: Map<number, string>

  constructor(
    place: {
      host: string
      pid: number
      clock: Clock
      wire: FakeWire<FakeGuest>
      habits: FakeGuestHabits
      disks?: Map<number, string>
    },
    config: MachineConfig,
    state: 'prelaunch' | 'incoming',
  ) {
    this.host = place.host
    this.pid = place.pid
    this.#clock = place.clock
    this.#wire = place.wire
    this.#habits = place.habits
    this.config = config
    this.disks = place.disks ?? new Map<number, string>()
    this.#state = state
    this.#memory = { boot: state === 'prelaunch' ? this.#wire.nextBoot() : 0, counter: 0 }
  }

  /** Whether the agent in it answers by now. */
  get hasAgent(): boolean {
    const { agentAfterMs } = this.#habits
    return agentAfterMs !== undefined && this.#runningSince !== undefined && this.memory.counter >= agentAfterMs
  }

  /** As it is now. */
  get memory(): GuestMemory {
    const ran = this.#runningSince === undefined ? 0 : this.#clock.monotonic() - this.#runningSince
    return { ...this.#memory, counter: this.#memory.counter + ran }
  }

  get guest(): string {
    return this.config.uuid
  }

  get state(): MachineState {
    return this.#state
  }

  get isAlive(): boolean {
    return this.#state !== 'gone'
  }

  /** SIGKILL, or the end of its host. */
  kill(): void {
    if (!this.isAlive) return
    this.#become('gone')
    for (const listener of [...this.listeners]) listener({ kind: 'gone' })
    this.listeners.clear()
  }

  /** The guest shuts itself down. */
  shutDown(): void {
    if (this.#state !== 'running') return
    this.#become('shutdown')
    this.emit({ kind: 'shutdown', byGuest: true })
  }

  get vitals(): GuestVitals {
    return this.#vitals
  }

  /** How it is from now on; until a reset, which makes it answer again. */
  live(vitals: Partial<GuestVitals>): void {
    this.#vitals = { ...this.#vitals, ...vitals }
  }

  doesAnswer(): boolean {
    return this.#state === 'running' && this.#vitals.hasAgent && this.#vitals.answers
  }

  /** Counted up to now: a busy guest has done more at each asking. */
  operations(): number {
    if (this.#state === 'running' && this.#vitals.isBusy) this.#operations++
    return this.#operations
  }

  /** Its kernel panics, and says so. */
  panic(): void {
    if (this.#state !== 'running') return
    this.#become('panicked')
  }

  /** It begins anew; one that stood still goes on standing still. */
  reset(): void {
    this.#mustBeAlive()
    this.resets++
    this.live({ answers: true, isBusy: true })
    if (this.#state === 'panicked') this.#become('prelaunch')
    this.emit({ kind: 'reset', byGuest: false })
  }

  /** QEMU meets an internal error. */
  fail(): void {
    this.#become('failed')
  }

  /** A write of the guest fails for lack of space. */
  runOutOfSpace(diskKey: number): void {
    this.emit({ kind: 'io-error', diskKey, isNoSpace: true, isWrite: true })
    this.#become('paused')
  }

  resume(): void {
    this.#mustBeAlive()
    if (this.#state === 'running') return
    if (!frozenState.has(this.#state)) throw new HoldfastError('hypervisor-error', `cannot go on from ${this.#state}`)
    this.#become('running')
  }

  pause(): void {
    this.#mustBeAlive()
    if (this.#state === 'incoming') this.#isHeldByStop = true
    if (this.#state === 'running') this.#become('paused')
  }

  pressPowerButton(): void {
    this.#mustBeAlive()
    if (this.#habits.obeysPowerButton) this.#clock.timer(500, () => this.shutDown())
  }

  /** The guest stands still, both files are equal, and it goes on with the new one when `beforeSwitch` has resolved. */
  async moveDisk(key: number, name: string | undefined, beforeSwitch?: () => Promise<void>): Promise<void> {
    this.#mustBeAlive()
    const before = this.#state
    if (before === 'running') this.#become('paused')
    if (name !== undefined) {
      this.#wire.mirrorDisk(this, key, name)
      this.disks.set(key, name)
    }
    await beforeSwitch?.()
    if (before === 'running' && this.#state === 'paused') this.#become('running')
  }

  listen(options: IncomingOptions): number {
    this.#mustBeAlive()
    if (this.#state !== 'incoming') throw new HoldfastError('hypervisor-error', `cannot listen in ${this.#state}`)
    this.#incoming = options
    return this.#wire.listen(this)
  }

  /** A pump gives it the state that it holds, and lets it go. */
  takeUp(memory: GuestMemory, isPaused: boolean): void {
    this.#mustBeAlive()
    if (this.#state !== 'incoming') throw new HoldfastError('hypervisor-error', `cannot take a state in ${this.#state}`)
    this.#memory = memory
    this.#become(isPaused ? 'paused' : 'running')
  }

  migrateOut(options: OutgoingOptions, signal: AbortSignal): Promise<OutgoingResult> {
    this.#mustBeAlive()
    if (this.#state !== 'running' && this.#state !== 'paused') {
      throw new HoldfastError('hypervisor-error', `cannot migrate from ${this.#state}`)
    }
    this.#isCancelled = false
    this.#settleAsked = Promise.withResolvers<void>()
    this.#outgoing = this.#send(options, signal, this.#state)
    return this.#outgoing
  }

  async settleOutgoing(): Promise<OutgoingResult> {
    this.#isCancelled = true
    this.#settleAsked.resolve()
    return this.#outgoing ?? this.#result(this.#state === 'sent' ? 'sent' : 'not-sent', null)
  }

  emit(event: MachineEvent): void {
    for (const listener of [...this.listeners]) listener(event)
  }

  async #send(options: OutgoingOptions, signal: AbortSignal, before: MachineState): Promise<OutgoingResult> {
    const target = this.#wire.find(options.host, options.port)
    await this.#clock.sleep(this.#wire.latencyMs)
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (target === undefined || target.#state !== 'incoming' || !this.#wire.reaches(this.host, target.host)) {
      return this.#result('not-sent', 'connection refused')
    }
    this.#become('outgoing', before === 'running')
    const epoch = this.#wire.epoch(this.host, target.host)
    const stream: Stream = {
      isStopped: () => signal.aborted || this.#isCancelled,
      isBroken: () => this.#wire.epoch(this.host, target.host) !== epoch,
    }
    const end = await this.#sendMemory(options, target, stream)
    if (this.#isGone()) {
      target.#breakOff()
      return this.#result('unknown', 'QEMU is gone')
    }
    if (end === 'post-copy') return this.#postCopy(options, target, stream)
    if (end !== 'converged') return this.#goBack(target, before, end)
    return this.#switchOver(options, target, before, stream)
  }

  async #sendMemory(options: OutgoingOptions, target: FakeGuest, stream: Stream): Promise<MemoryEnd> {
    for (let step = 1; ; step++) {
      await this.#clock.sleep(this.#habits.transferMs / transferSteps)
      if (this.#isGone() || target.#isGone() || stream.isBroken()) return 'broken'
      if (stream.isStopped()) return 'cancelled'
      if (!this.#wire.reaches(this.host, target.host)) continue
      const fraction = Math.min(1, step / transferSteps)
      options.onProgress(progressOf(fraction, 'memory'))
      if (fraction < 1) continue
      if (!this.#habits.neverConverges) return 'converged'
      if (!options.allowPostCopy) continue
      const isPermitted = await this.#orSettled(permission(options))
      if (isPermitted === true && !stream.isStopped()) return 'post-copy'
    }
  }

  async #switchOver(
    options: OutgoingOptions,
    target: FakeGuest,
    before: MachineState,
    stream: Stream,
  ): Promise<OutgoingResult> {
    // With disks the switch is driven from outside: a driver that died leaves QEMU standing before it.
    if (options.nbdPort !== null) await this.#orSettled(Promise.resolve(options.onProgress(progressOf(1, 'switch'))))
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (stream.isStopped() || target.#isGone() || stream.isBroken()) return this.#goBack(target, before, 'cancelled')
    this.#note(false)
    if (options.nbdPort !== null) this.#wire.mirror(this, target)
    if (target.#incoming?.then === 'complete') {
      // Handed to the network; whether it arrives, this side never learns.
      void this.#wire
        .carry(this, target, () => !stream.isBroken())
        .then((hasArrived) => {
          if (hasArrived) target.#complete(this, before)
          else target.#breakOff()
        })
      this.#become('sent')
      return this.#result('sent', null)
    }
    const isWanted = (): boolean => !this.#isGone() && !stream.isStopped() && !stream.isBroken()
    const hasArrived = await this.#wire.carry(this, target, isWanted)
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (!hasArrived) return this.#goBack(target, before, 'broken')
    target.#complete(this, before)
    const isAcknowledged = await this.#wire.carry(target, this, () => !stream.isStopped() && !stream.isBroken())
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    // The return path broke: for this side the migration has failed, and its guest goes on; the other side is held.
    if (!isAcknowledged && stream.isBroken()) return this.#goBack(target, before, 'the return path broke')
    this.#become('sent')
    return this.#result('sent', null)
  }

  async #postCopy(options: OutgoingOptions, target: FakeGuest, stream: Stream): Promise<OutgoingResult> {
    this.#note(false)
    await this.#wire.carry(this, target, () => !this.#isGone() && !stream.isBroken())
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (target.#state === 'incoming' && !stream.isBroken()) {
      target.#takeOver(this)
      target.#become('running')
    }
    options.onProgress(progressOf(1, 'post-copy'))
    await this.#clock.sleep(this.#habits.transferMs)
    const isCut = !this.#wire.reaches(this.host, target.host) || stream.isBroken()
    if (this.#isGone() || target.#isGone() || isCut) {
      if (!target.#isGone()) target.fail()
      if (!this.#isGone()) this.fail()
      return this.#result('unknown', 'the other side was lost in post-copy')
    }
    this.#become('sent')
    return this.#result('sent', null)
  }

  /** What is waited for, or undefined when somebody asks for the end of this migration meanwhile. */
  #orSettled<T>(work: Promise<T>): Promise<T | undefined> {
    return Promise.race([work, this.#settleAsked.promise.then(() => undefined)])
  }

  /** The stream never completed: the guest goes on here, and the target's process ends. */
  #goBack(target: FakeGuest, before: MachineState, reason: string): OutgoingResult {
    this.#become(before)
    target.#breakOff()
    return this.#result('not-sent', reason)
  }

  /** The incoming stream ends before it is whole: QEMU says so and ends. */
  #breakOff(): void {
    if (this.#state !== 'incoming') return
    this.#become('incoming-failed')
    this.kill()
  }

  #complete(source: FakeGuest, sourceState: MachineState): void {
    if (this.#state !== 'incoming') return
    this.#takeOver(source)
    const stays = this.#incoming?.then === 'hold' || this.#isHeldByStop
    if (stays) this.#become('incoming-complete')
    else this.#become(sourceState === 'paused' ? 'paused' : 'running')
  }

  #takeOver(source: FakeGuest): void {
    this.#memory = source.memory
  }

  #result(outcome: OutgoingResult['outcome'], reason: string | null): OutgoingResult {
    return { outcome, reason, totalMs: this.#habits.transferMs, downtimeMs: 3, ramBytes: 1_000_000, diskBytes: 0 }
  }

  #become(state: MachineState, isRunning = state === 'running'): void {
    if (this.#state === 'gone') return
    this.#state = state
    this.#note(isRunning)
    if (state !== 'gone') this.emit({ kind: 'state', state })
  }

  /** vCPUs run from now on, or do no more; only then does the memory change. */
  #note(isRunning: boolean): void {
    if (!isRunning) {
      this.#memory = this.memory
      this.#runningSince = undefined
    } else this.#runningSince ??= this.#clock.monotonic()
    this.#wire.note(this, isRunning)
  }

  /** A method, since it may change at every wait. */
  #isGone(): boolean {
    return this.#state === 'gone'
  }

  #mustBeAlive(): void {
    if (this.#isGone()) throw new HoldfastError('unreachable', 'QEMU is gone')
  }
}

async function permission(options: OutgoingOptions): Promise<boolean> {
  try {
    await options.beforePostCopy()
    return true
  } catch {
    return false
  }
}

function progressOf(
  fraction: number,
  phase: 'memory' | 'switch' | 'post-copy',
): Parameters<OutgoingOptions['onProgress']>[0] {
  const bytes = { doneBytes: Math.round(fraction * 1e6), totalBytes: 1e6, bytesPerSecond: 1e6, dirtyBytesPerSecond: 0 }
  return { phase, fraction, ...bytes, remainingSeconds: 1 - fraction }
}
