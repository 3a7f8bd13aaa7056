import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClockLag } from './clock-lag.ts'
import { takenOver } from './clock-takeover.ts'

const at = (wallMs: number, virtualMs: number) => ({ wallMs, virtualMs })

test('what a guest loses is counted from its first epoch on, by its virtual clock', () => {
  const lag = new ClockLag(1000)
  assert.equal(lag.seen(0), null)
  assert.deepEqual(lag.note(at(10_000, 400)), { ...at(10_000, 400), lagMs: 0 })
  assert.deepEqual(lag.note(at(10_200, 590)), { ...at(10_200, 590), lagMs: 10 })
  lag.note(at(10_400, 750))
  assert.deepEqual(lag.seen(0), { lagMs: 50, isMeasured: false, isBeyondLimit: false })
  assert.equal(lag.note(undefined), undefined, 'a state that does not tell')
  assert.equal(lag.lagMs, 50)
  assert.ok(lag.lostShare > 0.01 && lag.lostShare < 0.2)
})

test('a measured clock is known, has the pause before it in it, and is an estimate again after a while', () => {
  const lag = new ClockLag(1000)
  lag.note(at(0, 0))
  lag.note(at(1000, 900))
  // The guest stood still for 40 ms after that moment; then it was asked, and was 5 ms behind.
  lag.measured(5, 77)
  assert.deepEqual(lag.seen(100), { lagMs: 5, isMeasured: true, isBeyondLimit: false })
  lag.note(at(1200, 1060))
  assert.equal(lag.lagMs, 5)
  lag.note(at(1400, 1250))
  assert.equal(lag.lagMs, 15)
  assert.equal(lag.seen(31_000)?.isMeasured, false)
})

test('a guest that boots has the right time', () => {
  const lag = new ClockLag(1000, { ...at(0, 0), lagMs: 5000 })
  lag.note(at(100, 90))
  assert.deepEqual(lag.seen(0), { lagMs: 5010, isMeasured: false, isBeyondLimit: true })
  lag.rebooted()
  assert.deepEqual(lag.seen(0), { lagMs: 0, isMeasured: false, isBeyondLimit: false })
  lag.note(at(300, 280))
  lag.note(at(500, 470))
  assert.equal(lag.lagMs, 10)
})

test('beyond the limit is said until it is well below it again; no limit is none', () => {
  const lag = new ClockLag(1000)
  const isBeyond = (lagMs: number): boolean | undefined => {
    lag.measured(lagMs, 0)
    return lag.seen(0)?.isBeyondLimit
  }
  assert.deepEqual([900, 1001, 900, 501, 499, 900].map(isBeyond), [false, true, true, true, false, false])
  const none = new ClockLag(0)
  none.measured(1e9, 0)
  assert.equal(none.seen(0)?.isBeyondLimit, false)
})

/** A section `timer` whose clock says one second. */
function state(): Buffer {
  const bytes = Buffer.alloc(5 + 6 + 8 + 24 + 5)
  bytes[0] = 4
  bytes.write('\x05timer', 5)
  bytes.writeUInt32BE(2, 15)
  bytes.writeBigInt64BE(2_000_000_000n, 19)
  bytes.writeBigInt64BE(1_000_000_000n, 35)
  bytes[43] = 0x7e
  return bytes
}

test('who takes a guest over counts on, and gives back the silence where it can', () => {
  const clock = { ...at(50_000, 1000), lagMs: 30 }
  const taken = takenOver({ devices: state(), isPaused: false, clock }, 'tcg', 50_700, 650)
  const lag = new ClockLag(1000, taken.base)
  // It ran for 100 ms, from the clock that was moved on.
  lag.note(at(50_800, 1000 + 700 + 100))
  assert.equal(lag.lagMs, 30)
  assert.equal(Buffer.from(taken.devices).readBigInt64BE(35), 1_700_000_000n)
  for (const kept of [
    takenOver({ devices: state(), isPaused: true, clock }, 'tcg', 50_700, 650),
    takenOver({ devices: state(), isPaused: false, clock }, 'kvm', 50_700, 650),
  ]) {
    assert.equal(Buffer.from(kept.devices).readBigInt64BE(35), 1_000_000_000n)
    const counted = new ClockLag(1000, kept.base)
    counted.note(at(50_800, 1100))
    assert.equal(counted.lagMs, 730)
  }
})

test('hosts whose clocks differ do not make a silence of it', () => {
  const clock = { ...at(50_000, 1000), lagMs: 30 }
  for (const nowMs of [49_000, 99_000]) {
    const { base, devices } = takenOver({ devices: state(), isPaused: false, clock }, 'tcg', nowMs, 650)
    assert.equal(base?.wallMs, nowMs - 650)
    assert.equal(Buffer.from(devices).readBigInt64BE(35), 1_650_000_000n)
  }
  const older = takenOver({ devices: state(), isPaused: false }, 'tcg', 50_700, 650)
  assert.equal(older.base, undefined)
})

test('the stop for an epoch counts at once, and once', () => {
  const lag = new ClockLag(1000)
  lag.note(at(0, 0), 40)
  assert.equal(lag.lagMs, 40)
  assert.deepEqual(lag.note(at(1000, 958), 30), { ...at(1000, 958), lagMs: 42 })
  assert.equal(lag.lagMs, 72)
  lag.measured(3, 0)
  lag.note(at(2000, 1928), 20)
  assert.equal(lag.lagMs, 23)
})
