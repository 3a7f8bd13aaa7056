import assert from 'node:assert/strict'
import { duplexPair, type Duplex } from 'node:stream'
import { setImmediate } from 'node:timers/promises'
import { describe, test } from 'node:test'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import type { JournalPiece } from './journal-format.ts'
import { JournalServer } from './nbd-journal-server.ts'
import { command, goData, greeting, option, optionFrame, requestFrame } from './nbd-wire.ts'

const MiB = 1024 * 1024
const exports = [
  { name: 'disk-1', disk: 1, sizeBytes: 2 ** 42 },
  { name: 'disk-2', disk: 2, sizeBytes: 8 * MiB },
]
const clientFlags = Buffer.from([0, 0, 0, 3])
const go = (name: string): Buffer => Buffer.concat([clientFlags, optionFrame(option.go, goData(name, [3]))])
const write = (cookie: number, offset: number, data: Buffer): Buffer =>
  Buffer.concat([requestFrame({ type: command.write, cookie, offset, length: data.length }), data])
const disconnect = requestFrame({ type: command.disconnect, cookie: 0, offset: 0, length: 0 })

function serverOf(limitBytes = 64 * MiB, onHalfFull = (): void => undefined): JournalServer {
  return new JournalServer({ exports, limitBytes, onHalfFull })
}

/** A client that collects what it is told. */
function connect(server: JournalServer): {
  stream: Duplex
  said: () => Buffer
  end: ReturnType<JournalServer['serve']>
} {
  const [stream, other] = duplexPair()
  const parts: Buffer[] = []
  stream.on('data', (part: Buffer) => parts.push(part))
  stream.on('error', () => undefined)
  return { stream, said: () => Buffer.concat(parts), end: server.serve(other) }
}

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000; turn++) {
    if (condition()) return
    await setImmediate()
  }
  assert.fail('it does not come about')
}

/** After enough turns for anything to come about. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await setImmediate()
}

function flat(pieces: readonly JournalPiece[]): unknown[] {
  return pieces.map(({ data, ...piece }) => ({ ...piece, data: Buffer.concat(data) }))
}

/** The answers to requests: cookie and error. */
function replies(said: Buffer, skip: number): [number, number][] {
  const found: [number, number][] = []
  for (let at = skip; at + 16 <= said.length; at += 16) {
    assert.equal(said.readUInt32BE(at), 0x67446698)
    found.push([said.readUInt32BE(at + 12), said.readUInt32BE(at + 4)])
  }
  return found
}

/** Greeting, two informations and the acknowledgement. */
const shakeBytes = greeting().length + (20 + 12) + (20 + 14) + 20

describe('the handshake of the journal server', () => {
  test('gives information, lists, refuses what it does not know, and goes', async () => {
    const { stream, said, end } = connect(serverOf())
    stream.write(clientFlags)
    for (const code of [8, 5, 10]) stream.write(optionFrame(code, Buffer.alloc(0)))
    stream.write(optionFrame(option.list, Buffer.alloc(0)))
    stream.write(optionFrame(option.info, goData('disk-2', [3])))
    stream.write(optionFrame(option.go, goData('disk-3', [])))
    stream.write(optionFrame(option.go, Buffer.from('bad')))
    stream.write(optionFrame(option.abort, Buffer.alloc(0)))
    assert.deepEqual(await end, { name: null, isOrderly: true, reason: 'the client wants no export' })
    await until(() => stream.readableEnded || stream.destroyed)
    const all = said()
    assert.ok(all.subarray(0, 18).equals(greeting()))
    const types: string[] = []
    for (let at = 18; at < all.length; at += 20 + all.readUInt32BE(at + 16))
      types.push(`${all.readUInt32BE(at + 8)}:${all.readUInt32BE(at + 12).toString(16)}`)
    const unsupported = ['8:80000001', '5:80000001', '10:80000001']
    assert.deepEqual(types, [
      ...unsupported,
      '3:2',
      '3:2',
      '3:1',
      '6:3',
      '6:3',
      '6:1',
      '7:80000006',
      '7:80000003',
      '2:1',
    ])
    const info = all.indexOf(Buffer.from('0000000600000003', 'hex'))
    assert.equal(Number(all.readBigUInt64BE(info + 14)), 8 * MiB)
    assert.equal(all.readUInt16BE(info + 22), 1 | 4 | 8 | 32 | 64)
  })

  test('knows the old way of choosing an export, with and without its zeroes', async () => {
    for (const [flags, length] of [
      [1, 18 + 10 + 124],
      [3, 18 + 10],
    ] as const) {
      const { stream, said } = connect(serverOf())
      stream.write(Buffer.from([0, 0, 0, flags]))
      stream.write(optionFrame(option.exportName, Buffer.from('disk-1')))
      await until(() => said().length >= length)
      assert.equal(Number(said().readBigUInt64BE(18)), 2 ** 42)
      stream.write(requestFrame({ type: command.flush, cookie: 9, offset: 0, length: 0 }))
      await until(() => said().length >= length + 16)
      assert.deepEqual(replies(said(), length), [[9, 0]])
      stream.destroy()
    }
    const { stream, end } = connect(serverOf())
    stream.write(Buffer.concat([clientFlags, optionFrame(option.exportName, Buffer.from('disk-9'))]))
    assert.match((await end).reason, /disk-9/)
  })
})

