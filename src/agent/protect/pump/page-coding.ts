/**
 * How the pages of an epoch go over the wire: one of zeros as nothing, one that the second has an older state of as the
 * difference to that, which is mostly zeros and packs well, any other as it is.
 *
 * The second's older state of a page is what was sent last, whichever way: each epoch is put in place before the next one.
 */
import { HoldfastError } from '../../../base/errors.ts'
import { pageBytes } from '../../../base/process-memory.ts'
import { isZero, type PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import type { Scratch } from './scratch.ts'

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

  /**
   * Notes that a page is sent, its words from `from` on. Where it is known how it was sent before, writes the difference to
   * that from `at` on, and gives true.
   */
  code(page: number, words: Int32Array, from: number, into: Int32Array, at: number): boolean {
    if (this.#mostPages === 0) return false
    const slots = (this.#slots ??= new Int32Array(this.#mostPages * wordsInPage))
    const known = this.#places.get(page)
    const slot = known ?? this.#free()
    // The newest is the last to be forgotten.
    this.#places.delete(page)
    this.#places.set(page, slot)
    const start = slot * wordsInPage
    if (known === undefined) {
      slots.set(words.subarray(from, from + wordsInPage), start)
      return false
    }
    for (let index = 0; index < wordsInPage; index++) {
      const word = words[from + index] ?? 0
      into[at + index] = word ^ (slots[start + index] ?? 0)
      slots[start + index] = word
    }
    return true
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
 * `pages`: the bytes of `ranges`, aligned to words; they stay as they are. `room`: as long, and what is coded lies in it. With
 * `sent`, pages that it knows go as changes, and it knows all of these afterwards; without, they go whole. `breathe` is called
 * again and again: whoever works for long lets others have their turn.
 */
export async function codePages(
  ranges: readonly PageRange[],
  pages: Uint8Array,
  room: Uint8Array,
  sent: SentPages | undefined,
  breathe: () => Promise<void>,
): Promise<CodedPages> {
  const kinds = new Uint8Array(pages.length / pageBytes)
  const [words, into] = [wordsOf(pages), wordsOf(room)]
  let [at, used] = [0, 0]
  for (const { first, count } of ranges) {
    for (let page = first; page < first + count; page++, at++) {
      const from = at * wordsInPage
      if (at % pagesInOneGo === pagesInOneGo - 1) await breathe()
      // Most pages are known not to be of zeros by their first word.
      if (words[from] === 0 && isZero(pages.subarray(at * pageBytes, (at + 1) * pageBytes))) {
        sent?.forget(page)
        continue
      }
      const isChange = sent?.code(page, words, from, into, used) === true
      kinds[at] = isChange ? pageKinds.changed : pageKinds.whole
      if (!isChange) into.set(words.subarray(from, from + wordsInPage), used)
      used += wordsInPage
    }
  }
  return { kinds, bytes: room.subarray(0, used * 4) }
}

/** Some pages as they are. */
export interface PlainPages {
  readonly ranges: readonly PageRange[]
  /** Of them all, one after the other. */
  readonly content: Uint8Array
}

/**
 * The pages as they are, some at a time in their order, each good until the next. `read` gives what the second has of some
 * pages.
 */
export function* decodePages(
  ranges: readonly PageRange[],
  { kinds, bytes }: CodedPages,
  scratch: { readonly plain: Scratch; readonly old: Scratch },
  read: (ranges: readonly PageRange[], into: Uint8Array) => void,
): Generator<PlainPages> {
  const room = scratch.plain.room(Math.min(pagesInOneGo, kinds.length) * pageBytes)
  let [at, used] = [0, 0]
  for (const some of inOneGo(ranges)) {
    let pages = 0
    const changed: number[] = []
    for (const { count } of some) {
      for (const end = pages + count; pages < end; pages++, at++) {
        const into = room.subarray(pages * pageBytes, (pages + 1) * pageBytes)
        if (kinds[at] === pageKinds.zero) into.fill(0)
        else into.set(bytes.subarray(used, (used += pageBytes)))
        if (kinds[at] === pageKinds.changed) changed.push(pages)
      }
    }
    if (changed.length > 0) {
      const old = scratch.old.room(changed.length * pageBytes)
      read(pagesOf(some, changed), old)
      const [words, oldWords] = [wordsOf(room), wordsOf(old)]
      for (const [index, page] of changed.entries())
        addDifference(words, page * wordsInPage, oldWords, index * wordsInPage)
    }
    yield { ranges: some, content: room.subarray(0, pages * pageBytes) }
  }
}

/** The same ranges, in groups of at most so many pages as are worked on in one go. */
export function* inOneGo(ranges: readonly PageRange[]): Generator<PageRange[]> {
  let [some, pages]: [PageRange[], number] = [[], 0]
  for (const { first, count } of ranges) {
    for (let done = 0; done < count;) {
      const part = { first: first + done, count: Math.min(pagesInOneGo - pages, count - done) }
      some.push(part)
      pages += part.count
      done += part.count
      if (pages < pagesInOneGo) continue
      yield some
      ;[some, pages] = [[], 0]
    }
  }
  if (pages > 0) yield some
}

/** Of all pages of these ranges, counted through, those with these numbers. */
function pagesOf(ranges: readonly PageRange[], numbers: readonly number[]): PageRange[] {
  const found: PageRange[] = []
  let [index, before] = [0, 0]
  for (const { first, count } of ranges) {
    for (; index < numbers.length; index++) {
      const number = numbers[index] ?? 0
      if (number >= before + count) break
      found.push({ first: first + number - before, count: 1 })
    }
    before += count
  }
  return found
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

/** Makes a page of its difference to another. */
function addDifference(words: Int32Array, at: number, old: Int32Array, oldAt: number): void {
  for (let index = 0; index < wordsInPage; index++)
    words[at + index] = (words[at + index] ?? 0) ^ (old[oldAt + index] ?? 0)
}
