/**
 * How the pages of an epoch go over the wire: one of zeros as nothing, one that the second has an older state of as the
 * difference to that, which is mostly zeros and packs well, any other as it is.
 *
 * The second's older state of a page is what was sent last, whichever way: each epoch is put in place before the next one.
 */
import { HoldfastError } from '../../../base/errors.ts'
import { pageBytes } from '../../../base/process-memory.ts'
import { isZero, type PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'

export const pageKinds = { zero: 0, whole: 1, changed: 2 } as const

export interface CodedPages {
  /** One of `pageKinds` for each page of the ranges, in their order. */
  readonly kinds: Uint8Array
  /** Those that are not of zeros, one after the other. */
  readonly bytes: Uint8Array
}

const wordsInPage = pageBytes / 4
/** A megabyte: some tenths of a millisecond of work. */
const pagesInOneGo = 256

/** What the second has of the pages that were sent last. The least recently sent are forgotten. */
export class SentPages {
  readonly #mostPages: number
  readonly #places = new Map<number, number>()
  readonly #spare: number[] = []
  #used = 0
  #slots: Int32Array | undefined

  constructor(mostBytes = 32 * 2 ** 20) {
    this.#mostPages = Math.floor(mostBytes / pageBytes)
  }

  /** The page as it was sent last; undefined where that is forgotten. Good until the next `note`. */
  last(page: number): Int32Array | undefined {
    const slot = this.#places.get(page)
    return slot === undefined ? undefined : this.#slots?.subarray(slot * wordsInPage, (slot + 1) * wordsInPage)
  }

  note(page: number, content: Int32Array): void {
    if (this.#mostPages === 0) return
    this.#slots ??= new Int32Array(this.#mostPages * wordsInPage)
    const slot = this.#places.get(page) ?? this.#free()
    this.#places.delete(page)
    this.#places.set(page, slot)
    this.#slots.set(content, slot * wordsInPage)
  }

  forget(page: number): void {
    const slot = this.#places.get(page)
    if (slot === undefined) return
    this.#places.delete(page)
    this.#spare.push(slot)
  }

  clear(): void {
    this.#places.clear()
    this.#spare.length = 0
    this.#used = 0
  }

  #free(): number {
    const spare = this.#spare.pop()
    if (spare !== undefined) return spare
    if (this.#used < this.#mostPages) return this.#used++
    const [oldest = 0] = this.#places.keys()
    const slot = this.#places.get(oldest) ?? 0
    this.#places.delete(oldest)
    return slot
  }
}

/**
 * `pages`: the bytes of `ranges`, aligned to words; they stay as they are. With `sent`, pages that it knows go as changes,
 * and it knows all of these afterwards; without, they go whole. `breathe` is called again and again: whoever works for long
 * lets others have their turn.
 */
export async function codePages(
  ranges: readonly PageRange[],
  pages: Uint8Array,
  sent: SentPages | undefined,
  breathe: () => Promise<void>,
): Promise<CodedPages> {
  const kinds = new Uint8Array(pages.length / pageBytes)
  const bytes = Buffer.allocUnsafeSlow(pages.length)
  let [at, used] = [0, 0]
  for (const { first, count } of ranges) {
    for (let page = first; page < first + count; page++, at++) {
      const content = pages.subarray(at * pageBytes, (at + 1) * pageBytes)
      if (at % pagesInOneGo === pagesInOneGo - 1) await breathe()
      if (isZero(content)) {
        sent?.forget(page)
        continue
      }
      const into = bytes.subarray(used, (used += pageBytes))
      kinds[at] = sent === undefined ? pageKinds.whole : codeOne(page, content, into, sent)
      if (sent === undefined) into.set(content)
    }
  }
  return { kinds, bytes: bytes.subarray(0, used) }
}

function codeOne(page: number, content: Uint8Array, into: Uint8Array, sent: SentPages): number {
  const words = wordsOf(content)
  const before = sent.last(page)
  if (before === undefined) into.set(content)
  else differ(words, before, wordsOf(into))
  sent.note(page, words)
  return before === undefined ? pageKinds.whole : pageKinds.changed
}

/** The pages as they are, a piece at a time in their order. `read` gives what the second has of a page. */
export function* decodePages(
  ranges: readonly PageRange[],
  { kinds, bytes }: CodedPages,
  read: (page: PageRange, into: Uint8Array) => void,
): Generator<{ readonly range: PageRange; readonly content: Uint8Array }> {
  const old = Buffer.allocUnsafeSlow(pageBytes)
  const room = Buffer.allocUnsafeSlow(pagesInOneGo * pageBytes)
  let [at, used] = [0, 0]
  for (const { first, count } of ranges) {
    for (let done = 0; done < count; done += pagesInOneGo) {
      const range = { first: first + done, count: Math.min(pagesInOneGo, count - done) }
      const content = room.subarray(0, range.count * pageBytes)
      for (let index = 0; index < range.count; index++, at++) {
        const into = content.subarray(index * pageBytes, (index + 1) * pageBytes)
        if (kinds[at] === pageKinds.zero) into.fill(0)
        else into.set(bytes.subarray(used, (used += pageBytes)))
        if (kinds[at] !== pageKinds.changed) continue
        read({ first: range.first + index, count: 1 }, old)
        differ(wordsOf(into), wordsOf(old), wordsOf(into))
      }
      yield { range, content }
    }
  }
}

/** Throws `invalid-request`. */
export function checkKinds(kinds: Uint8Array, storedBytes: number): void {
  let stored = 0
  for (const kind of kinds) {
    if (kind > pageKinds.changed) throw new HoldfastError('invalid-request', `there is no page of kind ${kind}`)
    if (kind !== pageKinds.zero) stored += pageBytes
  }
  if (stored !== storedBytes)
    throw new HoldfastError('invalid-request', `an epoch's pages have ${storedBytes} bytes instead of ${stored}`)
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

/** The one is the other where the difference is zero; the difference of it and the one is the other again. */
function differ(one: Int32Array, other: Int32Array, into: Int32Array): void {
  for (let index = 0; index < one.length; index++) into[index] = (one[index] ?? 0) ^ (other[index] ?? 0)
}