describe('the journal server', () => {
  test('keeps changes in their order, however they come in, and answers each once', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = new SeededRandom(seed)
      const server = serverOf()
      const { stream, said, end } = connect(server)
      const expected: unknown[] = []
      const sent: Buffer[] = [go('disk-1')]
      const cookies: [number, number][] = []
      for (let cookie = 1; cookie <= 40; cookie++) {
        const offset = random.int(2 ** 41)
        const length = 1 + random.int(random.chance(0.1) ? 200_000 : 2000)
        const [type, kind] = random.pick([
          [command.write, 'write'],
          [command.write, 'write'],
          [command.writeZeroes, 'zeroes'],
          [command.trim, 'trim'],
          [command.flush, undefined],
        ] as const)
        const data = type === command.write ? Buffer.from(random.bytes(length)) : Buffer.alloc(0)
        if (type === command.write) sent.push(write(cookie, offset, data))
        else sent.push(requestFrame({ type, cookie, flags: random.int(4), offset, length }))
        if (kind !== undefined) expected.push({ disk: 1, kind, offset, length, data })
        cookies.push([cookie, 0])
      }
      sent.push(disconnect)
      const found: JournalPiece[] = []
      const all = Buffer.concat(sent)
      const isFine = random.chance(0.3)
      for (let at = 0; at < all.length;) {
        const count = 1 + random.int(isFine ? 40 : 30_000)
        stream.write(all.subarray(at, at + count))
        at += count
        if (random.chance(0.05)) await setImmediate()
        if (random.chance(0.05)) found.push(...server.cut())
      }
      assert.deepEqual(await end, { name: 'disk-1', isOrderly: true, reason: 'the client said goodbye' })
      found.push(...server.cut())
      assert.deepEqual(flat(found), expected, `seed ${seed}`)
      await until(() => said().length >= shakeBytes + 16 * 40)
      assert.deepEqual(replies(said(), shakeBytes), cookies, `seed ${seed}`)
      assert.equal(server.bytes, 0)
    }
  })

  test('refuses what it cannot do, and goes on; a change that it refused ends the cutting', async () => {
    const server = serverOf()
    const { stream, said } = connect(server)
    stream.write(go('disk-2'))
    stream.write(requestFrame({ type: command.read, cookie: 1, offset: 0, length: 4096 }))
    stream.write(requestFrame({ type: 5, cookie: 2, offset: 0, length: 4096 }))
    stream.write(requestFrame({ type: command.trim, cookie: 3, flags: 16, offset: 0, length: 4096 }))
    stream.write(write(4, 8 * MiB - 4, Buffer.from('good')))
    await until(() => said().length >= shakeBytes + 16 * 4)
    assert.equal(server.cut().length, 1)
    assert.equal(server.broken, undefined)
    stream.write(write(5, 8 * MiB - 3, Buffer.from('good')))
    await until(() => said().length >= shakeBytes + 16 * 5)
    assert.deepEqual(
      replies(said(), shakeBytes).map(([, error]) => error),
      [22, 22, 22, 0, 28],
    )
    assert.throws(() => server.cut(), { code: 'wrong-state' })
    stream.destroy()
  })

  test('a client that breaks ends its own stream only, but nothing is cut any more', async () => {
    const server = serverOf()
    const good = connect(server)
    const bad = connect(server)
    good.stream.write(Buffer.concat([go('disk-2'), write(1, 0, Buffer.from('kept'))]))
    await until(() => server.bytes > 0)
    bad.stream.write(Buffer.concat([clientFlags, Buffer.from('GET / HTTP/1.1\r\n\r\n')]))
    assert.equal((await bad.end).isOrderly, false)
    // It had no export yet, so no write of a guest was lost.
    assert.equal(server.cut().length, 1)
    const broken = connect(server)
    broken.stream.write(Buffer.concat([go('disk-1'), write(1, 0, Buffer.alloc(100)).subarray(0, 60)]))
    await until(() => broken.said().length >= shakeBytes)
    broken.stream.destroy()
    const end = await broken.end
    assert.deepEqual([end.name, end.isOrderly], ['disk-1', false])
    assert.match(server.broken ?? '', /disk-1/)
    assert.throws(() => server.cut(), { code: 'wrong-state' })
    server[Symbol.dispose]()
    assert.equal((await good.end).reason, 'the server was closed')
  })

  test('garbage ends a stream with a reason', async () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new SeededRandom(seed)
      const server = serverOf()
      const { stream, end } = connect(server)
      const requests = [...Array(5).keys()].map((cookie) => write(cookie, cookie, Buffer.from(random.bytes(50))))
      const data = Buffer.concat([go('disk-1'), ...requests])
      for (let count = 1 + random.int(5); count > 0; count--) data[random.int(data.length)] = random.int(256)
      for (let at = 0; at < data.length;) {
        const count = 1 + random.int(100)
        if (!stream.destroyed) stream.write(data.subarray(at, at + count))
        at += count
      }
      stream.end()
      const { reason } = await end
      assert.ok(reason.length > 0)
      server[Symbol.dispose]()
    }
  })
})

