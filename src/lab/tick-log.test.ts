import assert from 'node:assert/strict'
import { test } from 'node:test'
import { TickLog } from './tick-log.ts'

test('a line that comes in two pieces is one tick, and none is lost', () => {
  const log = new TickLog()
  log.hear('0\n1\n', 100)
  log.hear('1', 105)
  assert.equal(log.lost, 0)
  log.hear('0\n', 110)
  assert.deepEqual([log.ticks, log.lost, log.repeated, log.broken], [3, 8, 0, 0])
  assert.equal(log.arrivals.length, 2)
})

test('what is lost, comes twice or is no number is counted, each once', () => {
  const log = new TickLog()
  log.hear('0\n1\n2\n', 0)
  assert.ok(log.isWhole)
  log.hear('5\n6\n', 5)
  log.hear('6\n5\n7\n', 10)
  log.hear('x8\n\n', 15)
  assert.deepEqual([log.lost, log.repeated, log.broken], [2, 2, 2])
  assert.ok(!log.isWhole)
})

test('the longest silence is of those that ended after a moment, also the one that goes on', () => {
  const log = new TickLog()
  for (const at of [0, 300, 310, 360]) log.hear('0\n', at)
  assert.deepEqual(log.longestSilence(0, 370), { from: 0, to: 300 })
  assert.deepEqual(log.longestSilence(305, 370), { from: 310, to: 360 })
  assert.deepEqual(log.longestSilence(305, 999), { from: 360, to: 999 })
  assert.equal(log.silenceMs(400), 40)
})

test('a silence that began before the moment counts whole', () => {
  const log = new TickLog()
  for (const at of [100, 900]) log.hear('0\n', at)
  assert.deepEqual(log.longestSilence(500, 901), { from: 100, to: 900 })
})

test('before the first tick there is no silence', () => {
  const log = new TickLog()
  assert.equal(log.silenceMs(5000), 0)
  assert.deepEqual(log.longestSilence(0, 5000), { from: 5000, to: 5000 })
})

test('arrivals of long ago are forgotten', () => {
  const log = new TickLog()
  for (let at = 0; at < 5000; at++) log.hear(`${at}\n`, at)
  assert.ok(log.isWhole && log.ticks === 5000)
  assert.equal(log.arrivals.length, 2000)
  assert.equal(log.arrivals.at(-1)?.at, 4999)
})
