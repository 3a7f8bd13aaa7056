/**
 * The second's pump of one protected VM. It keeps an epoch beside the copy until all of it is here, says so, and only then
 * puts it in place. When it has won, it loads the newest whole epoch and lets the guest run.
 *
 *   candidate ──the primary is bound──▶ bound ──▶ running   the arbiter has given it this VM
 *        ╰─────────given up─────────────▶ dropped ◀─╯        the primary goes on, or never was bound
 */
import type { Duplex } from 'node:stream'
import { describeError, HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import type { Processes } from '../../../base/processes.ts'
import type { ArbiterApi, ProtectionConfig, ProtectionObservation, PumpPhase } from '../../../contracts/protection.ts'
import type { Qmp } from '../../../hypervisor/qmp.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import { SerialQueue } from '../../../base/serial-queue.ts'
import type { MemoryPhase, SecondOrder } from '../pumps.ts'
import { newSecond, stepSecond, type SecondAct, type SecondInput, type SecondState } from '../second-side.ts'
import { writeClockFile } from './clock-file.ts'
import { takenOver } from './clock-takeover.ts'
import { decodeEpoch, decodeRanges, type Epoch } from './epoch.ts'
import { Figures } from './figures.ts'
import { frameKinds } from './frames.ts'
import { Links, type LinkName, type WholeFrame } from './links.ts'
import type { PumpMemoryFile } from './memory-file.ts'
import { lengthOf, splitAt, together } from './pieces.ts'
import type { GuestPorts } from './qemu-of-vm.ts'
import type { SecondDisks } from './second-disks.ts'
import { freeBytes, Scratch } from './scratch.ts'
import { SecondGuest } from './second-guest.ts'
import { wordsVersion, type Word } from './words.ts'

export interface SecondDeps extends GuestPorts {
  readonly log: Logger
  readonly processes: Processes
  readonly memory: PumpMemoryFile
  arbiter(config: ProtectionConfig): ArbiterApi
  onStatus(): void
}

/** A candidate that nobody speaks to any more gives up by itself. */
const abandonedMs = 60_000
/** Memory of guests is at most some terabytes; what says that it is more is garbage. */
const mostBytes = 2 ** 32 - 1

export class SecondPump {
  readonly #deps: SecondDeps
  readonly #order: SecondOrder
  readonly #record: MachineRecord
  readonly #qmp: Qmp
  readonly #disks: SecondDisks
  readonly #links: Links
  readonly #queue = new SerialQueue()
  /** Of the epoch that is being taken. */
  readonly #room = new Scratch()
  readonly #figures = new Figures()
  readonly #end = Promise.withResolvers<MemoryPhase>()
  #guest: SecondGuest | undefined
  #state: SecondState | undefined
  /** Of the newest epoch that is in place: what it takes to run it. */
  #newest: Pick<Epoch, 'epoch' | 'devices' | 'isPaused' | 'clock'> | undefined
  #phase: PumpPhase = 'candidate'
  #receivedBytes = 0
  #safeAt: number | null = null
  #reason: string | null = null
  /** Whom it asks to run knows nothing of the pair. */
  #isForgotten = false
  #heardAt: number

  constructor(deps: SecondDeps, order: SecondOrder, record: MachineRecord, qmp: Qmp, disks: SecondDisks) {
    this.#deps = deps
    this.#order = order
    this.#record = record
    this.#qmp = qmp
    this.#disks = disks
    this.#heardAt = deps.clock.monotonic()
    this.#end.promise.catch(() => undefined)
    this.#links = new Links(deps, mostBytes, {
      onWord: (word, link) => this.#hear(word, link),
      onFrame: (frame) => this.#take(frame),
      onEnd: (_link, isLast) => isLast && this.#input({ is: 'peer-gone' }),
    })
    qmp.closed.then(
      () => this.#giveUp('QEMU has ended here'),
      () => undefined,
    )
  }

  get status(): ProtectionObservation {
    return {
      ...{ side: 'second', n: this.#config.n, phase: this.#phase, epoch: this.#state?.acked ?? 0 },
      lagMs: this.#sinceSafe === null ? null : Math.round(this.#sinceSafe),
      ...{ pauseMs: null, epochMs: this.#figures.epochMs, heldBack: 0, bytesPerSecond: this.#figures.bytesPerSecond },
      ...{ progress: this.#state === undefined ? 0 : 1, problem: this.#reason },
    }
  }

  /** Takes a connection of the primary in. */
  accept(link: LinkName, stream: Duplex): void {
    this.#links.add(link, stream)
  }

  /** Resolves with how it ended, when all that follows from that was done. */
  async run(): Promise<MemoryPhase> {
    await this.#remember('candidate')
    void this.#beat()
    const end = await this.#end.promise
    this.#phase = end === 'running' ? 'running' : 'dropped'
    await this.#queue.close()
    if (end === 'dropped') {
      await this.#remember('dropped')
      this.#links[Symbol.dispose]()
      await this.#disks.close().catch(() => undefined)
    }
    await this.#guest?.[Symbol.asyncDispose]()
    this.#links.end()
    this.#deps.onStatus()
    return end
  }

  /**
   * Gives the copy up; one that is given up already is. Throws `wrong-state` when it asks an arbiter that may say yes, or
   * runs.
   */
  async drop(): Promise<void> {
    const work = this.#queue.run(() => {
      const phase = this.#state?.phase
      if ((phase === 'claiming' && !this.#isForgotten) || phase === 'running')
        throw new HoldfastError('wrong-state', 'the second copy is about to run, or runs')
      this.#giveUp('it was called off')
      return Promise.resolve()
    })
    // It may have ended by itself just now: the primary goes on, and said so.
    await work.catch((thrown: unknown) => {
      if (this.#phase !== 'dropped') throw thrown
    })
  }

  /** Milliseconds since the newest epoch came; null before there is any. */
  get #sinceSafe(): number | null {
    return this.#safeAt === null ? null : this.#deps.clock.monotonic() - this.#safeAt
  }

  get #config(): ProtectionConfig {
    return this.#state?.config ?? this.#order.config
  }

  #giveUp(reason: string): void {
    this.#reason ??= reason
    const phase = this.#state?.phase
    // The arbiter may have given it to this side already: whoever follows this pump asks, and brings the images up to date.
    if (phase === 'claiming') this.#end.reject(new HoldfastError('unreachable', reason))
    // Once it runs the guest is the agent's; what happens to it then is no matter of two sides any more.
    else if (phase !== 'running') this.#end.resolve('dropped')
  }

  /** It has won, and the guest could not be let run: nobody else runs it now, so the VM is to be started from its disks. */
  async #broken(err: unknown): Promise<void> {
    this.#deps.log.error({ err: describeError(err) }, 'the guest could not be taken over')
    // One that is loaded and stands still would be taken for one that somebody has paused.
    await this.#deps.processes.signal(this.#record.process, 'SIGKILL')
    this.#end.reject(err)
  }

  #hear(word: Word, link: LinkName): void {
    this.#heardAt = this.#deps.clock.monotonic()
    const { vm, config } = this.#order
    switch (word.is) {
      case 'hello':
        if (word.vm !== vm || word.n !== config.n)
          throw new HoldfastError('invalid-request', 'it belongs to another pair')
        if (word.v !== wordsVersion) this.#refuse(otherVersion(word.v ?? 0))
        return
      case 'memory':
        if (link === 'data' && this.#guest === undefined) void this.#queue.run(() => this.#open(word))
        return
      case 'beat':
        this.#input(word)
        return
      case 'configure':
        this.#input(word)
        return
      case 'take-over':
      case 'over':
        // Who has lost is told so by the arbiter.
        this.#input({ is: 'peer-gone' })
        return
      default:
    }
  }

  #refuse(why: string): void {
    this.#links.say({ is: 'refused', why })
    this.#giveUp(why)
  }

  async #open(word: Extract<Word, { is: 'memory' }>): Promise<void> {
    try {
      this.#guest = await SecondGuest.open(this.#deps, this.#record, this.#qmp, word)
      this.#links.say({ is: 'ready' })
    } catch (err) {
      this.#refuse(describeError(err))
    }
  }

  #take({ kind, pieces }: WholeFrame): void {
    const { clock } = this.#deps
    this.#receivedBytes += lengthOf(pieces)
    this.#heardAt = clock.monotonic()
    if (kind === frameKinds.pages) {
      const [head, bytes] = splitAt(pieces, 8)
      const [range] = decodeRanges(together(head))
      if (range !== undefined && this.#state === undefined) this.#guest?.write(range, together(bytes))
      // All of a guest's memory comes so: what is given back at once is used again for the next.
      for (const piece of pieces) freeBytes(piece)
      return
    }
    this.#queue
      .run(async () => {
        const breathe = (): Promise<void> => clock.sleep(0)
        await using epoch = await decodeEpoch(pieces, this.#guest?.mostEpochBytes ?? 0, this.#room, breathe)
        await this.#epoch(epoch)
      })
      .catch((err: unknown) => {
        this.#deps.log.error({ err: describeError(err) }, 'an epoch could not be taken')
        this.#refuse(describeError(err))
      })
  }

  /** It is here as a whole. What it writes to disks is durable before anything is said. */
  async #epoch(epoch: Epoch): Promise<void> {
    if (this.#state?.phase === 'claiming' || this.#state?.phase === 'running' || this.#phase === 'dropped') return
    const isNew = epoch.epoch > (this.#state?.acked ?? 0)
    if (isNew && this.#state !== undefined && epoch.epoch !== this.#state.acked + 1)
      throw new HoldfastError('invalid-request', `epoch ${epoch.epoch} came after epoch ${this.#state.acked}`)
    if (isNew) {
      if (this.#state === undefined) await this.#disks.begin()
      await this.#disks.keep(epoch.epoch, epoch.journal[0] ?? new Uint8Array())
    }
    const now = this.#deps.clock.monotonic()
    if (this.#state === undefined) {
      this.#state = newSecond(this.#order.config, epoch.epoch, now)
      this.#links.say({ is: 'ack', n: epoch.n, epoch: epoch.epoch })
    } else await this.#step({ is: 'epoch', n: epoch.n, epoch: epoch.epoch })
    if (!isNew) return
    await this.#guest?.apply(epoch)
    void this.#disks.apply().catch((err: unknown) => this.#giveUp(describeError(err)))
    // A copy: what came holds all of its pages.
    const { isPaused, clock } = epoch
    this.#newest = { epoch: epoch.epoch, isPaused, clock, devices: Buffer.from(epoch.devices) }
    this.#safeAt = now
    this.#figures.note(now, 0, 0)
    this.#figures.noteSent(now, this.#receivedBytes)
  }

  #input(input: SecondInput): void {
    this.#queue
      .run(() => this.#step(input))
      .catch((err: unknown) => {
        if (this.#phase === 'running' || this.#phase === 'dropped') return
        this.#deps.log.error({ err: describeError(err) }, 'the second copy cannot go on')
        this.#reason ??= describeError(err)
      })
  }

  async #step(input: SecondInput): Promise<void> {
    if (this.#state === undefined) return
    const { silenceMs } = this.#order.settings
    const before = this.#state.phase
    const limits = { silenceMs, askAgainMs: silenceMs }
    const { state, acts } = stepSecond(this.#state, input, this.#deps.clock.monotonic(), limits)
    const held = this.#state
    this.#state = state
    // What it may ask, and what it says that it has left, rests on what is durable.
    const durably = async (write: () => Promise<void>): Promise<void> => {
      try {
        await write()
      } catch (thrown) {
        this.#state = held
        throw thrown
      }
    }
    if (state.phase !== before) await durably(() => this.#onPhase(state))
    for (const act of acts) {
      if (act.do === 'save') await durably(() => this.#remember('bound', act.config))
      else await this.#carryOut(act)
    }
  }

  async #onPhase({ phase }: SecondState): Promise<void> {
    this.#deps.log.info({ phase }, 'the second is in another phase')
    this.#phase = phase
    // From here on it may ask to run.
    if (phase === 'following') await this.#remember('bound')
    this.#deps.onStatus()
  }

  async #carryOut(act: Exclude<SecondAct, { do: 'save' }>): Promise<void> {
    switch (act.do) {
      case 'beat':
        // It is said by the clock (#beat).
        return
      case 'ack':
      case 'configured': {
        const { do: is, ...rest } = act
        this.#links.say({ is, ...rest } as Word)
        return
      }
      case 'claim':
        return this.#claim(act.config)
      case 'run':
        return await this.#takeOver().catch((err: unknown) => this.#broken(err))
      case 'discard':
        return this.#giveUp('the primary goes on')
    }
  }

  #claim(config: ProtectionConfig): void {
    const { log } = this.#deps
    this.#deps
      .arbiter(config)
      .arbiterClaim({ vm: config.vm, n: config.n, side: 'second' })
      .then((answer) => {
        log.info({ n: config.n, answer: answer.is }, 'the arbiter has answered')
        this.#isForgotten = answer.is === 'unknown'
        this.#input({ is: 'answer', n: config.n, answer })
      })
      .catch((err: unknown) => log.warn({ err: describeError(err) }, 'the arbiter could not be asked'))
  }

  /** The guest goes on here, from everything that was acknowledged. */
  async #takeOver(): Promise<void> {
    const { clock, log, files } = this.#deps
    const [guest, newest] = [this.#guest, this.#newest]
    if (guest === undefined || newest === undefined) throw new HoldfastError('internal', 'there is no epoch to run')
    const started = clock.monotonic()
    await this.#disks.finish()
    await this.#remember('running')
    const { base, devices } = takenOver(newest, this.#record.config.accelerator, clock.now(), this.#sinceSafe ?? 0)
    if (base !== undefined) await writeClockFile(files, this.#record, base)
    await guest.run({ ...newest, devices })
    log.info({ epoch: newest.epoch, tookMs: clock.monotonic() - started }, 'the guest runs here now')
    this.#end.resolve('running')
  }

  async #beat(): Promise<void> {
    const { clock } = this.#deps
    while (this.#phase !== 'running' && this.#phase !== 'dropped') {
      await clock.sleep(this.#order.settings.beatMs)
      // What has come while this process itself stood still is heard before anybody is said to be silent.
      await clock.sleep(0)
      this.#deps.onStatus()
      const isAlone = this.#phase === 'candidate' && !this.#links.has('data')
      if (isAlone && clock.monotonic() - this.#heardAt > abandonedMs) this.#giveUp('the primary never came')
      if (this.#state === undefined) continue
      // Said at once: a disk that takes its time to sync an epoch is no silence.
      if (this.#phase === 'candidate' || this.#phase === 'following') this.#links.say({ is: 'beat', n: this.#config.n })
      this.#input({ is: 'tick' })
    }
  }

  async #remember(phase: MemoryPhase, config = this.#config): Promise<void> {
    const { arbiter } = this.#order
    const reason = this.#reason
    await this.#deps.memory.write({ v: 1, side: 'second', phase, config, arbiter, lastN: config.n, reason })
  }
}

function otherVersion(theirs: number): string {
  return `its Holdfast holds VMs in step in another way (${wordsVersion}) than that of the primary's host (${theirs}): upgrade both hosts to one version`
}
