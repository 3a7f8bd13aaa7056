import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import type { PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { checkKinds, codePages, decodePages, pageKinds, SentPages } from './page-coding.ts'
import { PackingChoice } from './packing.ts'
import { Scratch } from './scratch.ts'

const pageBytes = 4096
const noPause = (): Promise<void> => Promise.resolve()

/** A memory that changes, as guests do: most pages a little, some wholly, some to zeros. */
function change(random: SeededRandom, memory: Buffer): PageRange[] {
  const ranges: PageRange[] = []
  for (let first = random.int(4); first < memory.length / pageBytes;) {
    const count = Math.min(1 + random.int(5), memory.length / pageBytes - first)
    for (let page = first; page < first + count; page++) {
      const content = memory.subarray(page * pageBytes, (page + 1) * pageBytes)
      const how = random.int(10)
      if (how === 0) content.fill(0)
      else if (how === 1) for (let at = 0; at < pageBytes; at++) content[at] = random.int(256)
      else content[random.int(pageBytes)] = random.int(256)
    }
    ranges.push({ first, count })
    first += count + 1 + random.int(6)
  }
  return ranges
}

function pagesOf(memory: Buffer, ranges: readonly PageRange[]): Buffer {
  const parts = ranges.map(({ first, count }) => memory.subarray(first * pageBytes, (first + count) * pageBytes))
  const all = Buffer.alloc(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) at += part.copy(all, at)
  return all
}

function put(memory: Buffer, ranges: readonly PageRange[], content: Uint8Array): void {
  let at = 0
  for (const { first, count } of ranges) memory.set(content.subarray(at, (at += count * pageBytes)), first * pageBytes)
}

describe('the pages of epochs', () => {
  test('make the same memory on the other side, also when what was sent is forgotten', async () => {
    for (const [mostBytes, pages] of [
      [0, 64],
      [40 * pageBytes, 64],
      [2 ** 20, 64],
      [2 ** 24, 2000],
    ] as const) {
      const random = new SeededRandom(mostBytes + 5)
      const here = Buffer.alloc(pages * pageBytes)
      const there = Buffer.alloc(pages * pageBytes)
      const sent = new SentPages(mostBytes)
      const room = new Scratch()
      const scratch = { plain: new Scratch(), old: new Scratch() }
      let changed = 0
      for (let epoch = 0; epoch < (pages > 64 ? 20 : 200); epoch++) {
        const ranges = change(random, here)
        // Now and then epochs go plain, as when packing does not pay.
        const isPlain = epoch % 50 > 40
        if (isPlain) sent.clear()
        const written = pagesOf(here, ranges)
        const coded = await codePages(ranges, written, room.room(written.length), isPlain ? undefined : sent, noPause)
        checkKinds(coded.kinds, coded.bytes.length)
        changed += coded.kinds.filter((kind) => kind === pageKinds.changed).length
        const read = (some: readonly PageRange[], into: Uint8Array): void => into.set(pagesOf(there, some))
        for (const { ranges: some, content } of decodePages(ranges, coded, scratch, read)) put(there, some, content)
        assert.ok(here.equals(there), `epoch ${epoch}, ${mostBytes} bytes remembered`)
      }
      assert.equal(changed > 0, mostBytes > 0)
    }
  })

  test('that are zeros take no room', async () => {
    const ranges = [{ first: 7, count: 3 }]
    const zeros = Buffer.alloc(3 * pageBytes)
    const { kinds, bytes } = await codePages(ranges, zeros, Buffer.alloc(zeros.length), undefined, noPause)
    assert.deepEqual([...kinds], [0, 0, 0])
    assert.equal(bytes.length, 0)
  })
})

describe('packing', () => {
  test('is done where it makes an epoch arrive sooner', () => {
    const choice = new PackingChoice()
    assert.ok(choice.next(), 'it is tried first')
    // 10 ns a byte, a fifth is left; the link takes 8 ns a byte.
    choice.notePacked(1_000_000, 200_000, 10)
    choice.link.note(200_000, 1.6)
    assert.equal(choice.next(), false)
    // The link has become slow.
    for (let epoch = 0; epoch < 20; epoch++) choice.link.note(200_000, 50)
    assert.equal(choice.next(), true)
  })

  test('is tried again after a while where it did not pay', () => {
    const choice = new PackingChoice()
    choice.notePacked(1_000_000, 990_000, 10)
    choice.link.note(1_000_000, 10)
    const tried = Array.from({ length: 200 }, () => choice.next()).filter(Boolean)
    assert.equal(tried.length, 3)
  })
})
