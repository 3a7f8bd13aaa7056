import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../../base/log.ts'
import type { ClockInMemory } from '../../../hypervisor/checkpoint/clock-in-memory.ts'
import { ClockGiving } from './clock-giving.ts'

/** A guest's clock, of which the place is known. */
class Guest {
  virtualMs = 500
  isKnown = true
  readonly isSought = false
  find(): void {}
  nowMs(): number {
    return this.virtualMs
  }
  moveOn(ms: number): void {
    this.virtualMs += ms
  }
  giveUp(): void {
    this.isKnown = false
  }
}

function given(): { guest: Guest; giving: ClockGiving } {
  const guest = new Guest()
  return { guest, giving: new ClockGiving(guest as unknown as ClockInMemory, silentLogger) }
}

test('what a guest stood still for is given back, and what it then waits before it goes on, with the next', () => {
  const { guest, giving } = given()
  assert.equal(giving.giveBack(10_000), 0, 'where it began is not known')
  guest.virtualMs += 48
  // It stood still for 2 ms before it went on, and for 5 ms now.
  assert.equal(giving.giveBack(10_055), 7)
  assert.equal(guest.virtualMs, 555)
  for (let epoch = 1; epoch <= 100; epoch++) {
    guest.virtualMs += 45
    giving.giveBack(10_055 + epoch * 50)
  }
  assert.equal(guest.virtualMs, 555 + 5000)
})

test('a guest that somebody paused is given nothing for that', () => {
  const { guest, giving } = given()
  giving.giveBack(10_000)
  giving.forget()
  assert.equal(giving.giveBack(70_000), 0)
  guest.virtualMs += 95
  assert.equal(giving.giveBack(70_100), 5)
})

test('no more is given at once than a kernel takes', () => {
  const { giving } = given()
  giving.giveBack(0)
  assert.equal(giving.giveBack(60_000), 10_000)
})

test('a clock that is ahead of time, or cannot be read, is left alone from then on', () => {
  const { guest, giving } = given()
  giving.giveBack(0)
  guest.virtualMs += 50
  assert.equal(giving.giveBack(40), 0, 'what clocks differ by')
  assert.equal(guest.isKnown, true)
  guest.virtualMs += 5000
  assert.equal(giving.giveBack(100), 0)
  assert.equal(guest.isKnown, false)

  const broken = given()
  broken.guest.nowMs = () => {
    throw new Error('nothing is there')
  }
  assert.equal(broken.giving.giveBack(0), 0)
  assert.equal(broken.guest.isKnown, false)
})
