/**
 * Large pieces of memory that are used once for each epoch. V8 counts them as its own and collects all of its memory each
 * time that some tens of megabytes of them were made, which took two fifths of a busy pump's time; so what can be is used
 * again, and what is over is given back at once.
 */
export class Scratch {
  #room = Buffer.allocUnsafeSlow(0)
  #rarelyUsed = 0

  /** With anything in it; good until the next call. */
  room(bytes: number): Buffer {
    const isSmall = this.#room.length > muchBytes && bytes < this.#room.length / 8
    this.#rarelyUsed = isSmall ? this.#rarelyUsed + 1 : 0
    if (this.#room.length < bytes || this.#rarelyUsed > patience) {
      freeBytes(this.#room)
      this.#room = Buffer.allocUnsafeSlow(Math.max(leastBytes, 2 ** Math.ceil(Math.log2(bytes))))
      this.#rarelyUsed = 0
    }
    return this.#room.subarray(0, bytes)
  }

  /** Whether this lies in it. */
  holds({ buffer }: Uint8Array): boolean {
    return buffer === this.#room.buffer
  }
}

const leastBytes = 2 ** 20
/** From here on it is not kept for ever because it was needed once. */
const muchBytes = 64 * 2 ** 20
const patience = 100

/**
 * Nobody looks any more at this, nor at anything that it is a part of: all of that is empty from now on. What lies in Node's
 * pool of small buffers is left alone.
 */
export function freeBytes(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize) buffer.transfer(0)
}
