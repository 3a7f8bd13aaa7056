/** The primary's two connections to its second: it makes them, and makes anew what has ended. */
import type { Duplex } from 'node:stream'
import { deadline, type Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import { writeWord } from './frames.ts'
import { Links, type LinkListener, type LinkName } from './links.ts'
import { wordsVersion, type Word } from './words.ts'

interface PrimaryLinksDeps {
  readonly clock: Clock
  readonly log: Logger
  connect(link: LinkName, signal: AbortSignal): Promise<Duplex>
}

const both = ['data', 'beats'] as const
const reconnectMs = 200
/** The longest that the second ever sends: a word. */
const mostBytes = 2 ** 20

export class PrimaryLinks extends Links {
  readonly #deps: PrimaryLinksDeps
  readonly #pair: Pick<Extract<Word, { is: 'hello' }>, 'vm' | 'n'>

  constructor(
    deps: PrimaryLinksDeps,
    pair: Pick<Extract<Word, { is: 'hello' }>, 'vm' | 'n'>,
    listener: Pick<LinkListener, 'onWord' | 'onEnd'>,
  ) {
    super(deps, mostBytes, { ...listener, onFrame: () => undefined })
    this.#deps = deps
    this.#pair = pair
  }

  /** Makes both. Rejects with the signal's reason, or with why one cannot be made. */
  async open(signal: AbortSignal): Promise<void> {
    for (const link of both) this.#greet(link, await this.#deps.connect(link, signal))
  }

  /** Tries once to make anew what has ended. Gives which are new. */
  async reconnect(): Promise<LinkName[]> {
    const made: LinkName[] = []
    for (const link of both) {
      if (this.has(link)) continue
      const reason = new HoldfastError('timeout', 'the second host does not answer')
      using late = deadline(this.#deps.clock, reconnectMs, reason)
      const stream = await this.#deps.connect(link, late.signal).catch(() => undefined)
      if (stream === undefined) continue
      this.#greet(link, stream)
      made.push(link)
    }
    return made
  }

  #greet(link: LinkName, stream: Duplex): void {
    writeWord(stream, { is: 'hello', v: wordsVersion, ...this.#pair, link } satisfies Word)
    this.add(link, stream)
  }
}
