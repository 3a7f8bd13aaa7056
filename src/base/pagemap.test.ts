import assert from 'node:assert/strict'
import { test } from 'node:test'
import { joinRanges, softDirtyPages } from './pagemap.ts'

/**
 * Sixteen pages of a process as a real kernel told them (Linux 6.18, which has no soft-dirty bits): written ones with their
 * frames (bits 63 and 56), never touched ones (all zeros), and one that was only read (the zero page, without bit 56).
 */
const recorded = [
  ...['0000000000000000', '8100000000231e1a', '810000000015511e', '0000000000000000'],
  ...['0000000000000000', '810000000012ea93', '0000000000000000', '8000000000003b32'],
  ...['0000000000000000', '81000000001c2dec', '8100000000217189', '0000000000000000'],
  ...['81000000001363fb', '0000000000000000', '0000000000000000', '81000000001bd167'],
].map((word) => BigInt(`0x${word}`))

/** Put in by hand, after Documentation/admin-guide/mm/pagemap.rst: no kernel at hand has them. */
const [softDirty, swapped] = [1n << 55n, 1n << 62n]

function pagemap(words: readonly bigint[]): Uint8Array {
  return new Uint8Array(new BigUint64Array(words).buffer)
}

const start = 0x7f1200000000

test('a pagemap without soft-dirty bits tells of no page', () => {
  assert.deepEqual(softDirtyPages(pagemap(recorded), start), [])
})

test('pages with the soft-dirty bit were written, be they present, in swap, or never touched', () => {
  const words = recorded.map((word, page) => {
    if (page === 5 || page === 12) return word | softDirty
    // Page 9 was written and has gone to swap since (type 0, offset 0x123); page 10 went there unwritten.
    if (page === 9) return swapped | softDirty | (0x123n << 5n)
    if (page === 10) return swapped | (0x124n << 5n)
    // A mapping that is younger than the last clearing.
    return page >= 13 ? word | softDirty : word
  })
  assert.deepEqual(softDirtyPages(pagemap(words), start), [
    { start: start + 5 * 4096, bytes: 4096 },
    { start: start + 9 * 4096, bytes: 4096 },
    { start: start + 12 * 4096, bytes: 4 * 4096 },
  ])
})

test('all the other bits of an entry say nothing about writes', () => {
  for (let bit = 0n; bit < 64n; bit++) {
    const found = softDirtyPages(pagemap([1n << bit]), start)
    assert.deepEqual(found, bit === 55n ? [{ start, bytes: 4096 }] : [], `bit ${bit}`)
  }
})

test('a piece that is cut within an entry tells only of whole ones', () => {
  const words = pagemap([softDirty, softDirty])
  assert.deepEqual(softDirtyPages(words.subarray(0, 12), start), [{ start, bytes: 4096 }])
})

test('ranges that touch become one', () => {
  const joined = joinRanges([
    { start: 0, bytes: 4096 },
    { start: 4096, bytes: 8192 },
    { start: 16_384, bytes: 4096 },
  ])
  assert.deepEqual(joined, [
    { start: 0, bytes: 12_288 },
    { start: 16_384, bytes: 4096 },
  ])
})