describe('a full journal', () => {
  const data = Buffer.alloc(10_000, 1)

  test('lets writes wait until the next cut, and says at half that it is time', async () => {
    let calls = 0
    const server = serverOf(50_000, () => calls++)
    const clients = [connect(server), connect(server)]
    for (const { stream } of clients) {
      stream.write(go('disk-1'))
      for (let cookie = 1; cookie <= 100; cookie++) stream.write(write(cookie, 0, data))
    }
    let cut = 0
    let cuts = 0
    while (cut < 200) {
      await settle()
      // The limit, one that passes it, and one chunk of each client.
      assert.ok(server.bytes > 50_000 || cut + server.bytes / 10_000 > 199, String(server.bytes))
      assert.ok(server.bytes < 50_000 + 2 * (65_536 + 10_200), String(server.bytes))
      cuts++
      cut += server.cut().length
      assert.equal(calls, cuts)
    }
    for (const { said } of clients) await until(() => replies(said(), shakeBytes).length === 100)
    server[Symbol.dispose]()
  })

  test('lets all in before a guest is stopped, until the cut', async () => {
    const server = serverOf(50_000)
    const { stream, said } = connect(server)
    stream.write(go('disk-1'))
    for (let cookie = 1; cookie <= 100; cookie++) stream.write(write(cookie, 0, data))
    await settle()
    assert.ok(replies(said(), shakeBytes).length < 20)
    server.admitAll()
    await until(() => replies(said(), shakeBytes).length === 100)
    assert.equal(server.cut().length, 100)
    for (let cookie = 1; cookie <= 100; cookie++) stream.write(write(cookie, 0, data))
    await settle()
    assert.ok(server.bytes < 150_000)
    server[Symbol.dispose]()
  })

  test('a client that does not read its answers is not read from', async () => {
    const server = serverOf()
    const [stream, other] = duplexPair()
    const end = server.serve(other)
    stream.write(go('disk-1'))
    const flushes = Buffer.concat(
      Array.from({ length: 1000 }, (_, cookie) => requestFrame({ type: command.flush, cookie, offset: 0, length: 0 })),
    )
    for (let count = 0; count < 200; count++) stream.write(flushes)
    await settle()
    assert.ok(stream.writableLength > 100 * flushes.length, String(stream.writableLength))
    let got = 0
    stream.on('data', (part: Buffer) => (got += part.length))
    await until(() => got === shakeBytes + 200_000 * 16)
    stream.end(disconnect)
    assert.ok((await end).isOrderly)
  })
})
