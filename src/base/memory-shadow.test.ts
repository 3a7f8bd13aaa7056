import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checksumsOf, MemoryShadow } from './memory-shadow.ts'

const mebibyte = 2 ** 20
const ranges = [
  { start: 0x10000000, bytes: 2 * mebibyte + 8192 },
  { start: 0x7f0000000000, bytes: 4096 },
]

/** Memory in two places, that can be read and written. */
function memory() {
  const parts = ranges.map(({ start, bytes }) => ({ start, bytes: Buffer.alloc(bytes) }))
  const at = (address: number, length: number): Buffer => {
    const part = parts.find(({ start, bytes }) => address >= start && address + length <= start + bytes.length)
    assert.ok(part)
    return part.bytes.subarray(address - part.start, address - part.start + length)
  }
  return {
    read: (address: number, into: Uint8Array): void => into.set(at(address, into.length)),
    write: (address: number, byte: number): void => {
      at(address, 1).fill(byte)
    },
  }
}

test('pages that have changed are found, once, and neighbours as one range', () => {
  const { read, write } = memory()
  const shadow = new MemoryShadow(ranges)
  assert.deepEqual(shadow.update(read), [])
  write(0x10000000 + mebibyte - 1, 1)
  write(0x10000000 + mebibyte, 1)
  write(0x10000000 + 2 * mebibyte + 8191, 1)
  write(0x7f0000000000, 1)
  const found = [
    { start: 0x10000000 + mebibyte - 4096, bytes: 8192 },
    { start: 0x10000000 + 2 * mebibyte + 4096, bytes: 4096 },
    { start: 0x7f0000000000, bytes: 4096 },
  ]
  assert.deepEqual(shadow.compare(read), found)
  assert.deepEqual(shadow.update(read), found)
  assert.deepEqual(shadow.update(read), [])
  write(0x7f0000000000, 0)
  assert.deepEqual(shadow.update(read), [{ start: 0x7f0000000000, bytes: 4096 }], 'back to zeros is a change')
})

test('what it holds is what was read or put, whatever the memory is by now', () => {
  const { read, write } = memory()
  const shadow = new MemoryShadow(ranges)
  write(0x10000000 + mebibyte, 7)
  shadow.update(read)
  write(0x10000000 + mebibyte, 8)
  const into = Buffer.alloc(8192)
  shadow.read(0x10000000 + mebibyte - 4096, into)
  assert.deepEqual([into[4095], into[4096], into[4097]], [0, 7, 0])
  shadow.put(0x10000000 + mebibyte - 4096, Buffer.alloc(8192, 9))
  shadow.read(0x10000000 + mebibyte - 4096, into)
  assert.ok(into.every((byte) => byte === 9))
  assert.throws(() => shadow.put(0x10000000 - 4096, into), RangeError)
})

test('checksums are equal where the memory is, and only there', () => {
  const { read, write } = memory()
  const shadow = new MemoryShadow(ranges)
  write(0x10000000 + 5, 1)
  shadow.update(read)
  const [first] = ranges
  assert.ok(first)
  const whole = (): number[] => ranges.flatMap((range) => checksumsOf(range, read))
  assert.deepEqual(shadow.checksums(), whole())
  assert.equal(shadow.checksums().length, 4)
  write(0x10000000 + 2 * mebibyte, 1)
  assert.notDeepEqual(shadow.checksums(), whole())
  shadow.update(read)
  assert.deepEqual(shadow.checksums(), whole())
})
