/**
 * The primary's pump of one protected VM, from its first copy to its end.
 *
 *   syncing ──the second has everything──▶ bound ──▶ alone   the arbiter has given it this VM: nothing is held any more
 *      ╰──────────anything fails──────────▶ alone ╰─▶ lost    the second has it: QEMU here is killed
 *
 * Who may go on is decided by primary-side.ts. A guest whose QEMU has ended, and one that is handed over, asks for nothing
 * for a while: the second is told to take it over.
 */
import type { Duplex } from 'node:stream'
import { describeError, HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import type { Processes } from '../../../base/processes.ts'
import type { ArbiterApi, ProtectionConfig, ProtectionObservation, PumpPhase } from '../../../contracts/protection.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import { newPrimary, type PrimaryState } from '../primary-side.ts'
import type { ArbiterChange, MemoryPhase, PrimaryOrder } from '../pumps.ts'
import { changeArbiter } from './arbiter-change.ts'
import { Bell } from './bell.ts'
import { bringInStep } from './bring-in-step.ts'
import type { ClockLag } from './clock-lag.ts'
import { EpochLoop } from './epoch-loop.ts'
import type { LinkName } from './links.ts'
import type { PumpMemoryFile } from './memory-file.ts'
import type { DiskCopy } from './primary-disks.ts'
import type { PrimaryGuest } from './primary-guest.ts'
import { PrimaryLinks } from './primary-links.ts'
import { PrimaryProtocol } from './primary-protocol.ts'
import { doesAnswer, type GuestPorts } from './qemu-of-vm.ts'
import { TakenEpochs } from './taken-epochs.ts'
import { within } from './within.ts'
import type { Word } from './words.ts'

export interface PrimaryDeps extends GuestPorts {
  readonly log: Logger
  readonly processes: Processes
  readonly memory: PumpMemoryFile
  readonly guestClock: ClockLag
  arbiter(config: ProtectionConfig): ArbiterApi
  connect(link: LinkName, signal: AbortSignal): Promise<Duplex>
  /** Something that `status` tells has changed. */
  onStatus(): void
}

/** Who hands over, or whose QEMU has ended, waits so long for the second to take it before it asks for itself. */
const patienceMs = 10_000
/** The second may take so long to say that it has everything. */
const readyMs = 30_000

export class PrimaryPump {
  readonly #deps: PrimaryDeps
  readonly #order: PrimaryOrder
  readonly #record: MachineRecord
  readonly #guest: PrimaryGuest
  readonly #disks: DiskCopy
  readonly #links: PrimaryLinks
  readonly #taken: TakenEpochs
  readonly #clock: ClockLag
  readonly #bell: Bell
  readonly #end = Promise.withResolvers<MemoryPhase>()
  readonly #syncing = new AbortController()
  readonly #ready = Promise.withResolvers<void>()
  readonly #acked = Promise.withResolvers<void>()
  #protocol: PrimaryProtocol | undefined
  #phase: PumpPhase = 'syncing'
  #progress = 0
  #copyRate = 0
  #reason: string | null = null
  #claimingSince: number | undefined
  /** The guest was stopped, since nobody can be asked who may go on. */
  #isStopped = false
  #handOver: PromiseWithResolvers<void> | undefined
  /** Until then the second is to take over, and this side asks for nothing. */
  #yieldsUntil: number | undefined
  #lookedAt = 0
  /** Takes epochs until the pair is bound no more. */
  #loop: Promise<void> = Promise.resolve()
  #epochLoop: EpochLoop | undefined

  constructor(deps: PrimaryDeps, order: PrimaryOrder, record: MachineRecord, guest: PrimaryGuest, disks: DiskCopy) {
    this.#deps = deps
    this.#order = order
    this.#record = record
    this.#guest = guest
    this.#disks = disks
    this.#bell = new Bell(deps.clock)
    this.#clock = deps.guestClock
    this.#taken = new TakenEpochs(deps.clock, deps.guestClock)
    for (const { promise } of [this.#ready, this.#acked]) promise.catch(() => undefined)
    const { vm, config } = order
    this.#links = new PrimaryLinks(
      deps,
      { vm, n: config.n },
      {
        onWord: (word) => this.#hear(word),
        onEnd: (link, isLast) => {
          // Before the pair is bound nothing is sent twice, so one connection is as good as both.
          if (isLast || this.#protocol === undefined) this.#secondGone(`its connection ${link} has ended`)
        },
      },
    )
    guest.qmp.closed.then(
      () => this.#guestGone(),
      () => undefined,
    )
  }

  get status(): ProtectionObservation {
    const state = this.#protocol?.state
    const isSyncing = this.#phase === 'syncing'
    const { figures, lagMs } = this.#taken
    return {
      ...{ side: 'primary', n: state?.config.n ?? this.#order.config.n, phase: this.#phase, epoch: state?.cut ?? 0 },
      ...{ lagMs, pauseMs: figures.pauseMs, epochMs: figures.epochMs, heldBack: figures.heldBack },
      bytesPerSecond: isSyncing ? this.#copyRate : figures.bytesPerSecond,
      ...{ progress: isSyncing ? this.#progress : 1, problem: this.#reason },
      clock: this.#clock.seen(this.#deps.clock.monotonic()),
    }
  }

  /** Resolves with how it ended, when all that follows from that was done. */
  async run(): Promise<MemoryPhase> {
    try {
      await this.#synchronize()
    } catch (err) {
      this.#deps.log.warn({ err: describeError(err) }, 'the VM was not brought in step with its second host')
      this.#reason ??= describeError(err)
      if (this.#protocol === undefined) this.#end.resolve('alone')
      else this.#claim(describeError(err))
    }
    if (this.#protocol !== undefined) {
      void this.#beat()
      this.#epochLoop = this.#newLoop(this.#protocol)
      this.#loop = this.#epochs(this.#epochLoop).catch((err: unknown) => this.#broken(err))
    }
    const end = await this.#end.promise
    await this.#finish(end)
    return end
  }

  /**
   * The primary wins its configuration and goes on alone; `run` tells when it has. Throws `unreachable` while the arbiter
   * cannot be asked, `wrong-state` when it has lost its memory of the pair: who asked it for the VM would stand still.
   */
  async end(): Promise<void> {
    if (this.#protocol === undefined) {
      this.#syncing.abort(new HoldfastError('cancelled', 'protection was called off'))
      return
    }
    const { is } = await this.#protocol.look()
    if (is === 'unknown') {
      const { arbiter, n } = this.#protocol.state.config
      throw new HoldfastError(
        'wrong-state',
        `${arbiter} decides about configuration ${n}, and has lost its memory of it`,
        {
          mend: 'The VM is held in step as before. See docs/runbooks/protection-stuck.md.',
        },
      )
    }
    await this.#protocol.input({ is: 'peer-gone' })
  }

  /** Stops the guest, sends all that it was, and lets the second run it. Resolves when the second has everything. */
  async handOver(): Promise<void> {
    if (this.#protocol?.state.phase !== 'protecting') {
      throw new HoldfastError('wrong-state', 'the VM is not in step at this moment', { mend: 'Try again in a moment.' })
    }
    this.#handOver ??= Promise.withResolvers()
    this.#bell.ring()
    await this.#handOver.promise
  }

  async setPaused(isPaused: boolean): Promise<void> {
    this.#guest.isPaused = isPaused
    await (isPaused ? this.#guest.stop() : this.#guest.goOn())
    this.#bell.ring()
  }

  changeArbiter(change: ArbiterChange): Promise<void> {
    return changeArbiter(this.#deps, this.#protocol, change)
  }

  async #synchronize(): Promise<void> {
    const { clock } = this.#deps
    const { config } = this.#order
    await this.#remember('syncing', config, config.n)
    const parts = { clock, config, guest: this.#guest, disks: this.#disks, links: this.#links }
    await bringInStep(
      {
        ...{ ...parts, arbiter: this.#deps.arbiter(config) },
        ready: () => this.#within(this.#ready.promise, 'the second host did not get ready'),
        onProgress: (progress, bytesPerSecond) => this.#tellCopy(progress, bytesPerSecond),
      },
      this.#syncing.signal,
    )
    await this.#firstEpoch()
  }

  /** From here on the guest's output is held. Once the second has this epoch it may be bound to the pair. */
  async #firstEpoch(): Promise<void> {
    const { config, settings } = this.#order
    const { clock } = this.#deps
    const first = await this.#guest.cut(1, { begin: true })
    await this.#taken.keep(config.n, 1, first, { sentBytes: this.#links.sentBytes, heldBackMs: 0 })
    await this.#ship()
    await this.#within(this.#acked.promise, 'the second host did not take the first epoch')
    this.#syncing.signal.throwIfAborted()
    await this.#remember('bound', config, config.n)
    this.#protocol = new PrimaryProtocol(
      {
        ...{ clock, log: this.#deps.log, arbiter: (of) => this.#deps.arbiter(of) },
        limits: { silenceMs: settings.silenceMs, askAgainMs: settings.silenceMs },
        save: (next, lastN) => this.#remember('bound', next, lastN),
        say: (word) => this.#links.say(word),
        ship: () => void this.#ship(),
        release: (through) => this.#taken.release(through, this.#guest),
        kill: () => this.#kill(),
        onPhase: (state) => this.#onPhase(state),
      },
      newPrimary(config, 1, clock.monotonic()),
    )
    this.#phase = 'protecting'
    this.#links.say({ is: 'beat', n: config.n })
    await this.#protocol.input({ is: 'ack', n: config.n, epoch: 1 })
    if (this.#syncing.signal.aborted) await this.#protocol.input({ is: 'peer-gone' })
    this.#deps.onStatus()
  }

  #tellCopy(progress: number, bytesPerSecond: number): void {
    this.#progress = Math.max(this.#progress, Math.min(1, progress))
    this.#copyRate = bytesPerSecond
    this.#deps.onStatus()
  }

  #within(promise: Promise<void>, what: string): Promise<void> {
    return within(this.#deps.clock, promise, readyMs, what, this.#syncing.signal)
  }

  /** Takes epochs for as long as the pair is bound. */
  async #epochs(epochs: EpochLoop): Promise<void> {
    const end = await epochs.run()
    if (typeof end === 'object') this.#claim(`the guest ${end.guest}`)
    if (end !== 'last') return
    this.#yield()
    this.#handOver?.resolve()
  }

  #newLoop(protocol: PrimaryProtocol): EpochLoop {
    const { clock } = this.#deps
    const parts = { guest: this.#guest, disks: this.#disks, taken: this.#taken, links: this.#links, bell: this.#bell }
    return new EpochLoop({
      ...{ clock, ...parts, protocol, settings: this.#order.settings },
      wantsLast: () => this.#handOver !== undefined || this.#guest.hasDiskFailed,
      isOver: () => this.#yieldsUntil !== undefined,
    })
  }

  /** Sends the newest epoch; lost where there is no connection, and sent again when there is one. */
  async #ship(): Promise<void> {
    await this.#links.send('epoch', this.#taken.parts)
  }

  /** Lets the second take over: this side asks for nothing for a while. */
  #yield(): void {
    this.#yieldsUntil ??= this.#deps.clock.monotonic() + patienceMs
    this.#links.say({ is: 'take-over', n: this.#mustProtocol().state.config.n })
    this.#bell.ring()
  }

  #standsStuck(): void {
    this.#deps.log.warn({}, 'QEMU does not stop the guest for an epoch: its storage may hang; the second is to go on')
    this.#yield()
  }

  #guestGone(): void {
    this.#deps.log.warn({}, 'QEMU has ended, or does not speak any more')
    if (this.#protocol === undefined) this.#syncing.abort(new HoldfastError('unreachable', 'QEMU has ended'))
    else this.#yield()
  }

  #secondGone(why: string): void {
    if (this.#protocol === undefined) {
      this.#syncing.abort(new HoldfastError('unreachable', `the second host is gone: ${why}`))
    } else if (this.#yieldsUntil === undefined) this.#claim(`the second host is gone: ${why}`)
  }

  #claim(reason: string): void {
    this.#reason ??= reason
    this.#protocol?.input({ is: 'peer-gone' }).catch(() => undefined)
  }

  /** An epoch could not be taken. Without a QEMU that answers the second goes on; with it, this side does, unprotected. */
  async #broken(err: unknown): Promise<void> {
    this.#deps.log.error({ err: describeError(err) }, 'an epoch could not be taken')
    // One that has just ended may not have closed its connection yet.
    const isThere = await doesAnswer(this.#deps.clock, this.#guest.qmp)
    if (isThere) this.#claim(`an epoch could not be taken: ${describeError(err)}`)
    else this.#yield()
  }

  #hear(word: Word): void {
    const protocol = this.#protocol
    switch (word.is) {
      case 'ready':
        return this.#ready.resolve()
      case 'refused':
        this.#ready.reject(new HoldfastError('refused', `the second host cannot: ${word.why}`))
        return this.#secondGone(word.why)
      case 'ack':
        if (protocol === undefined) return this.#acked.resolve()
        this.#taken.acknowledged(word.epoch)
        protocol.input(word).then(
          () => this.#bell.ring(),
          () => undefined,
        )
        return
      case 'beat':
      case 'configured':
        protocol?.input(word).catch(() => undefined)
        return
      default:
    }
  }

  /** The words of life, and all that is looked after as regularly. */
  async #beat(): Promise<void> {
    const { clock, log } = this.#deps
    while (this.#phase !== 'alone' && this.#phase !== 'lost') {
      await clock.sleep(this.#order.settings.beatMs)
      // What has come while this process itself stood still is heard before anybody is said to be silent.
      await clock.sleep(0)
      await this.#tick().catch((err: unknown) => log.warn({ err: describeError(err) }, 'a beat failed'))
    }
  }

  async #tick(): Promise<void> {
    const protocol = this.#mustProtocol()
    const now = this.#deps.clock.monotonic()
    this.#deps.onStatus()
    if (this.#yieldsUntil !== undefined) {
      // It asks once, and then again as often as whoever claims does.
      const isClaiming = protocol.state.phase === 'claiming'
      if (now > this.#yieldsUntil) return await protocol.input({ is: isClaiming ? 'tick' : 'peer-gone' })
      this.#links.say({ is: 'take-over', n: protocol.state.config.n })
      if (now - this.#lookedAt < this.#order.settings.silenceMs) return
      this.#lookedAt = now
      await protocol.look().catch(() => undefined)
      return
    }
    if (this.#epochLoop?.isStandingStuck) return this.#standsStuck()
    if (this.#epochLoop?.isStuck) return this.#claim('the second host does not take epochs, although it lives')
    await protocol.input({ is: 'tick' })
    await this.#reconnect()
    const isLong = this.#claimingSince !== undefined && now - this.#claimingSince > 2 * this.#order.settings.silenceMs
    if (!isLong || this.#isStopped) return
    this.#isStopped = true
    this.#reason = 'nobody can be asked who may go on: the guest stands still until its arbiter answers'
    await this.#guest.stop()
  }

  async #reconnect(): Promise<void> {
    const phase = this.#protocol?.state.phase
    if (phase !== 'protecting' && phase !== 'confirming') return
    const made = await this.#links.reconnect()
    const { acked, cut } = this.#mustProtocol().state
    if (made.includes('data') && acked < cut) void this.#ship()
  }

  #onPhase({ phase }: PrimaryState): void {
    this.#deps.log.info({ phase }, 'the primary is in another phase')
    this.#phase = phase
    this.#claimingSince = phase === 'claiming' ? (this.#claimingSince ?? this.#deps.clock.monotonic()) : undefined
    this.#bell.ring()
    this.#deps.onStatus()
    if (phase === 'alone' || phase === 'lost') this.#end.resolve(phase)
  }

  #kill(): void {
    this.#deps.log.warn({}, 'the second host runs the VM now: the copy here is ended')
    void this.#deps.processes.signal(this.#record.process, 'SIGKILL')
  }

  async #finish(end: MemoryPhase): Promise<void> {
    const { processes } = this.#deps
    const config = this.#protocol?.state.config ?? this.#order.config
    this.#phase = end === 'alone' ? 'alone' : 'lost'
    this.#handOver?.resolve()
    if (end === 'lost') {
      await processes.signal(this.#record.process, 'SIGKILL')
      await processes.waitGone(this.#record.process)
    } else {
      // What waits goes first, in its order, and with it what an epoch that is just being taken has in its hands.
      await this.#loop
      this.#taken.release(Infinity, this.#guest)
      this.#guest.letAllOut()
      this.#links.say({ is: 'over', n: config.n })
    }
    await this.#remember(end, config, this.#protocol?.state.lastN ?? config.n)
    if (end === 'alone') {
      if (this.#isStopped || this.#epochLoop?.isStill) await this.#guest.goOn().catch(() => undefined)
      await this.#guest[Symbol.asyncDispose]()
    }
    await this.#protocol?.close()
    this.#links.end()
    this.#deps.onStatus()
  }

  async #remember(phase: MemoryPhase, config: ProtectionConfig, lastN: number): Promise<void> {
    const { arbiter } = this.#order
    const reason = this.#reason
    await this.#deps.memory.write({ v: 1, side: 'primary', phase, config, arbiter, lastN, reason })
  }

  #mustProtocol(): PrimaryProtocol {
    if (this.#protocol !== undefined) return this.#protocol
    throw new HoldfastError('internal', 'the pair is not bound yet')
  }
}
