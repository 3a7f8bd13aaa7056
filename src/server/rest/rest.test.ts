/** What a caller who is wrong, or malicious, is answered. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../../base/node/index.ts'
import { errorCodes } from '../../base/errors.ts'
import { MemoryStore } from '../../manager/store/memory/memory-store.ts'
import { TestManager } from '../testing/test-manager.ts'

const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
const store = new MemoryStore(ports.clock)
const tokens = { administrator: '', operator: '', reader: '' }
let world: TestManager

before(async () => {
  world = await TestManager.open(ports, store)
  for (const role of ['administrator', 'operator', 'reader'] as const) {
    tokens[role] = (await world.manager.access.createToken({ name: role, role }, 'a test')).secret
  }
})
after(async () => {
  await world[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
})

interface Ask {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  readonly token?: string | undefined
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

async function ask(url: string, { method = 'GET', token = tokens.administrator, body, headers = {} }: Ask = {}) {
  const response = await world.server.inject({
    ...{ method, url },
    headers: { host: 'manager.test', ...(token === '' ? {} : { authorization: `Bearer ${token}` }), ...headers },
    ...(body === undefined ? {} : { payload: body as object }),
  })
  const isJson = /json/.test(response.headers['content-type'] as string)
  return { status: response.statusCode, response, json: isJson ? response.json<Record<string, unknown>>() : {} }
}

async function refused(url: string, wanted: Ask, code: keyof typeof errorCodes): Promise<Record<string, unknown>> {
  const { status, json, response } = await ask(url, wanted)
  assert.equal(json['code'], code, `${url}: ${response.body}`)
  assert.equal(status, errorCodes[code])
  assert.match(response.headers['content-type'] as string, /^application\/problem\+json/)
  assert.equal(json['type'], `/docs/problems#${code}`)
  return json
}

test('what is malformed is refused with the field at fault, and nothing is coerced', async () => {
  const post = (body: unknown): Ask => ({ method: 'POST', body })
  const wrong = await refused('/v1/vms', post({ name: 'a', disks: [{ sizeBytes: '1024' }] }), 'invalid-request')
  assert.deepEqual(wrong['details'], { field: 'disks[0].sizeBytes' })
  await refused('/v1/vms', post({ name: 'a', extra: 1 }), 'invalid-request')
  await refused('/v1/vms', post({}), 'invalid-request')
  await refused('/v1/vms', post([]), 'invalid-request')
  for (const name of ['../x', '-x', 'x/y', '', ' x', 'x'.repeat(81), 'vm-7', 'a\u0000b']) {
    await refused('/v1/networks', post({ name }), 'invalid-request')
  }
  await refused('/v1/vms?limit=0', {}, 'invalid-request')
  await refused('/v1/vms?limit=two', {}, 'invalid-request')
  await refused('/v1/cluster?x=1', {}, 'invalid-request')
  await refused('/v1/vms?after=nonsense-', {}, 'invalid-request')
  await refused('/v1/datastores', post({ name: 'd', path: '/a/../b', isShared: true }), 'invalid-request')
  await refused('/v1/networks', post({ name: 'n', cidr: '10.0.0.1/24' }), 'invalid-request')
  await refused('/v1/networks', post({ name: 'n', ipSpoofing: 'dropped' }), 'invalid-request')
})

test("the framework's own errors are problem documents too", async () => {
  const type = { 'content-type': 'application/json' }
  await refused('/v1/vms', { method: 'POST', body: '{"name":', headers: type }, 'invalid-request')
  await refused(
    '/v1/vms',
    { method: 'POST', body: 'x=1', headers: { 'content-type': 'text/plain' } },
    'invalid-request',
  )
  const big = JSON.stringify({ name: 'x', description: 'x'.repeat(2 * 1024 * 1024) })
  await refused('/v1/vms', { method: 'POST', body: big, headers: type }, 'too-large')
  await refused('/v1/nothing', {}, 'not-found')
  await refused('/v1/vms', { method: 'PUT' }, 'not-found')
  await refused('/v1/vms/vm-1', {}, 'not-found')
  await refused('/v1/vms/__proto__', {}, 'not-found')
  const raw = { 'content-type': 'application/octet-stream' }
  await refused('/v1/vms', { method: 'POST', body: Buffer.from('x'), headers: raw }, 'invalid-request')
  await refused('/agent/v1/report', { method: 'POST', body: {} }, 'invalid-request')
  await refused('/agent/v1/record', { method: 'POST', body: { vm: 'vm-1' } }, 'not-allowed')
})

test('a role may do what is its own and no more', async () => {
  await refused('/v1/vms', { token: '' }, 'not-signed-in')
  await refused('/v1/vms', { token: 'hft.token-1.x' }, 'not-signed-in')
  const otherEnd = tokens.reader.endsWith('A') ? 'E' : 'A'
  await refused('/v1/vms', { token: tokens.reader.slice(0, -1) + otherEnd }, 'not-signed-in')
  assert.equal((await ask('/v1/vms', { token: tokens.reader })).status, 200)
  await refused('/v1/vms', { method: 'POST', token: tokens.reader, body: { name: 'x' } }, 'not-allowed')
  await refused('/v1/tokens', { token: tokens.operator }, 'not-allowed')
  await refused('/v1/events/stream', { token: '' }, 'not-signed-in')
  const listed = await ask('/v1/tokens')
  assert.ok(!listed.response.body.includes('secret'))
})

test('a sign-in code opens one session, whose cookie changes things only from our own page', async () => {
  const made = await ask('/v1/sign-in-codes', { method: 'POST', token: tokens.operator, body: {} })
  const origin = { origin: 'https://manager.test' }
  const signIn = (headers: Record<string, string>): Ask => ({
    ...{ method: 'POST', token: '', headers, body: { code: made.json['code'] } },
  })
  await refused('/v1/session', signIn({ origin: 'https://evil.test' }), 'not-allowed')
  const signed = await ask('/v1/session', signIn(origin))
  assert.equal(signed.status, 204)
  const cookie = signed.response.headers['set-cookie'] as string
  assert.match(cookie, /^__Host-holdfast=[A-Za-z0-9_-]{43}; Path=\/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict$/)
  await refused('/v1/session', signIn(origin), 'not-signed-in')
  const session = { cookie: cookie.split(';')[0] ?? '' }
  assert.equal((await ask('/v1/vms', { token: '', headers: session })).status, 200)
  const change: Ask = { method: 'POST', token: '', body: {} }
  await refused('/v1/sign-in-codes', { ...change, headers: session }, 'not-allowed')
  await refused('/v1/sign-in-codes', { ...change, headers: { ...session, origin: 'null' } }, 'not-allowed')
  assert.equal((await ask('/v1/sign-in-codes', { ...change, headers: { ...session, ...origin } })).status, 201)
  await refused('/v1/tokens', { token: '', headers: session }, 'not-allowed')
  const out = await ask('/v1/session', { method: 'DELETE', token: '', headers: { ...session, ...origin } })
  assert.equal(out.status, 204)
  await refused('/v1/vms', { token: '', headers: session }, 'not-signed-in')
})

test('many wrong secrets are slowed down; right ones still work', async () => {
  const codes = new Set<unknown>()
  for (let at = 0; at < 30; at++)
    codes.add((await ask('/v1/vms', { token: `hft.token-1.${'x'.repeat(43)}` })).json['code'])
  assert.deepEqual([...codes], ['not-signed-in', 'too-many-requests'])
  assert.equal((await ask('/v1/vms')).status, 200)
})

test('every answer bears the security headers, and the page and its modules are served', async () => {
  const page = await ask('/', { token: '' })
  assert.equal(page.status, 200)
  const policy = page.response.headers['content-security-policy'] as string
  assert.match(policy, /default-src 'none'/)
  assert.ok(!/unsafe/.test(policy))
  const module = await ask('/web/main.js', { token: '' })
  assert.equal(module.status, 200)
  assert.match(module.response.body, /from '\.\/api\.js'/)
  assert.ok(!module.response.body.includes(': Promise<void>'))
  const etag = module.response.headers['etag'] as string
  assert.equal((await ask('/web/main.js', { token: '', headers: { 'if-none-match': etag } })).status, 304)
  assert.equal((await ask('/novnc/core/rfb.js', { token: '' })).status, 200)
  for (const path of [
    '/web/..%2findex.js',
    '/novnc/../package.json',
    '/novnc/core/..%2f..%2fpackage.json',
    '/web/x.js',
  ]) {
    assert.equal((await ask(path, { token: '' })).status, 404, path)
  }
  assert.match((await ask('/docs/problems', { token: '' })).response.body, /id="stale-generation"/)
  assert.equal((await ask('/v1/openapi.json', { token: '' })).json['openapi'], '3.1.0')
  assert.match((await ask('/docs/api', { token: '' })).response.body, /swagger-ui/)
})

test('a reader of events that does not read is cut off, and others are not held up', async () => {
  await world.server.listen({ host: '127.0.0.1', port: 0 })
  const address = world.server.server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.write(`GET /v1/events/stream HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${tokens.reader}\r\n\r\n`)
  await once(socket, 'data')
  socket.pause()
  const closed = once(socket, 'close')
  const data = { filler: 'x'.repeat(500_000) }
  const event = { type: 'test', subject: null, message: 'large', task: null, data }
  let sent = 0
  const stop = { isClosed: false }
  void closed.then(() => (stop.isClosed = true))
  socket.on('error', () => undefined)
  while (!stop.isClosed && sent < 200) {
    await store.commit({ changes: [], events: [event] })
    await world.manager.events.now()
    sent++
    // A paused socket learns of its end only when it is read: what is there already is drained late in the run.
    if (sent === 100) socket.resume()
    await new Promise((done) => setImmediate(done))
  }
  socket.resume()
  await closed
  assert.ok(sent < 200, `${sent} events of 500 kB were taken for one slow reader`)
})
