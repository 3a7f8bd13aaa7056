/** One simulated pump process: it looks at the other side's and at its guest some times a second. */
import { HoldfastError } from '../base/errors.ts'
import type { VmId } from '../base/ids.ts'
import {
  noFigures,
  type ProtectionConfig,
  type ProtectionObservation,
  type ProtectionSide,
  type PumpPhase,
} from '../contracts/protection.ts'
import { isFinal, type ArbiterChange, type MemoryPhase, type Pump, type PumpMemory } from '../agent/protect/pumps.ts'
import type { FakeGuest, GuestMemory } from './fake-guest.ts'
import type { FakePumps } from './fake-pumps.ts'

const tickMs = 50
const silenceMs = 500
/** One that follows another gives the other side this long to win. */
const patienceMs = 2000

const firstPhases: Record<MemoryPhase, PumpPhase> = {
  ...{ syncing: 'syncing', candidate: 'candidate', bound: 'confirming' },
  ...{ alone: 'alone', lost: 'lost', running: 'running', dropped: 'dropped' },
}

export class FakePump implements Pump {
  readonly side: ProtectionSide
  readonly gone: Promise<void>
  readonly #pumps: FakePumps
  readonly #isSalvage: boolean
  readonly #listeners = new Set<(status: ProtectionObservation) => void>()
  readonly #ended = Promise.withResolvers<void>()
  #memory: PumpMemory
  #status: ProtectionObservation
  #heardAt: number
  #isPaused = false
  isAlive = true
  /** Of a second: the newest state that is safe here. */
  #safe: { memory: GuestMemory; isPaused: boolean } | undefined

