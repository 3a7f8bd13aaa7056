import assert from 'node:assert/strict'
import { test } from 'node:test'
import { movedOn, virtualClockMs } from './virtual-clock.ts'

/** A section as QEMU 10.0.2 wrote it, between two others. */
function state(
  section = '04000000000574696d657200000000000000020000000a1694d56a0000000000000000000000042018ca147e00000000',
): Buffer {
  return Buffer.concat([
    Buffer.from('QEVM....\x05timers\x05timer'),
    Buffer.from(section, 'hex'),
    Buffer.from('\x04rest'),
  ])
}

test('the virtual clock of a saved state is read, and moved on with the ticks of the TSC', () => {
  const before = state()
  const ms = virtualClockMs(before)
  assert.equal(ms, 17_718.364)
  const after = movedOn(before, 1500)
  assert.ok(after !== undefined)
  assert.equal(virtualClockMs(after), ms + 1500)
  assert.equal(virtualClockMs(before), ms, 'what was given stays as it is')
  const ticks = (bytes: Uint8Array): number =>
    Number(Buffer.from(bytes).readBigInt64BE(before.indexOf('\x05timer\0') + 14))
  const perMs = (ticks(after) - ticks(before)) / 1500
  assert.ok(Math.abs(perMs - 2_445_402) < 1, `${perMs} ticks a millisecond`)
  assert.equal(after.length, before.length)
})

test('a section of another form is left alone', () => {
  const good = state().toString('hex')
  const changed = {
    'another version': good.replace('0000000000000002', '0000000000000003'),
    'another instance': good.replace('74696d65720000000000000002', '74696d65720000000100000002'),
    'another end': good.replace('7e00000000', '7f00000000'),
    'cut off': good.slice(0, 120),
    none: '',
  }
  for (const [what, hex] of Object.entries(changed)) {
    assert.equal(virtualClockMs(Buffer.from(hex, 'hex')), undefined, what)
    assert.equal(movedOn(Buffer.from(hex, 'hex'), 100), undefined, what)
  }
})
