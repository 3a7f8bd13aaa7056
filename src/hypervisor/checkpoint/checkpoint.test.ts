import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { MemoryRange, ProcessMemory } from '../../base/process-memory.ts'
import { GuestMemory, isZero } from './guest-memory.ts'
import { parseRamBlocks } from './ram-blocks.ts'
import { restoreStream } from './restore-stream.ts'

const said = `              Block Name    PSize              Offset               Used              Total                HVA  RO
                  pc.ram    4 KiB  0x0000000000000000 0x0000000000004000 0x0000000000004000 0x00007fad23e00000  rw
   0000:00:02.0/vga.vram    4 KiB  0x0000000008080000 0x0000000000002000 0x0000000000002000 0x00007fad78800000  rw
    /rom@etc/acpi/tables    4 KiB  0x0000000009100000 0x0000000000001000 0x0000000000200000 0x00007fad10000000  ro
`
const blocks = parseRamBlocks(said)

test('the blocks of memory are read as QEMU tells them', () => {
  assert.deepEqual(blocks, [
    { name: 'pc.ram', bytes: 0x4000, mostBytes: 0x4000, address: 0x7fad23e00000, isRom: false },
    { name: '0000:00:02.0/vga.vram', bytes: 0x2000, mostBytes: 0x2000, address: 0x7fad78800000, isRom: false },
    { name: '/rom@etc/acpi/tables', bytes: 0x1000, mostBytes: 0x200000, address: 0x7fad10000000, isRom: true },
  ])
})

test('a QEMU that does not tell addresses is too old, and says what to do', () => {
  const old = said.replaceAll(/ 0x00007fad\S+ {2}r[wo]/g, '')
  assert.throws(
    () => parseRamBlocks(old),
    (thrown: HoldfastError) => thrown.code === 'refused' && /8\.1/.test(String(thrown.details.mend)),
  )
})

class FakeMemory implements ProcessMemory {
  readonly bytes = new Map<number, Uint8Array>()
  read(address: number, into: Uint8Array): void {
    for (let at = 0; at < into.length; at += 4096) into.set(this.bytes.get(address + at) ?? new Uint8Array(4096), at)
  }
  readMany(ranges: readonly MemoryRange[], into: Uint8Array): void {
    let done = 0
    for (const { start, bytes } of ranges) this.read(start, into.subarray(done, (done += bytes)))
  }
  write(address: number, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 4096) this.bytes.set(address + at, bytes.slice(at, at + 4096))
  }
  writeMany(ranges: readonly MemoryRange[], from: Uint8Array): void {
    let done = 0
    for (const { start, bytes } of ranges) this.write(start, from.subarray(done, (done += bytes)))
  }
  programData(): never {
    throw new Error('there is no program')
  }
  trackWrites(): never {
    throw new Error('nobody tracks')
  }
  async [Symbol.asyncDispose](): Promise<void> {}
}

describe('pages', () => {
  test('are numbered through the blocks, wherever they are', () => {
    const guest = new GuestMemory(new FakeMemory(), blocks)
    assert.equal(guest.pages, 7)
    const found = guest.pagesAt([
      { start: 0x7fad78801000, bytes: 0x1000 },
      { start: 0x7fad23e01000, bytes: 0x2000 },
      { start: 0x7fad10000000, bytes: 0x3000 },
      { start: 0x1000, bytes: 0x1000 },
    ])
    assert.deepEqual(found, [
      { first: 1, count: 2 },
      { first: 5, count: 1 },
      { first: 6, count: 1 },
    ])
  })

  test('that go over the end of a block are written to both', () => {
    const memory = new FakeMemory()
    const guest = new GuestMemory(memory, blocks)
    guest.write({ first: 3, count: 2 }, Buffer.concat([Buffer.alloc(4096, 'a'), Buffer.alloc(4096, 'b')]))
    assert.equal(memory.bytes.get(0x7fad23e03000)?.[0], 'a'.charCodeAt(0))
    assert.equal(memory.bytes.get(0x7fad78800000)?.[0], 'b'.charCodeAt(0))
    const back = Buffer.alloc(3 * 4096)
    assert.equal(guest.read({ first: 2, count: 3 }, back), back.length)
    assert.deepEqual([back[0], back[4096], back[8192]], [0, 97, 98])
  })

  test('are cut where blocks end, and where a piece is long enough', () => {
    const guest = new GuestMemory(new FakeMemory(), blocks)
    assert.deepEqual(
      [...guest.cut({ first: 1, count: 6 }, 2)],
      [
        { first: 1, count: 2 },
        { first: 3, count: 1 },
        { first: 4, count: 2 },
        { first: 6, count: 1 },
      ],
    )
    assert.ok(guest.isRom({ first: 6, count: 1 }) && !guest.isRom({ first: 5, count: 1 }))
    assert.throws(() => guest.read({ first: 7, count: 1 }, Buffer.alloc(4096)), { code: 'internal' })
  })

  test('of zeros are known', () => {
    const bytes = Buffer.alloc(3 * 4096)
    assert.ok(isZero(bytes))
    bytes[3 * 4096 - 1] = 1
    assert.ok(!isZero(bytes))
  })
})

test('a restore stream names the machine and its blocks, and carries the devices', () => {
  const devices = Buffer.concat([Buffer.from('QEVM'), Buffer.of(0, 0, 0, 3), Buffer.from('devices'), Buffer.of(0)])
  const stream = restoreStream({ machineType: 'pc-i440fx-10.0', blocks, devices })
  assert.equal(stream.toString('latin1', 0, 4), 'QEVM')
  assert.ok(
    stream.includes('pc-i440fx-10.0') && stream.includes('/rom@etc/acpi/tables') && stream.includes('devices\0'),
  )
  // The sum of the blocks, with the flag that says so.
  assert.ok(stream.includes(Buffer.of(0, 0, 0, 0, 0, 0, 0x70, 0x04)))
  for (const broken of [Buffer.from('QEVM'), Buffer.from('something else\0'), devices.subarray(0, -1)])
    assert.throws(() => restoreStream({ machineType: 'x', blocks, devices: broken }), { code: 'hypervisor-error' })
})
