/**
 * Takes epochs when they are due, one at a time on its way, for as long as the pair is bound. A guest that writes faster than
 * the link carries is held back: it stands still until the second has what is on its way, so that it stays protected, and
 * its answers never wait for more than can be sent in a moment.
 */
import type { Clock } from '../../../base/clock.ts'
import { pageBytes } from '../../../base/process-memory.ts'
import type { ProtectionSettings } from '../../../contracts/protection.ts'
import type { Bell } from './bell.ts'
import type { PrimaryLinks } from './primary-links.ts'
import { dueInMs, mostWaitingBytes } from './pacing.ts'
import type { DiskCopy } from './primary-disks.ts'
import type { Cut, PrimaryGuest } from './primary-guest.ts'
import type { PrimaryProtocol } from './primary-protocol.ts'
import type { TakenEpochs } from './taken-epochs.ts'

interface LoopDeps {
  readonly clock: Clock
  readonly guest: PrimaryGuest
  readonly disks: DiskCopy
  readonly taken: TakenEpochs
  readonly links: PrimaryLinks
  readonly bell: Bell
  readonly settings: ProtectionSettings
  readonly protocol: PrimaryProtocol
  /** The next epoch is to be the last, and the guest not let go on after it. */
  wantsLast(): boolean
  /** No epoch is wanted any more. */
  isOver(): boolean
}

/** Between two looks at how much the guest has written: so often, and never more than this share of the time. */
const lookEveryMs = 100
const lookShare = 0.05
/** Held output waits no longer than the longer of these for an epoch that does not move. */
const [leastPatienceMs, patienceInSilences] = [2000, 4]

export class EpochLoop {
  readonly #deps: LoopDeps
  /** What the guest has written since the last epoch, as far as was looked. */
  #writtenBytes = 0
  #lookedAt = 0
  #lookTookMs = 0
  #heldBackAt: number | undefined
  #isLastTaken = false
  /** QEMU is asked to stop the guest since then, and what follows from that is not done. */
  #standingSince: number | undefined

  constructor(deps: LoopDeps) {
    this.#deps = deps
  }

  /** It stands still until the second has caught up. */
  get isHeldBack(): boolean {
    return this.#heldBackAt !== undefined
  }

  /** The guest stands still by this loop's doing. */
  get isStill(): boolean {
    return this.isHeldBack || this.#isLastTaken
  }

  /**
   * An epoch is on its way, and will not arrive: the link that carries it is cut without a word, for on that alone the
   * second says nothing any more, or the epoch has been on its way for longer than anything takes, and nothing of it moves.
   */
  get isStuck(): boolean {
    const { clock, taken, links, protocol, settings } = this.#deps
    const { phase, acked, cut } = protocol.state
    if (phase !== 'protecting' || acked >= cut) return false
    const [onData, onBeats] = [links.quietMs('data'), links.quietMs('beats')]
    if (onData > settings.silenceMs && onBeats <= settings.silenceMs) return true
    return Math.min(taken.last.sinceMs, clock.monotonic() - links.movedAt) > this.#patienceMs
  }

  /** The guest cannot be stopped for an epoch: QEMU waits for storage that does not answer, or hangs. */
  get isStandingStuck(): boolean {
    return this.#deps.clock.monotonic() - (this.#standingSince ?? Infinity) > this.#patienceMs
  }

  get #patienceMs(): number {
    return Math.max(leastPatienceMs, patienceInSilences * this.#deps.settings.silenceMs)
  }

  /**
   * Resolves with why no more epochs are taken: the second has the `last`, the guest will not run on (in words why), or it is
   * over.
   */
  async run(): Promise<'last' | 'over' | { readonly guest: string }> {
    const { bell, protocol } = this.#deps
    for (;;) {
      const { phase, cut, acked } = protocol.state
      if (phase === 'alone' || phase === 'lost' || this.#deps.isOver()) return 'over'
      const isBound = phase === 'protecting' || phase === 'confirming'
      const isFree = isBound && acked >= cut
      const isLast = isFree && this.#deps.wantsLast()
      this.#look()
      if (isBound && !isFree) await this.#holdBack()
      // One that is held back has stood still long enough, and writes nothing that were to be looked for.
      const dueMs = isLast || this.isHeldBack ? 0 : this.#dueMs()
      if (!isFree || dueMs > 0) {
        const nextLookMs = Math.max(1, this.#nextLookAt - this.#deps.clock.monotonic())
        if (isFree) await bell.rest(Math.min(dueMs, nextLookMs))
        else await bell.rest(this.isHeldBack ? undefined : nextLookMs)
        continue
      }
      const over = await this.#take(cut + 1, isLast)
      if (over !== undefined) return { guest: over }
      if (isLast) return await this.#given(cut + 1)
    }
  }

  /** Waits for the second to have the last epoch. */
  async #given(epoch: number): Promise<'last' | 'over'> {
    const { bell, protocol } = this.#deps
    while (protocol.state.acked < epoch) {
      const { phase } = protocol.state
      if (phase !== 'protecting' && phase !== 'confirming') return 'over'
      await bell.rest(undefined)
    }
    return 'last'
  }

  async #take(epoch: number, isLast: boolean): Promise<Cut['over']> {
    const { clock, guest, taken, links, bell, protocol } = this.#deps
    this.#isLastTaken = isLast
    const cut = await this.#standing(() => guest.cut(epoch, { isLast }))
    const heldBackMs = this.#heldBackAt === undefined ? 0 : clock.monotonic() - this.#heldBackAt
    this.#heldBackAt = undefined
    this.#writtenBytes = 0
    this.#lookedAt = clock.monotonic()
    await taken.keep(protocol.state.config.n, epoch, cut, { sentBytes: links.sentBytes, heldBackMs })
    guest.onHeld(() => bell.ring())
    await protocol.input({ is: 'cut' })
    return cut.over
  }

  #dueMs(): number {
    const { guest, disks, taken, settings } = this.#deps
    const waiting = { hasHeldOutput: guest.heldBytes > 0, journalBytes: disks.bytes, writtenBytes: this.#writtenBytes }
    return dueInMs({ ...taken.last, ...waiting, bytesPerMs: taken.bytesPerMs }, settings)
  }

  get #nextLookAt(): number {
    return this.#lookedAt + Math.max(lookEveryMs, this.#lookTookMs / lookShare)
  }

  #look(): void {
    const { clock, guest, taken, settings } = this.#deps
    const from = clock.monotonic()
    if (from < this.#nextLookAt || this.isHeldBack) return
    const most = mostWaitingBytes(taken.bytesPerMs, settings)
    // Of a QEMU that has just ended nothing is to be had; that it has is seen by its own connection.
    const pages = guest.qmp.isOpen ? guest.writtenPages(Math.ceil(most / pageBytes)) : 0
    this.#writtenBytes = pages * pageBytes
    this.#lookedAt = clock.monotonic()
    this.#lookTookMs = this.#lookedAt - from
  }

  async #holdBack(): Promise<void> {
    const { clock, guest, taken, settings } = this.#deps
    const isEnough = this.#writtenBytes < mostWaitingBytes(taken.bytesPerMs, settings)
    if (isEnough || this.isHeldBack || guest.isPaused) return
    this.#heldBackAt = clock.monotonic()
    await this.#standing(() => guest.stop())
  }

  async #standing<T>(work: () => Promise<T>): Promise<T> {
    this.#standingSince = this.#deps.clock.monotonic()
    try {
      return await work()
    } finally {
      this.#standingSince = undefined
    }
  }
}
