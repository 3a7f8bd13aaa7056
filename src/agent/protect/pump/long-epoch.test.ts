/** Epochs that are long: nothing is done with all of one at once, and both ways of packing understand each other. */
import assert from 'node:assert/strict'
import { describe, test, type TestContext } from 'node:test'
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { decodeEpoch, encodeEpoch, type Epoch } from './epoch.ts'
import { pack, unpack } from './packing.ts'
import { lengthOf, pieceBytes, piecesOf, splitAt } from './pieces.ts'
import { Scratch } from './scratch.ts'

const pages = 3000
const refused = { code: 'invalid-request' }
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Some of it packs well, some not at all. */
function content(random: SeededRandom, bytes: number): Buffer {
  const made = Buffer.alloc(bytes, 'what a guest writes, ')
  for (let at = 0; at < bytes; at += 3) made[at] = random.int(256)
  return made
}

const epoch: Epoch = {
  ...{ n: 3, epoch: 17, isPaused: false, ranges: [{ first: 5, count: pages }] },
  pages: { kinds: Buffer.alloc(pages, 1), bytes: content(new SeededRandom(1), pages * 4096) },
  devices: Buffer.from('QEVM and more'),
  journal: [Buffer.alloc(2 ** 20 + 5, 'first'), Buffer.from('second')],
}
const plainBytes = pages * 4097 + 8 + epoch.devices.length + lengthOf(epoch.journal)

/** Cuts it as no sender does. */
function cutUp(parts: readonly Uint8Array[], size: number): Buffer[] {
  const whole = Buffer.concat(parts)
  return Array.from({ length: Math.ceil(whole.length / size) }, (_, at) =>
    Buffer.from(whole.subarray(at * size, (at + 1) * size)),
  )
}

/** The most bytes that are copied, or put together, in one go from now on, by whomever. */
function largestCopy(t: TestContext): () => number {
  let largest = 0
  const concat = Buffer.concat.bind(Buffer)
  t.mock.method(Buffer, 'concat', (parts: readonly Uint8Array[], length?: number) => {
    largest = Math.max(largest, parts.length === 1 ? 0 : lengthOf(parts))
    return concat(parts, length)
  })
  const typed = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array
  const set = Reflect.get<Uint8Array, 'set'>(typed, 'set')
  t.mock.method(typed, 'set', function (this: Uint8Array, from: ArrayLike<number>, at?: number) {
    largest = Math.max(largest, from.length)
    set.call(this, from, at)
  })
  return () => {
    t.mock.restoreAll()
    return largest
  }
}

describe('an epoch of megabytes', () => {
  test('is the same after the wire, packed or not, however it was cut', async () => {
    for (const room of [undefined, new Scratch()]) {
      const { parts, plainBytes: before, sentBytes } = await encodeEpoch(epoch, room)
      assert.equal(before, plainBytes)
      assert.equal(sentBytes < plainBytes, room !== undefined)
      for (const pieces of [parts.map((part) => Buffer.from(part)), cutUp(parts, 1_000_001), cutUp(parts, 2 ** 30)]) {
        await using decoded = await decodeEpoch(pieces, plainBytes, new Scratch(), turn)
        assert.deepEqual(decoded.ranges, epoch.ranges)
        assert.ok(Buffer.from(epoch.pages.bytes).equals(decoded.pages.bytes))
        assert.ok(Buffer.concat(epoch.journal).equals(decoded.journal[0]))
        assert.equal(Buffer.from(decoded.devices).toString(), 'QEVM and more')
      }
    }
  })

  test('is coded and decoded no more than a megabyte in one go, and others have their turn after each', async (t) => {
    const least = Math.floor(plainBytes / pieceBytes)
    for (const room of [undefined, new Scratch()]) {
      const whileEncoding = largestCopy(t)
      const { parts } = await encodeEpoch(epoch, room)
      assert.ok(whileEncoding() <= pieceBytes)
      for (const part of parts) assert.ok(room === undefined || part.length <= pieceBytes)
      const pieces = cutUp(parts, pieceBytes)
      let turns = 0
      const whileDecoding = largestCopy(t)
      const breathe = async (): Promise<void> => {
        turns++
        await turn()
      }
      await using decoded = await decodeEpoch(pieces, plainBytes, new Scratch(), breathe)
      assert.ok(whileDecoding() <= pieceBytes)
      assert.equal(decoded.epoch, 17)
      // What is packed is unpacked by another thread, piece by piece.
      assert.ok(turns >= (room === undefined ? least : 0), `${turns} turns`)
    }
  })

  test('that is packed and cut off, longer or shorter than it says, or damaged is refused', async () => {
    const { parts } = await encodeEpoch(epoch, new Scratch())
    const whole = Buffer.concat(parts)
    const pieces = (bytes: Buffer): Buffer[] => cutUp([bytes], pieceBytes)
    for (const length of [whole.length - 1, whole.length - pieceBytes, whole.length >> 1, 2000])
      await assert.rejects(
        decodeEpoch(pieces(whole.subarray(0, length)), plainBytes, new Scratch(), turn),
        refused,
        `${length} bytes`,
      )
    await assert.rejects(
      decodeEpoch(pieces(whole), plainBytes - 1, new Scratch(), turn),
      refused,
      'more than there can be',
    )
    const damaged = Buffer.from(whole)
    damaged.fill(0xff, lengthOf(parts.slice(0, 2)), lengthOf(parts.slice(0, 2)) + 64)
    await assert.rejects(decodeEpoch(pieces(damaged), plainBytes, new Scratch(), turn), refused, 'damaged')
    const packed = await pack([epoch.pages.bytes], new Scratch())
    for (const more of [-1, 1, -pieceBytes, pieceBytes])
      await assert.rejects(unpack(packed, epoch.pages.bytes.length + more, new Scratch()), refused, `${more} bytes`)
    // A little that says that it is a little, and is not: as much as it says is unpacked, and one byte.
    await assert.rejects(unpack([zstdCompressSync(Buffer.alloc(2 ** 24))], 1000, new Scratch()), refused)
  })

  test('is understood by what packs and unpacks in one go, and understands that', async () => {
    const { bytes } = epoch.pages
    assert.ok(zstdDecompressSync(Buffer.concat(await pack([bytes], new Scratch()))).equals(bytes))
    const params = { [constants.ZSTD_c_compressionLevel]: 1 }
    const inOneGo = zstdCompressSync(bytes, { params })
    for (const pieces of [[inOneGo], cutUp([inOneGo], 100_000)])
      assert.ok((await unpack(pieces, bytes.length, new Scratch())).equals(bytes))
  })
})

test('pieces are no longer than a megabyte, none is empty, and together they are what was cut', () => {
  const random = new SeededRandom(9)
  for (let round = 0; round < 50; round++) {
    const lengths = Array.from({ length: random.int(6) }, () =>
      random.int(3) === 0 ? random.int(3) : random.int(3 * pieceBytes),
    )
    const parts = lengths.map((length) => Buffer.alloc(length, String(random.int(1000))))
    const pieces = [...piecesOf(parts)]
    for (const piece of pieces) assert.ok(lengthOf(piece) > 0 && lengthOf(piece) <= pieceBytes)
    assert.ok(Buffer.concat(pieces.flat()).equals(Buffer.concat(parts)))
    const at = random.int(lengthOf(parts) + 1)
    const [before, after] = splitAt(parts, at)
    assert.equal(lengthOf(before), at)
    assert.ok(Buffer.concat([...before, ...after]).equals(Buffer.concat(parts)))
  }
})
