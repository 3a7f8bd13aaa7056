import assert from 'node:assert/strict'
import { test } from 'node:test'
import { dueInMs, mostWaitingBytes, type Pace } from './pacing.ts'

const settings = { silenceMs: 500, beatMs: 50, shortestEpochMs: 20, longestEpochMs: 500 }
const pace: Pace = {
  ...{ sinceMs: 0, lastPauseMs: 3, hasHeldOutput: false, journalBytes: 0, writtenBytes: 0, bytesPerMs: 100_000 },
}

test('output that waits makes an epoch come soon; the guest runs most of the time', () => {
  assert.equal(dueInMs(pace, settings), 500)
  assert.equal(dueInMs({ ...pace, hasHeldOutput: true }, settings), 20)
  assert.equal(dueInMs({ ...pace, journalBytes: 2 ** 30 }, settings), 20)
  assert.equal(dueInMs({ ...pace, hasHeldOutput: true, lastPauseMs: 30 }, settings), 120)
  assert.ok(dueInMs({ ...pace, hasHeldOutput: true, sinceMs: 25 }, settings) <= 0)
})

test('what the link does not carry in a moment is not waited with', () => {
  assert.equal(dueInMs({ ...pace, writtenBytes: 5_000_000 }, settings), 500)
  assert.equal(dueInMs({ ...pace, writtenBytes: 7_000_000 }, settings), 20)
  assert.equal(dueInMs({ ...pace, writtenBytes: 7_000_000, bytesPerMs: 1_000_000 }, settings), 500)
  assert.equal(dueInMs({ ...pace, writtenBytes: 1_000_000, bytesPerMs: undefined }, settings), 20)
})

test('a guest is held back when more waits than the link carries in two long epochs', () => {
  assert.equal(mostWaitingBytes(100_000, settings), 100_000_000)
  assert.equal(mostWaitingBytes(1000, settings), 32 * 2 ** 20)
  assert.equal(mostWaitingBytes(undefined, settings), 32 * 2 ** 20)
})