  constructor(pumps: FakePumps, memory: PumpMemory, isSalvage: boolean) {
    this.#pumps = pumps
    this.#memory = memory
    this.#isSalvage = isSalvage
    this.side = memory.side
    this.gone = this.#ended.promise
    const { side, config } = memory
    const bound = side === 'second' ? 'following' : 'confirming'
    this.#status = {
      side,
      n: config.n,
      ...noFigures,
      phase: memory.phase === 'bound' ? bound : firstPhases[memory.phase],
    }
    this.#heardAt = pumps.options.clock.monotonic()
  }

  get vm(): VmId {
    return this.#memory.config.vm
  }

  get status(): ProtectionObservation {
    return this.#status
  }

  begin(): void {
    void this.#work()
  }

  onChange(listener: (status: ProtectionObservation) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  async end(): Promise<void> {
    this.#mustBeAlive()
    if (this.#memory.phase === 'syncing') return this.#finish('alone')
    this.#claim()
    if (this.#isAlive()) throw new HoldfastError('unreachable', 'the arbiter does not answer')
  }

  async handOver(): Promise<void> {
    this.#mustBeAlive()
    const second = this.#other()
    if (this.#status.phase !== 'protecting' || second === undefined)
      throw new HoldfastError('wrong-state', 'not in step')
    this.#guest?.pause()
    second.#copy(this.#guest, this.#isPaused)
    this.#turn('confirming')
    second.#claim()
  }

  async setPaused(isPaused: boolean): Promise<void> {
    this.#mustBeAlive()
    this.#isPaused = isPaused
    if (isPaused) this.#guest?.pause()
    else this.#guest?.resume()
  }

  async changeArbiter({ next: n, arbiter: { arbiter, ...at }, old }: ArbiterChange): Promise<void> {
    this.#mustBeAlive()
    const { config, lastN } = this.#memory
    if (config.n === n) return
    const other = this.#other()
    const isInStep = this.#status.phase === 'protecting' && other !== undefined
    if (n <= lastN || !isInStep) throw new HoldfastError('wrong-state', 'it cannot be changed now')
    const next = { ...config, n, arbiter, at }
    const { pairs } = this.#pumps.options
    const steps =
      old === 'asked'
        ? [() => pairs.open(next), () => pairs.supersede(config, next)?.is === 'superseded', () => this.#adopt(next)]
        : [() => other.#adopt(next), () => this.#adopt(next), () => pairs.open(next)]
    if (old === 'asked') steps.push(() => other.#adopt(next))
    this.#memory = { ...this.#memory, lastN: n }
    this.#pumps.remember(this.#memory)
    for (const step of steps) {
      if (!step()) throw new HoldfastError('wrong-state', 'who decides did not step back')
      await this.#pumps.options.clock.sleep(3)
      this.#mustBeAlive()
    }
  }

  /** Durably: it never asks about the configuration before. */
  #adopt(config: ProtectionConfig): boolean {
    if (!this.isAlive || isFinal(this.#memory.phase)) return false
    this.#memory = { ...this.#memory, config, lastN: Math.max(this.#memory.lastN, config.n) }
    this.#pumps.remember(this.#memory)
    this.#status = { ...this.#status, n: config.n }
    this.#turn(this.#status.phase)
    return true
  }

  async drop(): Promise<void> {
    this.#mustBeAlive()
    if (this.#status.phase === 'claiming') throw new HoldfastError('wrong-state', 'it asks to run')
    this.#finish('dropped')
  }

  /** SIGKILL: what it has made durable stays. */
  kill(): void {
    if (!this.isAlive) return
    this.isAlive = false
    // What the guest says is held from then on: to the outside it stands still.
    if (this.side === 'primary' && this.#memory.phase === 'bound') this.#guest?.pause()
    this.#listeners.clear()
    this.#ended.resolve()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear()
  }

  get #guest(): FakeGuest | undefined {
    return this.#pumps.options.hypervisor.guest(this.vm)
  }

  /** The other side's process, where it speaks with this one. */
  #other(): FakePump | undefined {
    const { wire, pairs, host } = this.#pumps.options
    const { config } = this.#memory
    const theirs = pairs.hosts.get(config.primary === host ? config.second : config.primary)
    const process = theirs?.process(this.vm)
    if (theirs === undefined || process === undefined || process.#isSalvage || this.#isSalvage) return undefined
    const [here, there] = [this.#pumps.options.hypervisor.host, theirs.options.hypervisor.host]
    return wire.reaches(here, there) && wire.reaches(there, here) ? process : undefined
  }

  async #work(): Promise<void> {
    const { clock } = this.#pumps.options
    for (;;) {
      await clock.sleep(tickMs)
      if (!this.#isAlive()) return
      if (this.#isSalvage) this.#salvage()
      else if (this.side === 'primary') this.#pump()
      else this.#follow()
    }
  }

  #pump(): void {
    const guest = this.#guest
    const other = this.#other()
    const { phase } = this.#status
    if (phase === 'claiming') return this.#claim()
    if (phase === 'syncing') return this.#sync(other)
    // Without its guest it says nothing any more, and lets the second win.
    const isSilent = guest === undefined || phase === 'confirming'
    if (isSilent) return this.#yield()
    if (other !== undefined && other.#memory.phase === 'bound' && other.#status.phase === 'following') {
      this.#heardAt = this.#now()
      other.#copy(guest, this.#isPaused)
      if (guest.state === 'running') {
        guest.pause()
        guest.resume()
      }
      this.#status = { ...this.#status, epoch: this.#status.epoch + 1 }
      return
    }
    if (this.#now() - this.#heardAt > silenceMs) this.#claim()
  }

  #sync(other: FakePump | undefined): void {
    if (other === undefined) return this.#finish('alone', 'the second does not answer')
    const progress = Math.min(1, this.#status.progress + tickMs / this.#pumps.syncMs)
    this.#status = { ...this.#status, progress }
    if (progress < 1) return this.#turn('syncing')
    if (!this.#pumps.options.pairs.open(this.#memory.config)) return
    this.#keep('bound')
    other.#keep('bound')
    other.#copy(this.#guest, this.#isPaused)
    other.#turn('following')
    this.#heardAt = this.#now()
    this.#turn('protecting')
  }

  #follow(): void {
    const { phase } = this.#status
    const other = this.#other()
    if (this.#guest === undefined) return this.#finish('dropped', 'its QEMU is gone')
    if (phase === 'claiming') return this.#claim()
    const hears = other !== undefined && other.#guest !== undefined && other.#status.phase !== 'claiming'
    if (hears) this.#heardAt = this.#now()
    const isLate = this.#now() - this.#heardAt > silenceMs
    if (phase === 'following' && isLate) this.#claim()
    if (phase === 'candidate' && isLate && other === undefined && this.#safe !== undefined) this.#finish('dropped')
  }

  /** Follows another of this side: holds nothing, and finds out who may go on. */
  #salvage(): void {
    if (this.#memory.phase === 'syncing') return this.#finish('alone', 'its pump ended before it protected')
    if (this.#memory.phase === 'candidate') return this.#finish('dropped', 'its pump ended before it was bound')
    if (this.side === 'primary') return this.#claim()
    this.#yield()
  }

  #yield(): void {
    const { pairs } = this.#pumps.options
    const answer = pairs.ask('look', this.#memory.config, this.side)
    const isLate = this.#now() - this.#heardAt > patienceMs
    if (answer?.is === 'lost' || (answer?.is === 'open' && isLate)) this.#claim()
  }

  #claim(): void {
    this.#turn('claiming')
    if (this.side === 'primary' && this.#guest?.state === 'running') this.#guest.pause()
    const answer = this.#pumps.options.pairs.ask('claim', this.#memory.config, this.side)
    if (answer === undefined) return
    if (answer.is === 'superseded') this.#adopt(answer.next)
    if (answer.is === 'won') this.#finish(this.side === 'primary' ? 'alone' : 'running')
    if (answer.is === 'lost') this.#finish(this.side === 'primary' ? 'lost' : 'dropped')
  }

  #finish(phase: 'alone' | 'lost' | 'running' | 'dropped', reason: string | null = null): void {
    const guest = this.#guest
    this.#keep(phase, reason)
    if (phase === 'alone' && !this.#isPaused && guest?.state === 'paused') guest.resume()
    if (phase === 'lost') guest?.kill()
    if (phase === 'running') {
      const safe = this.#safe ?? { memory: { boot: 0, counter: 0 }, isPaused: false }
      guest?.takeUp(safe.memory, safe.isPaused)
    }
    this.#status = { ...this.#status, problem: reason }
    this.#turn(phase)
    this.kill()
  }

  #copy(guest: FakeGuest | undefined, isPaused: boolean): void {
    if (guest !== undefined) this.#safe = { memory: guest.memory, isPaused }
  }

  #keep(phase: MemoryPhase, reason: string | null = null): void {
    if (isFinal(this.#memory.phase)) return
    this.#memory = { ...this.#memory, phase, reason }
    this.#pumps.remember(this.#memory)
  }

  #turn(phase: PumpPhase): void {
    this.#status = { ...this.#status, phase }
    for (const listener of [...this.#listeners]) listener(this.#status)
  }

  #now(): number {
    return this.#pumps.options.clock.monotonic()
  }

  /** A method, since it may change at every wait. */
  #isAlive(): boolean {
    return this.isAlive
  }

  #mustBeAlive(): void {
    if (!this.isAlive) throw new HoldfastError('unreachable', 'the pump has ended')
  }
}
