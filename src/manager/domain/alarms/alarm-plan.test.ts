import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { AlarmId } from '../../../base/ids.ts'
import { defaultAlarmSettings } from '../../../contracts/alarms.ts'
import { anAlarmHost, aSilentHost, aWorld, now } from './alarm-fixture.ts'
import { acknowledged, clearDelayMs, clearedBy, decideAlarm, mutedMs, type Verdict } from './alarm-plan.ts'
import { alarmKey, type AlarmRecord } from './alarm-record.ts'
import { AlarmWatch, type DueVerdict } from './alarm-watch.ts'
import { unknown, type AlarmWorld, type Condition, type Finding } from './condition.ts'
import { hostDown } from './host-conditions.ts'
import { forgettable } from './retention.ts'

const subject = { kind: 'host', id: 'host-1', name: 'h1' }
const finding: Finding = { subject, severity: 'critical', message: 'h1 is down', mend: 'Look.' }
const holds: Verdict = { is: 'holds', type: 'host-down', finding }
const over: Verdict = { is: 'over' }
const id = 'alarm-1' as AlarmId
const minute = 60_000

function raisedOnce(): AlarmRecord {
  const decision = decideAlarm(undefined, holds, now, id)
  assert.equal(decision?.news, 'raised')
  return decision.record
}

test('an alarm is raised once, cleared when it is over, and counts when it comes back', () => {
  const first = raisedOnce()
  assert.deepEqual([first.id, first.state, first.count, first.flaps], [id, 'raised', 1, 0])
  assert.equal(decideAlarm(first, holds, now + minute, null), undefined)
  const cleared = decideAlarm(first, over, now + minute, null)
  assert.deepEqual([cleared?.news, cleared?.record.state, cleared?.record.clearedBy], ['cleared', 'cleared', null])
  assert.equal(decideAlarm(cleared?.record, over, now + minute, null), undefined)
  const again = decideAlarm(cleared?.record, holds, now + 2 * minute, null)
  assert.deepEqual([again?.news, again?.record.id, again?.record.count, again?.record.flaps], ['raised', id, 2, 1])
  assert.deepEqual([again?.record.clearedAt, again?.record.acknowledgedBy], [null, null])
})

test('what was never there is not cleared', () => {
  assert.equal(decideAlarm(undefined, over, now, null), undefined)
})

test('one that comes back soon is cleared later each time, and one that comes back late is not', () => {
  let record = raisedOnce()
  let at = now
  const delays: number[] = []
  for (let round = 0; round < 9; round++) {
    record = decideAlarm(record, over, (at += minute), null)!.record
    record = decideAlarm(record, holds, (at += minute), null)!.record
    delays.push(clearDelayMs(record, 10_000) / 1000)
  }
  assert.deepEqual(delays, [15, 30, 60, 120, 240, 480, 900, 900, 900])
  record = decideAlarm(record, over, (at += minute), null)!.record
  record = decideAlarm(record, holds, at + 61 * minute, null)!.record
  assert.equal(clearDelayMs(record, 10_000), 10_000)
})

test('another severity and another occurrence are news; other words are not', () => {
  const first = raisedOnce()
  const say = (change: Partial<Finding>) =>
    decideAlarm(first, { is: 'holds', type: 'host-down', finding: { ...finding, ...change } }, now, null)
  assert.equal(say({ severity: 'warning' })?.news, 'raised')
  assert.equal(say({ occurrence: 'task-2' })?.record.count, 2)
  assert.deepEqual([say({ message: 'other words' })?.news, say({ message: 'other words' })?.record.count], [null, 1])
  assert.equal(say({ message: 'h1\nis\u0007 down' }), undefined, 'what a program says is one line')
})

test('one that a person cleared is not raised again before it was over once, or a day has passed', () => {
  const muted = clearedBy(raisedOnce(), 'ada', now)!
  assert.equal(muted.clearedBy, 'ada')
  assert.equal(decideAlarm(muted, holds, now + mutedMs - 1, null), undefined)
  assert.equal(decideAlarm(muted, holds, now + mutedMs, null)?.news, 'raised')
  const after = decideAlarm(muted, over, now + 1, null)
  assert.equal(after?.news, null)
  assert.equal(decideAlarm(after.record, holds, now + 2, null)?.news, 'raised')
  const next: Verdict = { is: 'holds', type: 'x', finding: { ...finding, occurrence: 'another' } }
  assert.equal(decideAlarm(muted, next, now + 1, null)?.news, 'raised')
})

test('an acknowledged alarm stays so while it lasts, and a cleared one cannot be acknowledged', () => {
  const taken = acknowledged(raisedOnce(), 'ada', now)!
  assert.equal(decideAlarm(taken, holds, now + 1, null), undefined)
  assert.equal(acknowledged(taken, 'bob', now), undefined)
  assert.equal(acknowledged(clearedBy(taken, 'ada', now)!, 'ada', now), undefined)
  assert.equal(clearedBy(clearedBy(taken, 'ada', now)!, 'ada', now), undefined)
})

