import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FrameJudge } from './frame-judge.ts'

function frame(tick: number, wrong: readonly [at: number, expected: number, found: number] = [0, 0, 0]): Buffer {
  const payload = Buffer.alloc(24)
  payload.write('HFST', 'latin1')
  for (const [index, word] of [tick, ...wrong].entries()) payload.writeUInt32LE(word, 4 + index * 4)
  return payload
}

test('frames whose numbers rise are fine, and those that are missing are counted', () => {
  const judge = new FrameJudge()
  for (const tick of [0, 1, 2, 7]) judge.take(frame(tick))
  assert.deepEqual([judge.last, judge.lost], [7, 4])
  judge.take(Buffer.from('something else on this port'))
  assert.equal(judge.last, 7)
})

test('a frame that comes again, or before its time, is a guest that went back', () => {
  for (const tick of [7, 3]) {
    const judge = new FrameJudge()
    judge.take(frame(7))
    assert.throws(() => judge.take(frame(tick)), {
      code: 'hypervisor-error',
      message: `the guest went back: it sent ${tick} after 7`,
    })
  }
})

test('a guest that found its memory wrong is believed', () => {
  const judge = new FrameJudge()
  assert.throws(() => judge.take(frame(9, [0x201004, 0xabcd, 0])), /wrong in tick 9: 0 in place of abcd at 0x201004/)
})
