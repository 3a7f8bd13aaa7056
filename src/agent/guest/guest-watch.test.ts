import assert from 'node:assert/strict'
import { test } from 'node:test'
import { receivedFrames } from './guest-signs.ts'
import { GuestWatch } from './guest-watch.ts'

const everyMs = 10_000

/** A watch that was looked at at these seconds: `a` the agent answered, `s` it did not; a number is the activity. */
function looked(watch: GuestWatch, ...looks: readonly (readonly [seconds: number, 'a' | 's', string])[]) {
  for (const [seconds, answer, activity] of looks)
    watch.take({ nowMs: seconds * 1000, hasAnswered: answer === 'a', activity }, everyMs)
  const { agent, silentMs, idleMs } = watch.observe((looks.at(-1)?.[0] ?? 0) * 1000, false)
  return [agent, silentMs / 1000, idleMs / 1000]
}

test('silence and idleness are counted from the last sign of life', () => {
  const watch = new GuestWatch('1-0', 0)
  assert.deepEqual(looked(watch, [10, 's', '5']), ['never', 0, 0])
  assert.deepEqual(looked(watch, [20, 'a', '6']), ['answering', 0, 0])
  assert.deepEqual(looked(watch, [30, 's', '7']), ['silent', 10, 0])
  assert.deepEqual(looked(watch, [40, 's', '7'], [50, 's', '7']), ['silent', 30, 20])
  assert.deepEqual(looked(watch, [60, 's', '8']), ['silent', 40, 0])
  assert.deepEqual(looked(watch, [70, 'a', '8']), ['answering', 0, 10])
})

test('an agent that never answered since the guest began is never silent', () => {
  assert.equal(looked(new GuestWatch('1-0', 0), [10, 's', '1'], [20, 's', '1'], [900, 's', '1'])[0], 'never')
  assert.equal(looked(new GuestWatch('1-0', 0, true), [10, 's', '1'], [20, 's', '1'])[0], 'silent')
})

test('what interrupts the counting begins it anew, also when this program itself stood still', () => {
  const watch = new GuestWatch('1-0', 0)
  looked(watch, [10, 'a', '1'], [20, 's', '1'], [30, 's', '1'])
  watch.interrupt()
  assert.deepEqual(looked(watch, [40, 's', '1']), ['answering', 0, 0])
  assert.deepEqual(looked(watch, [50, 's', '1']), ['silent', 10, 10])
  assert.deepEqual(looked(watch, [150, 's', '1']), ['answering', 0, 0])
})

test('a look is due at its pace, and not while one goes on', () => {
  const watch = new GuestWatch('1-0', 0)
  assert.deepEqual([watch.takeDue(0, 1000), watch.takeDue(5000, 1000)], [true, false])
  watch.take({ nowMs: 5000, hasAnswered: false, activity: '' }, 1000)
  assert.deepEqual([watch.takeDue(5001, 1000), watch.takeDue(5002, 1000)], [true, false])
  // One whose QEMU never answered is not waited for for ever.
  assert.equal(watch.takeDue(16_000, 1000), true)
})

test('the frames that a tap has received are read from /proc/net/dev', () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1234 12 0 0 0 0 0 0 1234 12 0 0 0 0 0 0
hft42-1:99999999 4711 0 0 0 0 0 0 5 5 0 0 0 0 0 0
`
  assert.deepEqual(
    [...receivedFrames(text)],
    [
      ['lo', 12],
      ['hft42-1', 4711],
    ],
  )
})