/** Looks every two seconds until the time, and returns what was due the last time. */
function watchUntil(
  watch: AlarmWatch,
  from: number,
  to: number,
  look: () => [AlarmWorld, AlarmRecord[]],
): DueVerdict[] {
  let due: DueVerdict[] = []
  for (let at = from; at <= to; at += 2000) due = watch.look(...look(), at)
  return due
}

test('a manager that has just begun, or stood still, waits before it says anything', () => {
  const watch = new AlarmWatch([hostDown])
  const look = (): [AlarmWorld, AlarmRecord[]] => [aWorld({ hosts: [aSilentHost(1)] }), []]
  assert.deepEqual(watchUntil(watch, 0, 8000, look), [])
  assert.equal(watchUntil(watch, 10_000, 10_000, look)[0]?.verdict.is, 'holds')
  assert.deepEqual(watchUntil(watch, 30_000, 38_000, look), [], 'it was frozen for 20 s')
  assert.equal(watchUntil(watch, 40_000, 40_000, look)[0]?.verdict.is, 'holds')
})

test('a condition must last to be raised, and be over for a while to be cleared', () => {
  let sights: Finding[] = []
  const condition: Condition = { type: 'host-down', raiseAfterMs: 6000, clearAfterMs: 4000, look: () => sights }
  const watch = new AlarmWatch([condition])
  const records: AlarmRecord[] = []
  const look = (): [AlarmWorld, AlarmRecord[]] => [aWorld(), records]
  watchUntil(watch, 0, 20_000, look)
  sights = [finding]
  assert.deepEqual(watchUntil(watch, 22_000, 26_000, look), [])
  assert.equal(watchUntil(watch, 28_000, 28_000, look)[0]?.verdict.is, 'holds')
  records.push(raisedOnce())
  sights = []
  assert.deepEqual(watchUntil(watch, 30_000, 32_000, look), [])
  sights = [finding]
  watchUntil(watch, 34_000, 34_000, look)
  sights = []
  assert.deepEqual(watchUntil(watch, 36_000, 38_000, look), [], 'it came back for a moment: the wait begins anew')
  assert.equal(watchUntil(watch, 40_000, 40_000, look)[0]?.verdict.is, 'over')
})

test('an alarm stays while nothing is known of its subject, and is over when that is gone', () => {
  const silent: Condition = { type: 'host-down', raiseAfterMs: 0, clearAfterMs: 0, look: () => [unknown(subject)] }
  const records = [raisedOnce()]
  assert.deepEqual(
    watchUntil(new AlarmWatch([silent]), 0, 60_000, () => [aWorld(), records]),
    [],
  )
  const due = watchUntil(new AlarmWatch([hostDown]), 0, 60_000, () => [aWorld({ hosts: [anAlarmHost(2)] }), records])
  assert.deepEqual(
    due.map(({ key, verdict }) => [key, verdict.is]),
    [['alarm/host-down/host-1', 'over']],
  )
})

test('a type that is switched off is not raised, and what is open of it is cleared', () => {
  const settings = { ...defaultAlarmSettings, disabledTypes: ['host-down'] }
  const world = aWorld({ hosts: [aSilentHost(1)], settings })
  assert.deepEqual(
    watchUntil(new AlarmWatch([hostDown]), 0, 20_000, () => [world, []]),
    [],
  )
  const due = watchUntil(new AlarmWatch([hostDown]), 0, 20_000, () => [world, [raisedOnce()]])
  assert.equal(due[0]?.verdict.is, 'over')
})

test('an alarm of a type that this version does not know is left alone', () => {
  const other = { ...raisedOnce(), type: 'of-a-newer-version' }
  assert.deepEqual(
    watchUntil(new AlarmWatch([hostDown]), 0, 60_000, () => [aWorld(), [other]]),
    [],
  )
})

test('keys tell places apart', () => {
  assert.equal(alarmKey('t', { id: 'ds-1' }, null), 'alarm/t/ds-1')
  assert.equal(alarmKey('t', { id: 'ds-1' }, { id: 'host-2' }), 'alarm/t/ds-1/host-2')
})

test('cleared alarms are kept for 30 days, the newest 1,000 of them; open and muted ones stay', () => {
  const cleared = (at: number, number: number): AlarmRecord => ({
    ...decideAlarm(raisedOnce(), over, at, null)!.record,
    id: `alarm-${number}` as AlarmId,
  })
  const day = 24 * 60 * minute
  const old = cleared(now - 31 * day, 1)
  const recent = cleared(now - 29 * day, 2)
  const kept = [raisedOnce(), clearedBy(raisedOnce(), 'ada', now - 40 * day)!]
  assert.deepEqual(forgettable([old, recent, ...kept], now), [old])
  const many = Array.from({ length: 1003 }, (_each, at) => cleared(now - at * 1000, at + 10))
  assert.deepEqual(
    forgettable(many, now).map(({ id: each }) => each),
    ['alarm-1010', 'alarm-1011', 'alarm-1012'],
  )
})
