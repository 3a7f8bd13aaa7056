import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { decodeEpoch, encodeEpoch, type Epoch } from './epoch.ts'
import { FrameReader, frameKinds, writeFrame, writeWord, type Frame } from './frames.ts'
import { Scratch } from './scratch.ts'
import { parseWord } from './words.ts'

const heads = { n: 3, epoch: 17, isPaused: false }
const epoch: Epoch = {
  ...heads,
  ranges: [
    { first: 5, count: 2 },
    { first: 9000, count: 1 },
  ],
  pages: { kinds: Buffer.of(1, 0, 2), bytes: Buffer.alloc(2 * 4096, 'x') },
  devices: Buffer.from('QEVM and more'),
  journal: [Buffer.from('first'), Buffer.from('second')],
}

const most = 2 ** 20
const noPause = (): Promise<void> => Promise.resolve()
const plain = Buffer.concat((await encodeEpoch(epoch)).parts)
const packed = Buffer.concat((await encodeEpoch(epoch, new Scratch())).parts)

/** The bytes of frames as they would come off the wire. */
function wire(write: (stream: PassThrough) => void): Buffer {
  const stream = new PassThrough()
  write(stream)
  return stream.read() as Buffer
}

describe('frames', () => {
  const bytes = wire((stream) => {
    writeWord(stream, { is: 'beat', n: 1 })
    writeFrame(stream, frameKinds.epoch, [plain])
    writeWord(stream, { is: 'ack', n: 1, epoch: 2 })
  })

  test('come out whole wherever the stream is cut', () => {
    const random = new SeededRandom(7)
    for (let round = 0; round < 200; round++) {
      const frames: Frame[] = []
      const reader = new FrameReader(2 ** 20, (frame) => frames.push(frame))
      for (let at = 0; at < bytes.length;) {
        const size = 1 + random.int(round < 100 ? 9 : 6000)
        reader.take(bytes.subarray(at, at + size))
        at += size
      }
      assert.deepEqual(
        frames.map(({ kind }) => kind),
        [frameKinds.word, frameKinds.epoch, frameKinds.word],
      )
      assert.deepEqual(parseWord(frames[2]?.bytes ?? Buffer.alloc(0)), { is: 'ack', n: 1, epoch: 2 })
      assert.deepEqual(frames[1]?.bytes, plain)
    }
  })

  test('that are longer than can be, empty, or of no kind are refused', () => {
    const reader = (): FrameReader => new FrameReader(100, () => undefined)
    assert.throws(() => reader().take(Buffer.of(101, 0, 0, 0, 1)), { code: 'invalid-request' })
    assert.throws(() => reader().take(Buffer.of(0, 0, 0, 0, 1)), { code: 'invalid-request' })
    assert.throws(() => reader().take(Buffer.from('GET / HTTP/1.1')), { code: 'invalid-request' })
  })
})

describe('an epoch', () => {
  test('is the same after the wire, packed or not', async () => {
    for (const bytes of [plain, packed]) {
      const decoded = await decodeEpoch([bytes], most, new Scratch(), noPause)
      const { n, isPaused, ranges, pages, devices, journal } = decoded
      assert.deepEqual([decoded.check, decoded.clock], [undefined, undefined])
      assert.deepEqual({ n, epoch: decoded.epoch, isPaused, ranges }, { ...heads, ranges: epoch.ranges })
      assert.deepEqual(Buffer.from(pages.kinds), epoch.pages.kinds)
      assert.deepEqual(Buffer.from(pages.bytes), epoch.pages.bytes)
      assert.deepEqual(Buffer.from(devices), epoch.devices)
      assert.deepEqual(Buffer.from(journal[0]), Buffer.concat(epoch.journal))
    }
    assert.ok(packed.length < plain.length / 10, `${packed.length} of ${plain.length} bytes`)
  })

  test('that is cut off, too long or damaged is refused, and never half read', async () => {
    const refused = { code: 'invalid-request' }
    for (const bytes of [plain, packed]) {
      for (let length = 0; length < bytes.length; length += length < 300 ? 1 : 61)
        await assert.rejects(
          decodeEpoch([bytes.subarray(0, length)], most, new Scratch(), noPause),
          refused,
          `${length} bytes`,
        )
    }
    await assert.rejects(decodeEpoch([plain, Buffer.of(0)], most, new Scratch(), noPause), refused)
    await assert.rejects(decodeEpoch([packed], 4096, new Scratch(), noPause), refused, 'more than there can be')
    for (const pages of [
      { kinds: Buffer.of(1, 0, 3), bytes: epoch.pages.bytes },
      { kinds: Buffer.of(1, 1, 1), bytes: epoch.pages.bytes },
      { kinds: Buffer.of(1, 1), bytes: epoch.pages.bytes },
    ]) {
      const { parts } = await encodeEpoch({ ...epoch, pages }, new Scratch())
      await assert.rejects(
        decodeEpoch([Buffer.concat(parts)], most, new Scratch(), noPause),
        refused,
        `kinds ${pages.kinds.toString('hex')}`,
      )
    }
  })
})

test('a word that nobody knows is refused', () => {
  for (const text of ['', 'beat', '{"is":"beat"}', '{"is":"run","n":1}', '[]'])
    assert.throws(() => parseWord(Buffer.from(text)), { code: 'invalid-request' }, text)
})
