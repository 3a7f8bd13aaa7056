import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { HoldfastError } from '../../../base/errors.ts'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { decodeJournal, encodeJournal, readJournalHead, type EpochJournal } from './journal-format.ts'
import { crc32 } from 'node:zlib'

const journal: EpochJournal = {
  epoch: 2 ** 40 + 7,
  n: 3,
  pieces: [
    { disk: 1, kind: 'write', offset: 2 ** 41 + 512, length: 6, data: [Buffer.from('abc'), Buffer.from('def')] },
    { disk: 0, kind: 'zeroes', offset: 0, length: 2 ** 32 - 1, data: [] },
    { disk: 1, kind: 'trim', offset: 4096, length: 8192, data: [] },
    { disk: 2, kind: 'write', offset: 1, length: 1, data: [Buffer.from('x')] },
  ],
}

function flat({ epoch, n, pieces }: EpochJournal): unknown {
  return { epoch, n, pieces: pieces.map((piece) => ({ ...piece, data: Buffer.concat(piece.data).toString('latin1') })) }
}

/** The checksums are put right, so that what is wrong gets past them. */
function resealed(bytes: Buffer): Buffer {
  bytes.writeUInt32BE(crc32(bytes.subarray(0, 40)), 40)
  bytes.writeUInt32BE(crc32(bytes.subarray(0, -16)), bytes.length - 8)
  return bytes
}

describe('the binary form of a journal', () => {
  test('gives back what it was made of, without copying the data', () => {
    const parts = encodeJournal(journal)
    assert.equal(parts[1], journal.pieces[0]?.data[0])
    const bytes = Buffer.concat(parts)
    assert.deepEqual(flat(decodeJournal(bytes)), flat(journal))
    assert.deepEqual(readJournalHead(bytes), { epoch: journal.epoch, n: 3, count: 4, length: bytes.length })
    const empty = { epoch: 1, n: 1, pieces: [] }
    assert.deepEqual(decodeJournal(Buffer.concat(encodeJournal(empty))), empty)
  })

  test('is refused when any bit of it is another, when it is cut short, and when more follows', () => {
    const bytes = Buffer.concat(encodeJournal(journal))
    for (let at = 0; at < bytes.length * 8; at++) {
      // The last four bytes say nothing.
      if (at >= (bytes.length - 4) * 8) break
      if (at >= 44 * 8 && at < 48 * 8) continue
      const other = Buffer.from(bytes)
      other[at >> 3] = (other[at >> 3] ?? 0) ^ (1 << (at & 7))
      assert.throws(() => decodeJournal(other), HoldfastError, `bit ${at}`)
    }
    for (let length = 0; length < bytes.length; length++)
      assert.throws(() => decodeJournal(bytes.subarray(0, length)), { code: 'checksum-mismatch' })
    assert.throws(() => decodeJournal(Buffer.concat([bytes, Buffer.alloc(1)])), { code: 'checksum-mismatch' })
  })

  test('of a later version is refused as such', () => {
    const bytes = Buffer.concat(encodeJournal(journal))
    bytes.writeUInt32BE(2, 8)
    assert.throws(() => decodeJournal(resealed(bytes)), { code: 'refused' })
  })

  test('with right checksums and a wrong table is refused, and nothing is read beyond its end', () => {
    const table = 48
    const spoil: ((bytes: Buffer) => unknown)[] = [
      (bytes) => bytes.writeUInt32BE(3, table + 4), // no such kind
      (bytes) => bytes.writeUInt32BE(0xffffffff, table + 8), // offset
      (bytes) => bytes.writeUInt32BE(7, table + 20), // takes a byte of the next write
      (bytes) => bytes.writeUInt32BE(5, table + 20), // data is left over
      (bytes) => bytes.writeUInt32BE(1000, table + 20),
      (bytes) => bytes.writeUInt32BE(1, table + 16), // a length above 2³²
    ]
    for (const change of spoil) {
      const bytes = Buffer.concat(encodeJournal(journal))
      change(bytes)
      assert.throws(() => decodeJournal(resealed(bytes)), { code: 'invalid-request' })
    }
    const bytes = Buffer.concat(encodeJournal(journal))
    bytes.writeUInt32BE(1000, 12)
    assert.throws(() => decodeJournal(resealed(bytes)), { code: 'checksum-mismatch' })
  })

  test('survives garbage', () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new SeededRandom(seed)
      const bytes = Buffer.concat(encodeJournal(journal))
      for (let count = random.int(6); count >= 0; count--) bytes[random.int(bytes.length)] = random.int(256)
      try {
        decodeJournal(random.chance(0.5) ? resealed(bytes) : bytes)
      } catch (thrown) {
        assert.ok(thrown instanceof HoldfastError, `seed ${seed}: ${String(thrown)}`)
      }
    }
  })
})
