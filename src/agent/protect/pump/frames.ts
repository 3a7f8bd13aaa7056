/**
 * What goes between the two pumps of a pair: frames on a stream. Each has a head of five bytes, its length (little-endian)
 * and its kind. Words of the protocol are JSON; memory and epochs are bytes.
 */
import type { Duplex } from 'node:stream'
import { HoldfastError } from '../../../base/errors.ts'

/** `part`: the next frame of the same connection that is no word goes on where this one ends. */
export const frameKinds = { word: 1, pages: 2, epoch: 3, part: 4 } as const
export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds]

export interface Frame {
  readonly kind: FrameKind
  readonly bytes: Buffer
}

const headBytes = 5
const known = new Set<number>(Object.values(frameKinds))

/** Writes one frame; its parts are not put together first. Gives whether the stream takes more at once. */
export function writeFrame(stream: Duplex, kind: FrameKind, parts: readonly Uint8Array[]): boolean {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  const head = Buffer.alloc(headBytes)
  head.writeUInt32LE(length)
  head[4] = kind
  stream.cork()
  let takesMore = stream.write(head)
  for (const part of parts) takesMore = stream.write(part)
  stream.uncork()
  return takesMore
}

export function writeWord(stream: Duplex, word: unknown): boolean {
  return writeFrame(stream, frameKinds.word, [Buffer.from(JSON.stringify(word))])
}

/** Puts frames together from whatever pieces a stream brings. */
export class FrameReader {
  readonly #mostBytes: number
  readonly #onFrame: (frame: Frame) => void
  readonly #head = Buffer.alloc(headBytes)
  #headFilled = 0
  #body: Buffer | undefined
  #filled = 0

  /** `mostBytes`: a frame that says it is longer is garbage. */
  constructor(mostBytes: number, onFrame: (frame: Frame) => void) {
    this.#mostBytes = mostBytes
    this.#onFrame = onFrame
  }

  /** Throws `invalid-request` when the other side speaks something else. */
  take(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#body === undefined) {
        const part = chunk.subarray(at, at + headBytes - this.#headFilled)
        this.#head.set(part, this.#headFilled)
        this.#headFilled += part.length
        at += part.length
        if (this.#headFilled < headBytes) return
        this.#begin()
      }
      const body = this.#body ?? Buffer.alloc(0)
      const part = chunk.subarray(at, at + body.length - this.#filled)
      body.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled === body.length) this.#end(body)
    }
  }

  #begin(): void {
    const length = this.#head.readUInt32LE()
    const kind = this.#head[4] ?? 0
    if (length > this.#mostBytes || length === 0 || !known.has(kind))
      throw new HoldfastError('invalid-request', `what came is no frame of a pump (kind ${kind}, ${length} bytes)`)
    this.#body = Buffer.allocUnsafeSlow(length)
    this.#filled = 0
  }

  #end(bytes: Buffer): void {
    const kind = this.#head[4] as FrameKind
    this.#body = undefined
    this.#headFilled = 0
    this.#onFrame({ kind, bytes })
  }
}
