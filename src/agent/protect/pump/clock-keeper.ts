/**
 * Keeps the clock of a held guest right where an agent in it lets that be done: asks for its time every second, and sets it
 * to this host's as soon as it must be behind by more than a little, by what is counted since it was asked. An agent that is
 * absent, slow or hostile costs nothing but that: it is tried again ever more seldom.
 *
 * Only what was taken from the guest is given back. A guest whose clock is off by more than it was held for has been set so
 * by somebody, and is left alone.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { describeError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import { GuestAgent } from '../../guest/guest-agent.ts'
import type { ClockLag } from './clock-lag.ts'

export interface ClockKeeperDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly lag: ClockLag
  /** The channel to the agent; QEMU is behind it, whether or not the guest is. */
  connect(): Promise<Duplex>
  /** A guest that stands still by somebody's wish answers nothing. */
  isPaused(): boolean
}

const askEveryMs = 1000
/** What is counted is looked at this often. */
const everyMs = 100
const firstPauseMs = 1000
/** An agent that does not answer is tried again after this long at the most. */
const longestPauseMs = 30_000
/** Behind by more than this, it is set. */
const thresholdMs = 15
/** What nobody has counted: a boot that took the time from a RTC of whole seconds, a host that forgot what it had counted. */
const unexplainedMs = 2000
/** The answer took so long at the most, or it does not tell the time well enough; a stop for an epoch may lie in between. */
const wellWithinMs = 40
const tries = 4
/** It is behind by so many times what the answer took: then it is told well enough too. */
const farBehind = 4
/** How far the clock is set ahead at the most, against what it loses until it is looked at again. */
const mostLeadMs = 25
/** It is right about so long after it was set, before the next time. */
const setEveryMs = 400

interface Measured {
  /** Not off by more than it was held for. */
  readonly isOurs: boolean
  /** From the question to the answer, milliseconds. */
  readonly tookMs: number
  readonly at: number
}

export class ClockKeeper {
  readonly #deps: ClockKeeperDeps
  #agent: GuestAgent | undefined
  #marks = 0
  #last: Measured | undefined

  constructor(deps: ClockKeeperDeps) {
    this.#deps = deps
  }

  /** Until the signal. Never rejects. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#deps
    const close = (): void => this.#agent?.[Symbol.dispose]()
    signal.addEventListener('abort', close, { once: true })
    let pauseMs = firstPauseMs
    const isOver = (): boolean => signal.aborted
    while (!isOver()) {
      await clock.sleep(this.#agent === undefined ? pauseMs : everyMs, signal).catch(() => undefined)
      if (isOver()) break
      try {
        if (!this.#deps.isPaused()) await this.look()
        pauseMs = firstPauseMs
      } catch (err) {
        if (this.#agent !== undefined)
          log.info({ err: describeError(err) }, 'the agent in the guest does not tell its time any more')
        this.#agent?.[Symbol.dispose]()
        this.#agent = undefined
        this.#last = undefined
        pauseMs = Math.min(pauseMs * 2, longestPauseMs)
      }
    }
    close()
  }

  /** Measures, and sets right, where that is due. Rejects where no agent answers as it should. */
  async look(): Promise<void> {
    const { lag, clock } = this.#deps
    const agent = (this.#agent ??= await this.#open())
    const isDue = this.#last === undefined || clock.monotonic() - this.#last.at > askEveryMs
    const isBehind = (lag.lagMs ?? 0) > thresholdMs && this.#last?.isOurs === true
    if (isDue) await this.#measure(agent)
    else if (!isBehind) return
    if (this.#last?.isOurs !== true || (lag.lagMs ?? 0) <= thresholdMs) return
    const last = this.#last
    // Whether it is right then is not known before it is asked.
    this.#last = undefined
    await this.#set(agent, last)
    await this.#measure(agent)
  }

  async #set(agent: GuestAgent, { tookMs }: Measured): Promise<void> {
    const { clock, lag } = this.#deps
    const leadMs = Math.min(mostLeadMs, Math.max(lag.lostShare * setEveryMs, lag.lostMs) / 2)
    // It is carried out about as long after it was said as an answer takes half of.
    await agent.setTime(clock.now() + tookMs / 2 + leadMs)
  }

  /** Takes the answer that comes soonest of a few; none where no one tells well enough. */
  async #measure(agent: GuestAgent): Promise<void> {
    const { clock, lag, log } = this.#deps
    let best: { lagMs: number; tookMs: number } | undefined
    for (let done = 0; done < tries && (best === undefined || best.tookMs > wellWithinMs / 2); done++) {
      const [wall, at] = [clock.now(), clock.monotonic()]
      const guestMs = await agent.time()
      const tookMs = clock.monotonic() - at
      if (best === undefined || tookMs < best.tookMs) best = { lagMs: wall + tookMs / 2 - guestMs, tookMs }
    }
    if (best === undefined || (best.tookMs > wellWithinMs && best.lagMs < farBehind * best.tookMs)) return
    const counted = Math.max(0, lag.lagMs ?? 0)
    const isOurs = best.lagMs >= -unexplainedMs && best.lagMs <= counted + unexplainedMs
    if (isOurs) lag.measured(best.lagMs, clock.monotonic())
    else if (this.#last?.isOurs !== false)
      log.info({ ...best, counted }, 'the clock of the guest was set to another time, and is left alone')
    this.#last = { isOurs, tookMs: best.tookMs, at: clock.monotonic() }
  }

  async #open(): Promise<GuestAgent> {
    const stream = await this.#deps.connect()
    return await GuestAgent.open(stream, this.#deps.clock, ++this.#marks + Math.floor(this.#deps.clock.now()))
  }
}
