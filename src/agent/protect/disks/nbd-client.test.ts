import assert from 'node:assert/strict'
import { duplexPair } from 'node:stream'
import { setImmediate } from 'node:timers'
import { describe, test } from 'node:test'
import { HoldfastError } from '../../../base/errors.ts'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import { DiskFixture } from './disk-fixture.ts'
import type { JournalPiece } from './journal-format.ts'
import { NbdClient } from './nbd-client.ts'
import { greeting } from './nbd-wire.ts'

const sizeBytes = 4096
const clock = new VirtualClock({ turns: 20 })
const options = { clock, timeoutMs: 5000 }
const later = (work: () => void): void => void setImmediate(work)

function disk(seed = 1): DiskFixture {
  return new DiskFixture('d', sizeBytes, new SeededRandom(seed))
}

function randomPieces(random: SeededRandom, count: number): JournalPiece[] {
  return Array.from({ length: count }, () => {
    const offset = random.int(sizeBytes)
    const length = 1 + random.int(Math.min(sizeBytes - offset, random.chance(0.2) ? 2000 : 200))
    const kind = random.pick(['write', 'write', 'zeroes', 'trim'] as const)
    const bytes = Buffer.from(random.bytes(length))
    const at = random.int(length)
    const data = kind === 'write' ? [bytes.subarray(0, at), bytes.subarray(at)] : []
    return { disk: 1, kind, offset, length, data }
  })
}

function carryOut(content: Buffer, pieces: readonly JournalPiece[]): void {
  for (const { kind, offset, length, data } of pieces)
    if (kind === 'write') Buffer.concat(data).copy(content, offset)
    else content.fill(0, offset, offset + length)
}

describe('the client', () => {
  test('writes, zeroes, trims and flushes', async () => {
    const there = disk()
    await using client = await NbdClient.open(there.connect(later), 'd', options)
    assert.equal(client.sizeBytes, sizeBytes)
    await client.write(10, [Buffer.from('abc'), Buffer.from('defghi')])
    await client.zeroes(11, 2)
    await client.trim(15, 1)
    await client.write(0, [])
    await client.flush()
    assert.equal(there.flushed.subarray(9, 20).toString('latin1'), '\0a\0\0de\0ghi\0')
    await assert.rejects(client.write(sizeBytes - 1, [Buffer.from('ab')]), { code: 'invalid-request' })
  })

  test('keeps the order of changes that overlap, at a server that keeps none', async () => {
    let most = 0
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed)
      const there = disk(seed)
      const expected = Buffer.alloc(sizeBytes)
      await using client = await NbdClient.open(there.connect(later), 'd', { ...options, depth: 1 + random.int(16) })
      const applied: Promise<void>[] = []
      for (let epoch = 0; epoch < 3; epoch++) {
        const pieces = randomPieces(random, random.int(80))
        carryOut(expected, pieces)
        applied.push(client.apply(pieces))
      }
      await Promise.all(applied)
      assert.ok(there.flushed.equals(expected), `seed ${seed}`)
      assert.equal(there.flushes, 3)
      most = Math.max(most, there.mostWaiting)
    }
    assert.ok(most > 4 && most <= 16, `requests travel together: ${most}`)
  })

  test('bounds what is on its way', async () => {
    const there = disk()
    await using client = await NbdClient.open(there.connect(later), 'd', { ...options, depth: 4 })
    await Promise.all(Array.from({ length: 100 }, (_, at) => client.write(at, [Buffer.from('x')])))
    assert.equal(there.content.subarray(0, 101).toString('latin1'), `${'x'.repeat(100)}\0`)
    assert.equal(there.mostWaiting, 4)
  })

  test('an error of the server is told, and no later epoch is applied on top', async () => {
    const there = disk()
    await using client = await NbdClient.open(there.connect(later), 'd', options)
    there.error = 28
    const pieces = randomPieces(new SeededRandom(1), 20)
    await assert.rejects(client.apply(pieces), { code: 'no-space' })
    there.error = 0
    await assert.rejects(client.apply(pieces), { code: 'no-space' })
    await client.flush()
    there.error = 5
    await assert.rejects(client.write(0, [Buffer.from('x')]), /refused to write: EIO/)
  })

  test('a server that falls silent is given up after the time that it has', async () => {
    const there = disk()
    const client = await NbdClient.open(there.connect(later), 'd', options)
    there.isSilent = true
    const [write, flush] = [client.write(0, [Buffer.from('x')]), client.flush()]
    write.catch(() => undefined)
    flush.catch(() => undefined)
    await clock.advance(4900)
    const later4 = client.trim(0, 1)
    later4.catch(() => undefined)
    await clock.advance(200)
    for (const asked of [write, flush, later4]) await assert.rejects(asked, { code: 'timeout' })
    await assert.rejects(client.flush(), { code: 'timeout' })
    await client[Symbol.asyncDispose]()
  })

  test('a server that goes away leaves it unknown what was done', async () => {
    const there = disk()
    const stream = there.connect(later)
    const client = await NbdClient.open(stream, 'd', options)
    there.isSilent = true
    const asked = client.apply(randomPieces(new SeededRandom(2), 50))
    asked.catch(() => undefined)
    setImmediate(() => stream.destroy(new Error('cable')))
    await assert.rejects(asked, { code: 'unreachable' })
    await assert.rejects(client.apply([]), { code: 'unreachable' })
    await client[Symbol.asyncDispose]()
  })

  test('an export that is not there is told, and so is a server of another kind', async () => {
    await assert.rejects(NbdClient.open(disk().connect(later), 'other', options), { code: 'not-found' })
    const [stream, other] = duplexPair()
    other.write('HTTP/1.1 400 Bad Request\r\n\r\n')
    await assert.rejects(NbdClient.open(stream, 'd', options), { code: 'hypervisor-error' })
    const [mute] = duplexPair()
    const opening = NbdClient.open(mute, 'd', options)
    opening.catch(() => undefined)
    await clock.advance(5001)
    await assert.rejects(opening, { code: 'timeout' })
  })

  test('garbage is a clean error', async () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = new SeededRandom(seed)
      const there = disk(seed)
      const real = there.connect(later)
      // Between the two sits one who changes bytes.
      const [stream, between] = duplexPair()
      between.on('data', (part: Buffer) => real.write(part))
      real.on('data', (part: Buffer) => {
        const copy = Buffer.from(part)
        if (random.chance(0.3)) copy[random.int(copy.length)] = random.int(256)
        if (!between.destroyed) between.write(copy)
      })
      real.on('end', () => between.end())
      between.on('end', () => real.end())
      const used = (async () => {
        await using client = await NbdClient.open(stream, 'd', options)
        await client.apply(randomPieces(random, 10))
      })()
      await clock.run(used, 60_000).catch((thrown: unknown) => {
        assert.ok(thrown instanceof HoldfastError, `seed ${seed}: ${String(thrown)}`)
      })
      stream.destroy()
      real.destroy()
    }
  })

  test('a greeting that comes byte by byte is understood', async () => {
    const there = disk()
    const real = there.connect(later)
    const [stream, between] = duplexPair()
    between.on('data', (part: Buffer) => real.write(part))
    between.on('end', () => real.end())
    real.on('data', (part: Buffer) => {
      for (const byte of part) between.write(Buffer.from([byte]))
    })
    real.on('end', () => between.end())
    await using client = await NbdClient.open(stream, 'd', options)
    await client.write(0, [greeting()])
    assert.ok(there.content.subarray(0, 18).equals(greeting()))
  })
})
