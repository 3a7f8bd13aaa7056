/** Two front doors with real TLS: one whose manager leads, one that passes on. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable, type Duplex } from 'node:stream'
import { after, before, test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import { WebSocketServer } from 'ws'
import type { Clock } from '../../base/clock.ts'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../../base/node/index.ts'
import { openWebSocket, readBody } from '../../contracts/http-exchange.ts'
import { Authority } from '../../manager/app/authority.ts'
import { FrontDoor } from './front-door.ts'

const network = nodeNetwork()
let folder: string
let authority: Authority
let pair: Awaited<ReturnType<Authority['issue']>>

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hf-door-'))
  const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
  authority = await Authority.create(join(folder, 'ca'), 'test', ports)
  pair = await authority.issue({ commonName: 'manager.holdfast', subjects: ['manager.holdfast', '127.0.0.1'] })
})
after(async () => {
  network[Symbol.dispose]()
  await rm(folder, { recursive: true, force: true })
})

function door(waitMs = 5000, clock: Clock = nodeClock()): Promise<FrontDoor> {
  return FrontDoor.open({
    ...{ clock, ca: authority.ca, pair, waitMs, trouble: () => undefined },
    listen: { host: '127.0.0.1', port: 0 },
  })
}

/** A clock, and when so many have begun to wait by it. */
function countingClock(count: number): { clock: Clock; isWaiting: Promise<void> } {
  const { promise, resolve } = Promise.withResolvers<void>()
  let left = count
  const timer: Clock['timer'] = (ms, callback) => {
    if (--left === 0) resolve()
    return nodeClock().timer(ms, callback)
  }
  return { clock: { ...nodeClock(), timer }, isWaiting: promise }
}

/** A manager's server, as far as a door needs one. */
async function manager(): Promise<FastifyInstance & { feed: PassThrough; bodies: number[]; forwarded: unknown[] }> {
  const feed = new PassThrough()
  const bodies: number[] = []
  /** For whom upgrades are asked. */
  const forwarded: unknown[] = []
  const server = Fastify({ trustProxy: true, serverFactory: (handle) => createServer(handle) })
  server.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload))
  server.get('/ip', async (request) => ({ ip: request.ip, forwarded: request.headers['x-forwarded-for'] ?? null }))
  server.get('/feed', (_request, reply) => reply.type('text/event-stream').send(feed))
  server.put('/upload', async (request) => {
    let size = 0
    for await (const chunk of request.body as AsyncIterable<Buffer>) size += chunk.length
    bodies.push(size)
    return { size }
  })
  server.post('/agent/v1/join', async () => ({ joined: true }))
  const sockets = new WebSocketServer({ noServer: true })
  server.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    forwarded.push(request.headers['x-forwarded-for'])
    sockets.handleUpgrade(request, socket, head, (client) => client.on('message', (data) => client.send(data)))
  })
  await server.ready()
  return Object.assign(server as unknown as FastifyInstance, { feed, bodies, forwarded })
}

const lead = (at: FrontDoor, term = 1) => ({
  ...{ manager: `m${term}`, name: 'leader', urls: [`https://127.0.0.1:${at.port}`], term, since: '', life: '' },
})

function ask(at: FrontDoor, path: string, more: Partial<Parameters<typeof network.request>[0]> = {}) {
  const tls = { ca: authority.ca, serverName: 'manager.holdfast' }
  return network.request({ method: 'GET', url: `https://127.0.0.1:${at.port}${path}`, tls, ...more })
}

async function json(answer: Promise<Awaited<ReturnType<typeof ask>>>): Promise<Record<string, unknown>> {
  return JSON.parse(Buffer.from(await readBody((await answer).body)).toString()) as Record<string, unknown>
}

test('requests, streams, uploads and web sockets are passed on to the leader', async () => {
  await using leading = await door()
  await using standby = await door()
  const own = await manager()
  leading.lead(own, () => true)
  standby.follow(lead(leading))
  assert.deepEqual(await json(ask(standby, '/ip')), { ip: '127.0.0.1', forwarded: '127.0.0.1' })
  // Only a manager says for whom it asks.
  assert.deepEqual(await json(ask(standby, '/ip', { headers: { 'x-forwarded-for': '9.9.9.9' } })), {
    ...{ ip: '127.0.0.1', forwarded: '127.0.0.1' },
  })
  assert.equal((await json(ask(leading, '/ip', { headers: { 'x-forwarded-for': '9.9.9.9' } })))['forwarded'], null)

  const bytes = 40 * 1024 * 1024
  const pieces = Readable.from(Array.from({ length: 40 }, () => Buffer.alloc(1024 * 1024)))
  const headers = { 'content-type': 'application/octet-stream' }
  assert.deepEqual(await json(ask(standby, '/upload', { method: 'PUT', headers, body: pieces })), { size: bytes })

  // The server sends its headers with the first piece.
  own.feed.write('one')
  const answer = await ask(standby, '/feed')
  for (const word of ['one', 'two']) {
    if (word === 'two') own.feed.write(word)
    const [chunk] = (await once(answer.body, 'data')) as [Buffer]
    assert.equal(chunk.toString(), word)
  }
  answer.body.destroy()

  const socket = await openSocket(standby, { 'X-Forwarded-For': '9.9.9.9' })
  await mustEcho(socket)
  assert.deepEqual(own.forwarded, ['127.0.0.1'])
  socket.destroy()
})

