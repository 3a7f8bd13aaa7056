import assert from 'node:assert/strict'
import { test } from 'node:test'
import { now } from './alarm-fixture.ts'
import { afterFailure, isDue, isTold, pauseAfterMs, type DeliveryRecord, type TargetRecord } from './notification.ts'

const minute = 60_000
const owed = {
  created: new Date(now).toISOString(),
  nextAt: new Date(now).toISOString(),
  attempts: 0,
} as DeliveryRecord

test('a target is told of what is as bad as it asks for, or worse, and of clearing if it wants that', () => {
  const target = { leastSeverity: 'warning', tellsClearing: false } as TargetRecord
  assert.deepEqual(
    (['critical', 'warning', 'info'] as const).map((severity) => isTold(target, 'raised', severity)),
    [true, true, false],
  )
  assert.equal(isTold(target, 'cleared', 'critical'), false)
  assert.equal(isTold({ ...target, tellsClearing: true }, 'cleared', 'critical'), true)
})

test('pauses grow to an hour', () => {
  assert.deepEqual(
    [1, 2, 3, 4, 5, 6, 7].map((each) => pauseAfterMs(each) / 1000),
    [5, 15, 60, 300, 900, 3600, 3600],
  )
})

test('what fails is tried again after its pause, and given up after a day', () => {
  let record = owed
  let at = now
  let tries = 0
  for (;;) {
    tries += 1
    const next = afterFailure(record, 'no answer', at)
    if (next === null) break
    assert.equal(isDue(next, at), false)
    at = Date.parse(next.nextAt)
    assert.equal(isDue(next, at), true)
    record = next
  }
  assert.equal(Math.floor((at - now) / (60 * minute)), 24)
  assert.equal(tries, 30)
  assert.equal(record.problem, 'no answer')
})

test('a wall clock that jumps gives nothing up at once, and makes nothing wait for long', () => {
  assert.ok(afterFailure(owed, 'x', now + 48 * 60 * minute) !== null)
  assert.equal(isDue({ nextAt: new Date(now + 2 * 60 * minute).toISOString() }, now), true)
})
