import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { describe, test } from 'node:test'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { decodeEpoch, encodeEpoch, type Epoch } from './epoch.ts'
import { FrameReader, frameKinds, writeFrame, writeWord, type Frame } from './frames.ts'
import { dueInMs } from './pacing.ts'
import { parseWord } from './words.ts'

const epoch: Epoch = {
  ...{ n: 3, epoch: 17, isPaused: false },
  ranges: [
    { first: 5, count: 2 },
    { first: 9000, count: 1 },
  ],
  pages: Buffer.alloc(3 * 4096, 'x'),
  devices: Buffer.from('QEVM and more'),
  journal: [Buffer.from('first'), Buffer.from('second')],
}

/** The bytes of frames as they would come off the wire. */
function wire(write: (stream: PassThrough) => void): Buffer {
  const stream = new PassThrough()
  write(stream)
  return stream.read() as Buffer
}

describe('frames', () => {
  const bytes = wire((stream) => {
    writeWord(stream, { is: 'beat', n: 1 })
    writeFrame(stream, frameKinds.epoch, encodeEpoch(epoch))
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
      assert.equal(decodeEpoch(frames[1]?.bytes ?? Buffer.alloc(0)).epoch, 17)
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
  const bytes = Buffer.concat(encodeEpoch(epoch))

  test('is the same after the wire', () => {
    const { journal, pages, devices, ...rest } = decodeEpoch(bytes)
    const { journal: sent, ...before } = epoch
    assert.deepEqual({ ...rest, pages: Buffer.from(pages), devices: Buffer.from(devices) }, before)
    assert.deepEqual(Buffer.from(journal[0]), Buffer.concat(sent))
  })

  test('that is cut off, too long or damaged is refused, and never half read', () => {
    for (let length = 0; length < bytes.length; length++) {
      assert.throws(() => decodeEpoch(bytes.subarray(0, length)), { code: 'invalid-request' }, `${length} bytes`)
    }
    assert.throws(() => decodeEpoch(Buffer.concat([bytes, Buffer.of(0)])), { code: 'invalid-request' })
  })
})

test('a word that nobody knows is refused', () => {
  for (const text of ['', 'beat', '{"is":"beat"}', '{"is":"run","n":1}', '[]'])
    assert.throws(() => parseWord(Buffer.from(text)), { code: 'invalid-request' }, text)
})

test('output that waits makes an epoch come soon; the guest runs most of the time', () => {
  const settings = { silenceMs: 500, beatMs: 50, shortestEpochMs: 20, longestEpochMs: 200 }
  const pace = { sinceMs: 0, lastPauseMs: 3, hasHeldOutput: false, journalBytes: 0 }
  assert.equal(dueInMs(pace, settings), 200)
  assert.equal(dueInMs({ ...pace, hasHeldOutput: true }, settings), 20)
  assert.equal(dueInMs({ ...pace, journalBytes: 2 ** 30 }, settings), 20)
  assert.equal(dueInMs({ ...pace, hasHeldOutput: true, lastPauseMs: 30 }, settings), 120)
  assert.ok(dueInMs({ ...pace, hasHeldOutput: true, sinceMs: 25 }, settings) <= 0)
})
