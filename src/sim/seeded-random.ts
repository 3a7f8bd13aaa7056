/**
 * Randomness that a seed replays: xoshiro128** (Blackman and Vigna, public domain), its state filled from the seed by
 * splitmix32. For simulation and tests only; it is no source of secrets.
 */
import type { Random } from '../base/random.ts'

export class SeededRandom implements Random {
  /** As it was given; print it when a run fails. */
  readonly seed: number
  readonly #state: Uint32Array<ArrayBuffer>

  constructor(seed: number) {
    this.seed = seed
    this.#state = fill(seed)
  }

  /** A whole number in [0, 2³²). */
  next(): number {
    const s = this.#state
    const [a, b, c, d] = [s[0] ?? 0, s[1] ?? 0, s[2] ?? 0, s[3] ?? 0]
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0
    const c2 = c ^ a
    const d2 = d ^ b
    s[1] = b ^ c2
    s[0] = a ^ d2
    s[2] = c2 ^ (b << 9)
    s[3] = rotate(d2, 11)
    return result
  }

  int(below: number): number {
    if (!Number.isSafeInteger(below) || below < 1)
      throw new RangeError(`int wants a whole number above 0, not ${below}`)
    // 53 bits of randomness: the unevenness is far below what any simulation can see.
    const wide = (this.next() >>> 5) * 2 ** 26 + (this.next() >>> 6)
    return Math.floor((wide / 2 ** 53) * below)
  }

  /** A number in [0, 1). */
  fraction(): number {
    return this.next() / 2 ** 32
  }

  /** Whether something of this probability happens now. */
  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  /** One of these; throws on an empty list. */
  pick<T>(items: readonly T[]): T {
    return items[this.int(items.length)] as T
  }

  /** The items in a random order; the list given stays as it is. */
  shuffle<T>(items: readonly T[]): T[] {
    const out = [...items]
    for (let at = out.length - 1; at > 0; at--) {
      const other = this.int(at + 1)
      const moved = out[at] as T
      out[at] = out[other] as T
      out[other] = moved
    }
    return out
  }

  bytes(count: number): Uint8Array {
    const out = new Uint8Array(count)
    for (let at = 0; at < count; at++) out[at] = this.next() >>> 24
    return out
  }

  /** A well-formed version 4 UUID. */
  uuid(): string {
    const raw = this.bytes(16)
    raw[6] = ((raw[6] ?? 0) & 0x0f) | 0x40
    raw[8] = ((raw[8] ?? 0) & 0x3f) | 0x80
    const hex = Buffer.from(raw).toString('hex')
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
  }

  /** An independent stream: drawing from one does not shift the other. */
  fork(): SeededRandom {
    return new SeededRandom(this.next())
  }
}

function rotate(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by))
}

function fill(seed: number): Uint32Array<ArrayBuffer> {
  const state = new Uint32Array(4)
  let at = seed >>> 0
  for (let index = 0; index < 4; index++) {
    at = (at + 0x9e3779b9) >>> 0
    let mixed = at ^ (at >>> 16)
    mixed = Math.imul(mixed, 0x21f0aaad)
    mixed ^= mixed >>> 15
    mixed = Math.imul(mixed, 0x735a2d97)
    state[index] = mixed ^ (mixed >>> 15)
  }
  return state
}
