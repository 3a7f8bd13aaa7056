/**
 * The event stream across disconnects: each connection begins after the last event that was seen. The first connection may
 * fail (nobody is signed in, there is no manager); after that the stream is kept up until Ctrl-C.
 */
import { HoldfastError } from '../base/errors.ts'
import { eventPlace } from '../contracts/client.ts'
import type { Event } from '../contracts/inventory.ts'
import type { Cli } from './cli.ts'
import type { Session } from './connection/session.ts'
import { Exit, exitCodes } from './exit-codes.ts'

const firstPauseMs = 250
const longestPauseMs = 5000

export async function followEvents(
  cli: Cli,
  session: Session,
  after: string | undefined,
  onEvent: (event: Event) => void,
): Promise<never> {
  const stop = new AbortController()
  using _interrupt = cli.terminal.onInterrupt(() => stop.abort(new Exit(exitCodes.interrupted)))
  const follower = new Follower(cli, session, stop.signal, onEvent)
  // Without a place of our own a lost connection would lose events: begin at the revision of now.
  const begin = after ?? (await newestPlace(session))
  // Awaited here: Ctrl-C is ours until the stream has ended.
  return await follower.run(begin)
}

async function newestPlace(session: Session): Promise<string> {
  const { revision } = await session.client.call('getCluster')
  return `${revision}`
}

class Follower {
  readonly #cli: Cli
  readonly #session: Session
  readonly #signal: AbortSignal
  readonly #onEvent: (event: Event) => void
  #pauseMs = firstPauseMs
  #isLost = false

  constructor(cli: Cli, session: Session, signal: AbortSignal, onEvent: (event: Event) => void) {
    this.#cli = cli
    this.#session = session
    this.#signal = signal
    this.#onEvent = onEvent
  }

  async run(begin: string): Promise<never> {
    const { clock } = await this.#cli.ports()
    let place: string = begin
    for (;;) {
      try {
        place = await this.#connection(place)
      } catch (thrown) {
        const isPassing = thrown instanceof HoldfastError && (thrown.isUnknown || thrown.code === 'host-error')
        if (!this.#signal.aborted && !isPassing) throw thrown
        place = this.#place ?? place
      }
      this.#signal.throwIfAborted()
      this.#lost()
      await clock.sleep(this.#pauseMs, this.#signal)
      this.#pauseMs = Math.min(this.#pauseMs * 2, longestPauseMs)
    }
  }

  #place: string | undefined

  /** One connection to its end; the place that was reached. */
  async #connection(after: string): Promise<string> {
    this.#place = after
    for await (const event of this.#session.client.events(after, this.#signal)) {
      this.#found()
      if (event === 'relist') {
        this.#cli.terminal.err('Some events are no longer kept and were missed; going on from now.\n')
        this.#place = await newestPlace(this.#session)
        break
      }
      this.#place = eventPlace(event)
      this.#onEvent(event)
    }
    return this.#place
  }

  #lost(): void {
    if (!this.#isLost) this.#cli.terminal.err('The event stream broke off; connecting again.\n')
    this.#isLost = true
  }

  #found(): void {
    if (this.#isLost) this.#cli.terminal.err('Connected again.\n')
    this.#isLost = false
    this.#pauseMs = firstPauseMs
  }
}
