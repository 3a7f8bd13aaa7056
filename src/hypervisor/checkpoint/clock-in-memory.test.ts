import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClockInMemory } from './clock-in-memory.ts'

const base = 0x5500_0000_0000
const [ticksAt, nsAt] = [0x148, 0x178]

/** A program's data, with the clock in it, and the state that it saves. */
class Program {
  readonly bytes = Buffer.alloc(0x1000)
  ticks = 0n
  ns = 0n
  /** Besides, at this place there is another number. */
  decoy: { at: number; value: () => bigint } | undefined

  constructor() {
    this.runs(1000)
  }

  runs(ms: number): Uint8Array {
    this.ns += BigInt(ms) * 1_000_000n
    this.ticks += BigInt(ms) * 2_400_000n
    this.bytes.writeBigInt64LE(this.ticks, ticksAt)
    this.bytes.writeBigInt64LE(this.ns, nsAt)
    if (this.decoy !== undefined) this.bytes.writeBigInt64LE(this.decoy.value(), this.decoy.at)
    return this.saved()
  }

  saved(): Uint8Array {
    const words = Buffer.alloc(24)
    words.writeBigInt64BE(this.ticks)
    words.writeBigInt64BE(this.ns, 16)
    const head = Buffer.from('040000000a0574696d65720000000000000002', 'hex')
    return Buffer.concat([Buffer.from('QEVM'), head, words, Buffer.from('7e0000000a', 'hex')])
  }

  read(address: number, into: Uint8Array): void {
    into.set(this.bytes.subarray(address - base, address - base + into.length))
  }

  write(address: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, address - base)
    this.ticks = this.bytes.readBigInt64LE(ticksAt)
    this.ns = this.bytes.readBigInt64LE(nsAt)
  }
}

function sought(program: Program): ClockInMemory {
  return new ClockInMemory(program, [{ start: base, bytes: program.bytes.length }])
}

test('the clock is where two saved states say, and goes on from where it is moved to', () => {
  const program = new Program()
  const clock = sought(program)
  clock.find(program.runs(50))
  assert.equal(clock.isKnown, false, 'one may be chance')
  clock.find(program.saved())
  assert.equal(clock.isKnown, false, 'the same again says nothing')
  clock.find(program.runs(50))
  clock.find(program.runs(50))
  assert.equal(clock.isKnown, true)
  assert.equal(clock.isSought, false)
  assert.equal(clock.nowMs(), 1150)
  clock.moveOn(7.5)
  assert.equal(clock.nowMs(), 1157.5)
  assert.equal(program.ticks, 1157_500n * 2400n)
})

test('of two places none is taken, and one that proves false is not kept', () => {
  const program = new Program()
  program.decoy = { at: 0x190, value: () => program.ns }
  const clock = sought(program)
  clock.find(program.runs(50))
  program.decoy = { at: 0x190, value: () => 0n }
  clock.find(program.runs(50))
  assert.equal(clock.isKnown, false)
  // What seemed to be it does not follow.
  program.bytes.copy(program.bytes, 0x800, 0x100, 0x200)
  const stray = new ClockInMemory(program, [{ start: base + 0x800, bytes: 0x100 }])
  stray.find(program.saved())
  stray.find(program.runs(50))
  assert.equal(stray.isKnown, false)
})

test('nothing is sought for ever, and nothing is written before it is known or once it was given up', () => {
  const program = new Program()
  const clock = sought(program)
  for (let tried = 0; tried < 10 && clock.isSought; tried++) clock.find(Buffer.from('no state'))
  assert.equal(clock.isSought, false)
  assert.throws(() => clock.moveOn(1))
  const other = sought(program)
  for (const ms of [50, 60]) other.find(program.runs(ms))
  other.giveUp()
  assert.equal(other.isSought, false)
  assert.throws(() => other.moveOn(1))
})
