/**
 * The two connections between the pumps of a pair: `data` on the storage network, `beats` on the management network. A word
 * goes over both, so that one network that is cut, or one connection that is full of an epoch, is not taken for silence.
 *
 * What is long goes in pieces, and words between them: it is not to be taken for silence, nor to hold up what is said.
 *
 * A connection that ends while its host lives is the end of the other pump: a process that dies closes what it held. Both
 * must have ended for that; one alone is made anew by the primary.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { describeError, HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import { SerialQueue } from '../../../base/serial-queue.ts'
import { FrameReader, frameKinds, writeFrame, writeWord, type Frame, type FrameKind } from './frames.ts'
import { lengthOf, piecesOf } from './pieces.ts'
import { parseWord, type Word } from './words.ts'

export type LinkName = 'data' | 'beats'

/** All of it, in the pieces in which it came: to put it together takes longer than words can wait. */
export interface WholeFrame {
  readonly kind: FrameKind
  readonly pieces: readonly Buffer[]
}

export interface LinkListener {
  readonly onWord: (word: Word, link: LinkName) => void
  /** Of another kind than words. */
  readonly onFrame: (frame: WholeFrame) => void
  /** A connection has ended; `isLast`: there is none any more. */
  readonly onEnd: (link: LinkName, isLast: boolean) => void
}

export class Links implements Disposable {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #listener: LinkListener
  readonly #mostBytes: number
  readonly #open = new Map<LinkName, Duplex>()
  /** One long thing after the other. */
  readonly #sending = new SerialQueue()
  #isClosed = false
  sentBytes = 0
  /** When some of something long has left last, by the monotonic clock. */
  movedAt = 0
  /** When each has been heard last, or was taken in, by the monotonic clock. */
  readonly #heardAt = new Map<LinkName, number>()

  /** `mostBytes`: what the other side sends is never longer, put together. */
  constructor(
    { clock, log }: { readonly clock: Clock; readonly log: Logger },
    mostBytes: number,
    listener: LinkListener,
  ) {
    this.#clock = clock
    this.#log = log
    this.#mostBytes = mostBytes
    this.#listener = listener
  }

  has(name: LinkName): boolean {
    return this.#open.has(name)
  }

  /** Milliseconds for which nothing has come over it; Infinity where there never was such a connection. */
  quietMs(name: LinkName): number {
    return this.#clock.monotonic() - (this.#heardAt.get(name) ?? -Infinity)
  }

  /** Takes a connection in; a former one of the same name is let go. `first`: what was read of it already. */
  add(name: LinkName, stream: Duplex): void {
    this.#open.get(name)?.destroy()
    this.#open.set(name, stream)
    this.#heardAt.set(name, this.#clock.monotonic())
    const whole = new WholeFrames(this.#mostBytes, (frame) => this.#listener.onFrame(frame))
    const reader = new FrameReader(this.#mostBytes, (frame) => {
      if (frame.kind === frameKinds.word) this.#listener.onWord(parseWord(frame.bytes), name)
      else whole.take(frame)
    })
    stream.on('data', (chunk: Buffer) => {
      this.#heardAt.set(name, this.#clock.monotonic())
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

  /** Over `data`; resolves when more may be sent. Is lost where there is no connection, or it ends meanwhile. */
  async send(kind: 'pages' | 'epoch', parts: readonly Uint8Array[]): Promise<void> {
    await this.#sending.run(async () => {
      const stream = this.#open.get('data')
      const pieces = [...piecesOf(parts)]
      const last = pieces.pop() ?? []
      for (const piece of pieces) await this.#send(stream, frameKinds.part, piece)
      await this.#send(stream, frameKinds[kind], last)
    })
  }

  async #send(stream: Duplex | undefined, kind: FrameKind, parts: readonly Uint8Array[]): Promise<void> {
    if (stream === undefined || stream.destroyed) return
    this.sentBytes += lengthOf(parts)
    const takesMore = writeFrame(stream, kind, parts)
    if (!takesMore) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          stream.off('drain', go).off('close', go)
          resolve()
        }
        stream.once('drain', go).once('close', go)
      })
    }
    // What a connection takes at once goes on without anybody else's turn.
    await this.#clock.sleep(0)
    this.movedAt = this.#clock.monotonic()
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

  #ended(name: LinkName, stream: Duplex): void {
    if (this.#open.get(name) !== stream) return
    this.#open.delete(name)
    if (this.#isClosed) return
    this.#log.info({ link: name }, 'a connection to the other pump has ended')
    this.#listener.onEnd(name, this.#open.size === 0)
  }
}

/** Keeps what came in pieces until all of it is here. */
class WholeFrames {
  readonly #mostBytes: number
  readonly #onFrame: (frame: WholeFrame) => void
  #pieces: Buffer[] = []
  #bytes = 0

  constructor(mostBytes: number, onFrame: (frame: WholeFrame) => void) {
    this.#mostBytes = mostBytes
    this.#onFrame = onFrame
  }

  /** Throws `invalid-request` when it becomes too long. */
  take({ kind, bytes }: Frame): void {
    this.#bytes += bytes.length
    if (this.#bytes > this.#mostBytes)
      throw new HoldfastError('invalid-request', `what came in pieces has ${this.#bytes} bytes or more`)
    this.#pieces.push(bytes)
    if (kind === frameKinds.part) return
    const pieces = this.#pieces
    this.#pieces = []
    this.#bytes = 0
    this.#onFrame({ kind, pieces })
  }
}
