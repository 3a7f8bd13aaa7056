/** Targets that are told for real: an HTTP(S) receiver and an SMTP server on loopback, a manager over SQLite. */
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttp, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createHttps } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { after, before, test } from 'node:test'
import { nodeClock, nodeFiles, nodeMailer, nodeNetwork, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import type { Clock } from '../base/clock.ts'
import { silentLogger } from '../base/log.ts'
import type { CreateNotificationTarget, NotificationTest } from '../contracts/notifications.ts'
import { Authority, type KeyPair } from '../manager/app/authority.ts'
import { Manager } from '../manager/app/manager.ts'
import { openSqliteStore } from '../manager/store/sqlite/sqlite-store.ts'
import { SmtpServer, type SmtpOptions } from './testing/smtp-server.ts'

const network = nodeNetwork()
/** The manager's time goes five times as fast, so that its limits are over sooner; what it measures is in that time. */
const pace = 5
const real = nodeClock()
const clock: Clock = {
  now: () => started.wall + (real.monotonic() - started.at) * pace,
  monotonic: () => real.monotonic() * pace,
  sleep: (ms, signal) => real.sleep(ms / pace, signal),
  timer: (ms, callback) => real.timer(ms / pace, callback),
}
const started = { wall: real.now(), at: real.monotonic() }
const ports = { clock, files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
const context = {
  caller: { name: 'a test', role: 'administrator', id: 'test' } as const,
  signal: new AbortController().signal,
}

let folder: string
let authority: Authority
let pair: KeyPair
const cleanUp = new AsyncDisposableStack()

before(async () => {
  folder = await mkdtemp(`${tmpdir()}/hf-notify-`)
  authority = await Authority.create(`${folder}/ca`, 'test', ports)
  pair = await authority.issue({ commonName: 'receiver', subjects: ['127.0.0.1'] })
})
after(async () => {
  await cleanUp.disposeAsync()
  network[Symbol.dispose]()
  await rm(folder, { recursive: true })
})

async function openManager(): Promise<
  { manager: Manager; store: Awaited<ReturnType<typeof openSqliteStore>> } & AsyncDisposable
> {
  const store = await openSqliteStore({
    path: `${folder}/${ports.random.uuid()}.db`,
    clock: ports.clock,
    logger: silentLogger,
  })
  const manager = await openOver(store)
  return {
    ...{ manager, store },
    async [Symbol.asyncDispose]() {
      await manager[Symbol.asyncDispose]()
      await store[Symbol.asyncDispose]()
    },
  }
}

function openOver(store: Awaited<ReturnType<typeof openSqliteStore>>): Promise<Manager> {
  const agents = (): never => {
    throw new Error('no hosts here')
  }
  return Manager.open({
    ...{
      ...ports,
      store,
      authority,
      agents,
      network,
      mailer: nodeMailer(10_000 / pace),
      logger: silentLogger,
      version: '1.2.3',
    },
  })
}

interface Got {
  readonly path: string
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

/** A receiver that notes what it got, and answers as it is told. */
async function receiver(
  reply: (response: ServerResponse, got: Got[]) => void,
  isTls = false,
): Promise<{ url: string; got: Got[] }> {
  const got: Got[] = []
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => {
      got.push({ path: request.url ?? '', headers: request.headers, body })
      reply(response, got)
    })
  }
  const server: Server = isTls ? createHttps({ ...pair }, listener) : createHttp(listener)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  cleanUp.defer(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { url: `${isTls ? 'https' : 'http'}://127.0.0.1:${port}/hook/s3cret-path`, got }
}

async function addAndTest(manager: Manager, body: CreateNotificationTarget): Promise<NotificationTest> {
  const { id } = await manager.api.createNotificationTarget({ params: {}, body }, context)
  return manager.api.testNotificationTarget({ params: { target: id }, body: {} }, context)
}

const ok = (response: ServerResponse): void => void response.writeHead(200).end('thank you')

/** Waits for a condition, half a minute at most; both by the real time. */
async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const end = real.monotonic() + 30_000
  while (!(await isSo())) {
    assert.ok(real.monotonic() < end, what)
    await real.sleep(50)
  }
}

test('a webhook gets a signed message over HTTPS from the authority that it was given with', async () => {
  await using open = await openManager()
  const hook = await receiver(ok, true)
  const webhook = { url: hook.url, secret: 'sign me', ca: authority.ca }
  const tested = await addAndTest(open.manager, { name: 'pager', webhook })
  assert.deepEqual([tested.isDelivered, tested.answer], [true, '200 thank you'])
  const { headers, body } = hook.got[0]!
  const timestamp = String(headers['x-holdfast-timestamp'])
  const expected = createHmac('sha256', 'sign me').update(`${timestamp}.${body}`).digest('hex')
  assert.equal(headers['x-holdfast-signature'], `sha256=${expected}`)
  assert.equal(headers['x-holdfast-event'], 'alarm.test')
  assert.equal((JSON.parse(body) as { delivery: string }).delivery, headers['x-holdfast-delivery'])
  const stranger = await addAndTest(open.manager, { name: 'stranger', webhook: { url: hook.url } })
  assert.equal(stranger.isDelivered, false, 'an authority that the machine does not know')
})

test('secrets are in no answer of the API, and in the store only sealed', async () => {
  await using open = await openManager()
  const hook = await receiver(ok)
  await addAndTest(open.manager, { name: 'pager', webhook: { url: hook.url, secret: 'sign me' } })
  const shown = JSON.stringify(await open.manager.api.listNotificationTargets({ params: {} }, context))
  const kept = JSON.stringify((await open.store.list('target')).items)
  const events = JSON.stringify(await open.store.events({ revision: 0, sequence: 0 }, 1000))
  for (const text of [shown, kept, events]) assert.ok(!text.includes('sign me') && !text.includes('s3cret-path'), text)
  assert.match(shown, /"origin":"http:\/\/127\.0\.0\.1:\d+"/)
})

test('what a receiver says back of its address and of the signature is not told', async () => {
  await using open = await openManager()
  for (const search of ['', '?token=t0ken']) {
    const echo = await receiver((response, got) => {
      const { path, headers } = got.at(-1)!
      const asked = [path, encodeURIComponent(path), JSON.stringify({ path }), `http://${headers.host}${path}`]
      response.writeHead(404).end(`no ${asked.join(' and no ')} signed by 'sign me'; ${'x'.repeat(500)}`)
    })
    const webhook = { url: `${echo.url}${search}`, secret: 'sign me' }
    const { answer } = await addAndTest(open.manager, { name: `echo${search.length}`, webhook })
    assert.match(answer, /404 no \*\*\* and no/)
    for (const secret of ['s3cret', 't0ken', 'sign me']) assert.ok(!answer.includes(secret), answer)
  }
  const plain = await receiver((response) => response.writeHead(500).end('a / b'))
  const root = await addAndTest(open.manager, { name: 'root', webhook: { url: new URL('/', plain.url).href } })
  assert.match(root.answer, /500 a \/ b/)
})

test('a redirect is not followed, an error is said, and a receiver that never answers times out', async () => {
  await using open = await openManager()
  const other = await receiver(ok)
  const moved = await receiver((response) => response.writeHead(302, { location: other.url }).end())
  const redirected = await addAndTest(open.manager, { name: 'moved', webhook: { url: moved.url } })
  assert.equal(redirected.isDelivered, false)
  assert.match(redirected.answer, /302.*not followed/)
  assert.equal(other.got.length, 0)
  const broken = await receiver((response) => response.writeHead(503).end('too busy'))
  assert.match(
    (await addAndTest(open.manager, { name: 'broken', webhook: { url: broken.url } })).answer,
    /503 too busy/,
  )
  const hung = await receiver(() => undefined)
  const late = await addAndTest(open.manager, { name: 'hung', webhook: { url: hung.url } })
  assert.match(late.answer, /did not answer within 10 s/)
  assert.ok(late.milliseconds >= 9900 && late.milliseconds < 25_000, `${late.milliseconds} ms`)
  const drips = await receiver((response) => response.writeHead(200).write('and so on'))
  const begun = await addAndTest(open.manager, { name: 'drips', webhook: { url: drips.url } })
  assert.ok(begun.isDelivered && begun.milliseconds < 25_000, 'its status has said it; its endless body is cut')
})

test('what is owed is told after a restart of the manager, and a hung target holds up no other', async () => {
  await using open = await openManager()
  let isUp = false
  const good = await receiver((response) => response.writeHead(isUp ? 200 : 500).end())
  const hung = await receiver(() => undefined)
  for (const [name, url] of [
    ['good', good.url],
    ['hung', hung.url],
  ] as const) {
    await open.manager.api.createNotificationTarget({ params: {}, body: { name, webhook: { url } } }, context)
  }
  const made = await stuckTask(open.store)
  await until('both are tried', () => good.got.length > 0 && hung.got.length > 0)
  await open.manager[Symbol.asyncDispose]()
  isUp = true
  const next = await openOver(open.store)
  try {
    await until('the good one is told', async () => {
      const owed = (await open.store.list('delivery')).items.map(({ value }) => value.target)
      return owed.length === 1
    })
    const bodies = good.got.map(
      ({ body }) => JSON.parse(body) as { delivery: string; alarm: { subject: { id: string } } },
    )
    assert.equal(new Set(bodies.map(({ delivery }) => delivery)).size, 1, 'the same delivery each time')
    assert.equal(bodies[0]?.alarm.subject.id, made)
    const { items } = await next.api.listNotificationTargets({ params: {} }, context)
    assert.deepEqual(
      items.map(({ name, owed }) => [name, owed]),
      [
        ['good', 0],
        ['hung', 1],
      ],
    )
  } finally {
    await next[Symbol.asyncDispose]()
  }
})

/** A task that is stuck for ever, of a saga that this version does not know. */
async function stuckTask(store: Awaited<ReturnType<typeof openSqliteStore>>): Promise<string> {
  const id = (await store.nextId('task')) as never as `task-${number}`
  const value = {
    ...{ id, v: 1, saga: 'of.another/9', target: null, params: {}, state: 'stuck', step: null, outputs: [] },
    ...{
      cancelAsked: false,
      problem: null,
      result: null,
      startedBy: 'a test',
      created: new Date().toISOString(),
      ended: null,
    },
  }
  const result = await store.commit({ changes: [{ do: 'create', kind: 'task', value: value as never }], events: [] })
  assert.ok(result.ok)
  return id
}

async function openSmtp(options: Omit<SmtpOptions, 'pair'> = {}): Promise<SmtpServer> {
  return cleanUp.use(await SmtpServer.open({ pair, ...options }))
}

const mail = { host: '127.0.0.1', from: 'holdfast@example.org', to: ['ops@example.org', 'night@example.org'] }

for (const security of ['starttls', 'tls'] as const) {
  test(`e-mail goes over ${security} with user and password, which no line in the clear bears`, async () => {
    await using open = await openManager()
    const smtp = await openSmtp({ isTls: security === 'tls' })
    const signIn = { user: 'holdfast', password: 'hunter2', security, ca: authority.ca, port: smtp.port }
    const tested = await addAndTest(open.manager, { name: 'ops', email: { ...mail, ...signIn } })
    assert.deepEqual([tested.isDelivered, tested.answer], [true, '250 kept as 42'])
    const at = smtp.lines.findIndex((line) => line.startsWith('AUTH PLAIN'))
    assert.equal(Buffer.from(smtp.lines[at]?.split(' ')[2] ?? '', 'base64').toString(), '\0holdfast\0hunter2')
    assert.equal(smtp.wasEncrypted[at], true)
    assert.equal(smtp.lines.filter((line) => line.startsWith('RCPT TO')).length, 2)
    const text = smtp.lines.join('\n')
    assert.match(text, /^Subject: \[holdfast\] test: a test of ops/m)
    assert.match(text, /^Message-ID: <[0-9a-f-]{36}@example\.org>$/m)
  })
}

test('a server that offers no STARTTLS gets nothing when that is demanded, and one without a password may have none', async () => {
  await using open = await openManager()
  const smtp = await openSmtp()
  const plain = await addAndTest(open.manager, { name: 'plain', email: { ...mail, port: smtp.port, security: 'none' } })
  assert.equal(plain.isDelivered, true, plain.answer)
  assert.ok(smtp.wasEncrypted.every((each) => !each))
  const demanded = await addAndTest(open.manager, { name: 'demanded', email: { ...mail, port: smtp.port } })
  assert.equal(demanded.isDelivered, false, 'its certificate is of no authority that this machine knows')
  assert.equal(smtp.lines.filter((line) => line.startsWith('MAIL')).length, 1)
  const bare = await openSmtp({ offersNothing: true })
  for (const signIn of [{}, { user: 'holdfast', password: 'hunter2' }]) {
    const email = { ...mail, ...signIn, port: bare.port, security: 'starttls' as const, ca: authority.ca }
    const refused = await addAndTest(open.manager, { name: `bare${Object.keys(signIn).length}`, email })
    assert.equal(refused.isDelivered, false, refused.answer)
  }
  assert.ok(bare.lines.some((line) => line.startsWith('EHLO')))
  assert.deepEqual(
    bare.lines.filter((line) => /^(MAIL|RCPT|DATA|AUTH|Subject)/i.test(line)),
    [],
  )
})

test('a mail server that refuses says why without the password, and a silent one times out', async () => {
  await using open = await openManager()
  const refusing = await openSmtp({ isTls: true, refuses: true })
  const signIn = {
    user: 'holdfast',
    password: 'hunter2',
    security: 'tls' as const,
    ca: authority.ca,
    port: refusing.port,
  }
  const refused = await addAndTest(open.manager, { name: 'refusing', email: { ...mail, ...signIn } })
  assert.match(refused.answer, /535 who are you/)
  assert.ok(!refused.answer.includes('hunter2'))
  const silent = await openSmtp({ isSilent: true })
  const late = await addAndTest(open.manager, {
    name: 'silent',
    email: { ...mail, port: silent.port, security: 'none' },
  })
  assert.equal(late.isDelivered, false)
  assert.ok(late.milliseconds >= 9000 && late.milliseconds < 31_000, `${late.milliseconds} ms`)
})

test('what cannot be a target is refused with what to do', async () => {
  await using open = await openManager()
  const create = (body: CreateNotificationTarget) =>
    open.manager.api.createNotificationTarget({ params: {}, body }, context)
  await assert.rejects(create({ name: 'x' }), /a webhook or an e-mail/)
  await assert.rejects(create({ name: 'x', webhook: { url: 'https://ada:pw@host/' } }), /not one that can be used/)
  await assert.rejects(create({ name: 'x', email: { ...mail, user: 'ada' } }), /user and password/)
  const clear = { user: 'ada', password: 'pw', security: 'none' as const }
  await assert.rejects(create({ name: 'x', email: { ...mail, ...clear } }), /not sent in the clear/)
  await create({ name: 'x', webhook: { url: 'https://host/' } })
  await assert.rejects(create({ name: 'X', webhook: { url: 'https://host/' } }), /already/)
})
