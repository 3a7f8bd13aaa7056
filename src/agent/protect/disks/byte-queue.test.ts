import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { ByteQueue } from './byte-queue.ts'

test('bytes come out as they went in, in whatever pieces', () => {
  for (let seed = 1; seed <= 100; seed++) {
    const random = new SeededRandom(seed)
    const all = Buffer.from(random.bytes(1000))
    const queue = new ByteQueue()
    const out: Buffer[] = []
    let put = 0
    let got = 0
    while (got < all.length) {
      if (random.chance(0.5)) {
        const count = Math.min(random.int(90), all.length - put)
        queue.push(all.subarray(put, put + count))
        put += count
      } else {
        const count = random.int(queue.length + 1)
        const taken = random.chance(0.5) ? [queue.take(count)] : queue.takeParts(count)
        got += count
        out.push(...taken)
      }
      assert.equal(queue.length, put - got)
    }
    assert.deepEqual(Buffer.concat(out), all, `seed ${seed}`)
  }
})

test('what is not there is not given, and what came in one piece is not copied', () => {
  const queue = new ByteQueue()
  const chunk = Buffer.from('abcdef')
  queue.push(chunk)
  assert.throws(() => queue.take(7), RangeError)
  const part = queue.take(3)
  assert.equal(part.buffer, chunk.buffer)
  assert.deepEqual([part.toString(), queue.length], ['abc', 3])
  queue.clear()
  assert.equal(queue.length, 0)
})
