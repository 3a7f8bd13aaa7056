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
}

const transferSteps = 10
const frozenState = new Set<MachineState>(['prelaunch', 'paused', 'incoming-complete', 'sent'])

export class FakeGuest implements WireEnd {
  readonly host: string
  readonly config: MachineConfig
  readonly pid: number
  readonly #clock: Clock
  readonly #wire: FakeWire<FakeGuest>
  readonly #habits: FakeGuestHabits
  readonly listeners = new Set<(event: MachineEvent) => void>()
  #state: MachineState
  #incoming: IncomingOptions | undefined
  /** `stop` while incoming: vCPUs stay still when the state is whole. */
  #isHeldByStop = false
  #isCancelled = false
  #outgoing: Promise<OutgoingResult> | undefined

  constructor(
    place: { host: string; pid: number; clock: Clock; wire: FakeWire<FakeGuest>; habits: FakeGuestHabits },
    config: MachineConfig,
    state: 'prelaunch' | 'incoming',
  ) {
    this.host = place.host
    this.pid = place.pid
    this.#clock = place.clock
    this.#wire = place.wire
    this.#habits = place.habits
    this.config = config
    this.#state = state
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

  listen(options: IncomingOptions): number {
    this.#mustBeAlive()
    if (this.#state !== 'incoming') throw new HoldfastError('hypervisor-error', `cannot listen in ${this.#state}`)
    this.#incoming = options
    return this.#wire.listen(this)
  }

  migrateOut(options: OutgoingOptions, signal: AbortSignal): Promise<OutgoingResult> {
    this.#mustBeAlive()
    if (this.#state !== 'running' && this.#state !== 'paused') {
      throw new HoldfastError('hypervisor-error', `cannot migrate from ${this.#state}`)
    }
    this.#isCancelled = false
    this.#outgoing = this.#send(options, signal, this.#state)
    return this.#outgoing
  }

  async settleOutgoing(): Promise<OutgoingResult> {
    this.#isCancelled = true
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
    const isStopped = (): boolean => signal.aborted || this.#isCancelled
    const end = await this.#sendMemory(options, target, isStopped)
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (end === 'post-copy') return this.#postCopy(options, target)
    if (end !== 'converged') return this.#goBack(target, before, end)
    return this.#switchOver(options, target, before, isStopped)
  }

  async #sendMemory(
    options: OutgoingOptions,
    target: FakeGuest,
    isStopped: () => boolean,
  ): Promise<'converged' | 'post-copy' | 'cancelled' | 'broken'> {
    for (let step = 1; ; step++) {
      await this.#clock.sleep(this.#habits.transferMs / transferSteps)
      if (this.#isGone()) return 'broken'
      if (isStopped()) return 'cancelled'
      if (target.#isGone()) return 'broken'
      if (!this.#wire.reaches(this.host, target.host)) continue
      const fraction = Math.min(1, step / transferSteps)
      options.onProgress(progressOf(fraction, 'memory'))
      if (fraction < 1) continue
      if (!this.#habits.neverConverges) return 'converged'
      if (options.allowPostCopy && (await isPermitted(options))) return 'post-copy'
    }
  }

  async #switchOver(
    options: OutgoingOptions,
    target: FakeGuest,
    before: MachineState,
    isStopped: () => boolean,
  ): Promise<OutgoingResult> {
    // With disks the switch is driven from outside: a driver that died leaves QEMU standing before it.
    if (options.nbdPort !== null) await Promise.resolve(options.onProgress(progressOf(1, 'switch')))
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (isStopped() || target.#isGone()) return this.#goBack(target, before, 'cancelled')
    this.#wire.note(this, false)
    if (target.#incoming?.then === 'complete') {
      // Handed to the network; whether it arrives, this side never learns.
      void this.#wire
        .carry(this, target, () => true)
        .then((hasArrived) => {
          if (hasArrived) target.#complete(before)
        })
      this.#become('sent')
      return this.#result('sent', null)
    }
    const hasArrived = await this.#wire.carry(this, target, () => !this.#isGone() && !isStopped())
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (!hasArrived) return this.#goBack(target, before, 'broken')
    target.#complete(before)
    await this.#wire.carry(target, this, () => !isStopped())
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    this.#become('sent')
    return this.#result('sent', null)
  }

  async #postCopy(options: OutgoingOptions, target: FakeGuest): Promise<OutgoingResult> {
    this.#wire.note(this, false)
    await this.#wire.carry(this, target, () => !this.#isGone())
    if (this.#isGone()) return this.#result('unknown', 'QEMU is gone')
    if (target.#state === 'incoming') target.#become('running')
    options.onProgress(progressOf(1, 'post-copy'))
    await this.#clock.sleep(this.#habits.transferMs)
    if (this.#isGone() || target.#isGone() || !this.#wire.reaches(this.host, target.host)) {
      if (!target.#isGone()) target.fail()
      if (!this.#isGone()) this.fail()
      return this.#result('unknown', 'the other side was lost in post-copy')
    }
    this.#become('sent')
    return this.#result('sent', null)
  }

  /** The stream never completed: the guest goes on here, and the target's process ends. */
  #goBack(target: FakeGuest, before: MachineState, reason: string): OutgoingResult {
    this.#become(before)
    if (!target.#isGone() && target.#state === 'incoming') {
      target.#become('incoming-failed')
      target.kill()
    }
    return this.#result('not-sent', reason)
  }

  #complete(sourceState: MachineState): void {
    if (this.#state !== 'incoming') return
    const stays = this.#incoming?.then === 'hold' || this.#isHeldByStop
    if (stays) this.#become('incoming-complete')
    else this.#become(sourceState === 'paused' ? 'paused' : 'running')
  }

  #result(outcome: OutgoingResult['outcome'], reason: string | null): OutgoingResult {
    return { outcome, reason, totalMs: this.#habits.transferMs, downtimeMs: 3, ramBytes: 1_000_000, diskBytes: 0 }
  }

  #become(state: MachineState, isRunning = state === 'running'): void {
    if (this.#state === 'gone') return
    this.#state = state
    this.#wire.note(this, isRunning)
    if (state !== 'gone') this.emit({ kind: 'state', state })
  }

  /** A method, since it may change at every wait. */
  #isGone(): boolean {
    return this.#state === 'gone'
  }

  #mustBeAlive(): void {
    if (this.#isGone()) throw new HoldfastError('unreachable', 'QEMU is gone')
  }
}

async function isPermitted(options: OutgoingOptions): Promise<boolean> {
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
