/**
 * The two connections between the pumps of a pair: `data` on the storage network, `beats` on the management network. A word
 * goes over both, so that one network that is cut, or one connection that is full of an epoch, is not taken for silence.
 *
 * A connection that ends while its host lives is the end of the other pump: a process that dies closes what it held. Both
 * must have ended for that; one alone is made anew by the primary.
 */
import type { Duplex } from 'node:stream'
import { describeError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import { FrameReader, frameKinds, writeFrame, writeWord, type Frame } from './frames.ts'
import { parseWord, type Word } from './words.ts'

export type LinkName = 'data' | 'beats'

export interface LinkListener {
  readonly onWord: (word: Word, link: LinkName) => void
  readonly onFrame: (frame: Frame) => void
  /** A connection has ended; `isLast`: there is none any more. */
  readonly onEnd: (link: LinkName, isLast: boolean) => void
}

export class Links implements Disposable {
  readonly #log: Logger
  readonly #listener: LinkListener
  readonly #mostBytes: number
  readonly #open = new Map<LinkName, Duplex>()
  #isClosed = false
  sentBytes = 0

  constructor(log: Logger, mostBytes: number, listener: LinkListener) {
    this.#log = log
    this.#mostBytes = mostBytes
    this.#listener = listener
  }

  has(name: LinkName): boolean {
    return this.#open.has(name)
  }

  /** Takes a connection in; a former one of the same name is let go. `first`: what was read of it already. */
  add(name: LinkName, stream: Duplex): void {
    this.#open.get(name)?.destroy()
    this.#open.set(name, stream)
    const reader = new FrameReader(this.#mostBytes, (frame) => this.#take(name, frame))
    stream.on('data', (chunk: Buffer) => {
      try {
        reader.take(chunk)
      } catch (err) {
        this.#log.error(
          { link: name, err: describeError(err) },
          'the other pump speaks garbage; its connection is ended',
        )
        stream.destroy()
      }
    })
    stream.on('error', () => stream.destroy())
    stream.once('close', () => this.#ended(name, stream))
  }

  /** Over every connection that is open. */
  say(word: Word): void {
    for (const stream of this.#open.values()) writeWord(stream, word)
  }

  /** Over `data`; resolves when more may be sent. Is lost where there is no connection. */
  async send(kind: (typeof frameKinds)['pages' | 'epoch'], parts: readonly Uint8Array[]): Promise<void> {
    const stream = this.#open.get('data')
    if (stream === undefined) return
    this.sentBytes += parts.reduce((sum, { length }) => sum + length, 0)
    if (writeFrame(stream, kind, parts)) return
    await new Promise<void>((resolve) => {
      const go = (): void => {
        stream.off('drain', go).off('close', go)
        resolve()
      }
      stream.once('drain', go).once('close', go)
    })
  }

  [Symbol.dispose](): void {
    this.#isClosed = true
    for (const stream of this.#open.values()) stream.destroy()
  }

  /** Ends the connections once all that was said has left. */
  end(): void {
    this.#isClosed = true
    for (const stream of this.#open.values()) stream.end()
  }

  #take(name: LinkName, frame: Frame): void {
    if (frame.kind === frameKinds.word) this.#listener.onWord(parseWord(frame.bytes), name)
    else this.#listener.onFrame(frame)
  }

  #ended(name: LinkName, stream: Duplex): void {
    if (this.#open.get(name) !== stream) return
    this.#open.delete(name)
    if (this.#isClosed) return
    this.#log.info({ link: name }, 'a connection to the other pump has ended')
    this.#listener.onEnd(name, this.#open.size === 0)
  }
}