function openSocket(at: FrontDoor, headers: Record<string, string> = {}): Promise<Duplex> {
  const tls = { ca: authority.ca, serverName: 'manager.holdfast' }
  return openWebSocket(network, `wss://127.0.0.1:${at.port}/console`, { tls, headers })
}

async function mustEcho(socket: Duplex): Promise<void> {
  socket.write('hello')
  const [echo] = (await once(socket, 'data')) as [Buffer]
  assert.equal(echo.toString(), 'hello')
}

test('what is asked while nobody leads waits for who does; and is told so when nobody comes', async () => {
  await using leading = await door()
  await using standby = await door(5000)
  leading.lead(await manager(), () => true)
  const asked = json(ask(standby, '/ip'))
  await nodeClock().sleep(50)
  standby.follow(lead(leading))
  assert.equal((await asked)['ip'], '127.0.0.1')

  await using forlorn = await door(100)
  const answer = await ask(forlorn, '/ip')
  assert.equal(answer.status, 503)
  assert.equal((await json(Promise.resolve(answer)))['code'], 'unreachable')
})

test('what waits is answered by this manager when it is this one that leads', async () => {
  const { clock, isWaiting } = countingClock(2)
  await using own = await door(5000, clock)
  const asked = json(ask(own, '/ip'))
  const opened = openSocket(own)
  await isWaiting
  own.lead(await manager(), () => true)
  assert.equal((await asked)['ip'], '127.0.0.1')
  const socket = await opened
  await mustEcho(socket)
  socket.destroy()
})

test('a leader that is not reached at its first address is asked at the next', async () => {
  await using gone = await door()
  const { port } = gone
  await gone[Symbol.asyncDispose]()
  await using leading = await door()
  await using standby = await door()
  const own = await manager()
  leading.lead(own, () => true)
  const { urls, ...rest } = lead(leading)
  standby.follow({ ...rest, urls: [`https://127.0.0.1:${port}`, ...urls] })
  const headers = { 'content-type': 'application/octet-stream' }
  const body = Buffer.alloc(1000)
  assert.deepEqual(await json(ask(standby, '/upload', { method: 'PUT', headers, body })), { size: 1000 })
  standby.follow({ ...rest, term: 2, urls: [`https://127.0.0.1:${port}`, ...urls] })
  const socket = await openSocket(standby)
  await mustEcho(socket)
  socket.destroy()
})

test('connections are kept as long as those of a manager alone', async () => {
  await using own = await door()
  own.lead(await manager(), () => true)
  assert.equal((await ask(own, '/ip')).headers['keep-alive'], 'timeout=72')
})

test('a request that changes something is not repeated when the leader dies after it has read it', async () => {
  const first = await door()
  await using second = await door()
  await using standby = await door()
  const read = Promise.withResolvers<void>()
  const dying = Fastify({ serverFactory: (handle) => createServer(handle) })
  dying.post('/change', async () => {
    read.resolve()
    await new Promise(() => undefined)
  })
  await dying.ready()
  first.lead(dying, () => true)
  standby.follow(lead(first))
  const headers = { 'content-type': 'application/json' }
  const asked = ask(standby, '/change', { method: 'POST', headers, body: '{}' })
  await read.promise
  const repeated: string[] = []
  const next = Fastify({ serverFactory: (handle) => createServer(handle) })
  next.addHook('onRequest', async ({ url }) => void repeated.push(url))
  await next.ready()
  second.lead(next, () => true)
  await first[Symbol.asyncDispose]()
  standby.follow(lead(second, 2))
  const answer = await asked
  assert.equal(answer.status, 503)
  const { code, title, detail } = await json(Promise.resolve(answer))
  assert.equal(code, 'unreachable')
  assert.match(`${String(title)} ${String(detail)}`, /what it did is not known/)
  assert.deepEqual(repeated, [])
})

test('with the leader gone a request waits for the next, and what has not arrived is sent to that', async () => {
  const first = await door()
  await using second = await door()
  await using standby = await door()
  standby.follow(lead(first))
  await first[Symbol.asyncDispose]()
  const own = await manager()
  second.lead(own, () => true)
  const headers = { 'content-type': 'application/octet-stream' }
  const body = Buffer.alloc(100_000)
  const asked = [json(ask(standby, '/ip')), json(ask(standby, '/upload', { method: 'PUT', headers, body }))]
  await nodeClock().sleep(100)
  standby.follow(lead(second, 2))
  assert.deepEqual(
    (await Promise.all(asked)).map((each) => each['ip'] ?? each['size']),
    ['127.0.0.1', 100_000],
  )
  assert.deepEqual(own.bodies, [100_000])
})

test('agents are told who leads, but a token is passed on; one that has lost the lead answers nothing as leader', async () => {
  await using leading = await door()
  await using standby = await door()
  let holds = true
  leading.lead(await manager(), () => holds)
  standby.follow(lead(leading))
  const report = await json(ask(standby, '/agent/v1/report', { method: 'POST', body: '{}' }))
  const [leader] = lead(leading).urls
  assert.deepEqual([report['code'], report['details']], ['unreachable', { leader, leaderUrls: [leader] }])
  const headers = { 'content-type': 'application/json' }
  assert.deepEqual(await json(ask(standby, '/agent/v1/join', { method: 'POST', headers, body: '{}' })), {
    joined: true,
  })
  holds = false
  assert.equal((await ask(leading, '/ip')).status, 503)
  await assert.rejects(openSocket(leading), { code: 'unreachable', message: /does not lead/ })
})
