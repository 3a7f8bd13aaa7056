/** The manager behind its real HTTPS server, with hosts that join, report and start VMs over mutual TLS. */
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { WebSocket } from 'ws'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import { HoldfastError } from '../base/errors.ts'
import type { HostId } from '../base/ids.ts'
import { silentLogger } from '../base/log.ts'
import { managerCalls } from '../contracts/agent-routes.ts'
import { createClient, eventPlace, type Client } from '../contracts/client.ts'
import { exchangeJson } from '../contracts/http-exchange.ts'
import type { Event, Task } from '../contracts/inventory.ts'
import { readJoinToken } from '../contracts/join-token.ts'
import type { JoinResponse, StreamCertificateResponse } from '../contracts/manager-api.ts'
import { Authority, type KeyPair } from '../manager/app/authority.ts'
import { FakeHost, type FakeLine } from '../manager/app/testing/fake-hosts.ts'
import { Manager } from '../manager/app/manager.ts'
import { MemoryStore } from '../manager/store/memory/memory-store.ts'
import { createServer } from './rest/server.ts'

const root = `${import.meta.dirname}/../..`
const ports = {
  clock: nodeClock(),
  files: nodeFiles(),
  network: nodeNetwork(),
  processes: nodeProcesses(),
  random: nodeRandom(),
}
const hosts = new Map<HostId, FakeHost>()
const resources = new AsyncDisposableStack()
let url = ''
let ca = ''
let folder = ''
let manager: Manager
let admin: Client
let token = ''

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-server-'))
  resources.defer(() => rm(folder, { recursive: true }))
  const authority = await Authority.create(`${folder}/ca`, 'test', ports)
  ca = authority.ca
  const pair = await authority.serverPair(`${folder}/server`, {
    commonName: 'manager.holdfast',
    subjects: ['manager.holdfast', '127.0.0.1'],
  })
  const store = resources.use(new MemoryStore(ports.clock))
  const agents = (record: { id: HostId }) => {
    const host = hosts.get(record.id)
    if (host === undefined) throw new HoldfastError('unreachable', 'no such fake host')
    return host.agent
  }
  manager = resources.use(
    await Manager.open({ ...ports, store, logger: silentLogger, authority, agents, version: '0.0.0' }),
  )
  const server = await createServer({
    ...{ manager, clock: ports.clock, logger: silentLogger, tls: { ...pair, ca } },
    web: {
      ...{ files: ports.files, processes: ports.processes, nodePath: process.execPath, webDirectory: `${root}/web` },
      ...{ novncDirectory: `${root}/node_modules/@novnc/novnc`, openApiPath: `${root}/docs/api/openapi.json` },
    },
  })
  resources.defer(() => server.close())
  await server.listen({ host: '127.0.0.1', port: 0 })
  const address = server.server.address()
  url = `https://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  token = (await manager.access.createToken({ name: 'test', role: 'administrator' }, 'a test')).secret
  admin = createClient(ports.network, { url, token, ca })
})
after(async () => {
  await resources.disposeAsync()
  ports.network[Symbol.dispose]()
})

/** A host as its agent would join: a key of its own, a request, the token's CA, and mutual TLS from then on. */
type Send = (path: string, document: unknown, identity?: object) => Promise<unknown>

async function joinHost(
  name: string,
): Promise<{ host: FakeHost; pair: KeyPair; line: FakeLine; answer: JoinResponse; send: Send; request: string }> {
  const made = await admin.call('createJoinToken', { body: {} })
  const read = readJoinToken(made.token)
  assert.ok(read !== undefined)
  const key = join(folder, `${name}.key`)
  const request = await ports.processes.run('openssl', [
    ...['req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key],
    ...['-subj', '/CN=whatever', '-config', '/dev/null'],
  ])
  const body = {
    ...{ token: made.token, name, uuid: ports.random.uuid(), certificateRequest: request.stdout, agentPort: 7444 },
    addresses: { management: '127.0.0.1', storage: '127.0.0.1', guests: '127.0.0.1' },
  }
  const tls = { ca: read.ca, serverName: 'manager.holdfast' }
  const send: Send = (path, document, identity = {}) =>
    exchangeJson(ports.network, {
      ...{ method: 'POST', url: url + path, body: JSON.stringify(document), tls: { ...tls, ...identity } },
      headers: { 'content-type': 'application/json' },
    })
  const answer = (await send(managerCalls.join.path, body)) as JoinResponse
  const pair = { cert: answer.certificate, key: await ports.files.readText(key) }
  const line = {
    report: (report: unknown) => send(managerCalls.report.path, report, pair),
    transition: (asked: unknown) => send(managerCalls.transition.path, asked, pair),
  } as FakeLine
  const host = new FakeHost(answer.host, line)
  hosts.set(answer.host, host)
  return { host, pair, line, answer, send, request: request.stdout }
}

async function ended(task: Task): Promise<Task> {
  return admin.call('getTask', { params: { task: task.id }, query: { waitSeconds: 20 } })
}

function codeIs(code: string): (error: unknown) => boolean {
  return (error) => error instanceof HoldfastError && error.code === code
}

test('a host joins with a one-time token, is configured by its reports, and runs a VM that the API made', async () => {
  const { host } = await joinHost('one')
  await admin.call('createDatastore', { body: { name: 'local', path: '/srv/vms', hosts: ['one'] } })
  await admin.call('createNetwork', { body: { name: 'default', cidr: '10.9.0.0/24', gateway: '10.9.0.1' } })
  await host.report()
  assert.equal(host.configuration?.datastores[0]?.name, 'local')
  const shown = (await admin.call('listHosts')).items[0]
  assert.equal(shown?.state, 'connected')
  assert.equal(shown.facts?.qemu.version, '10.0.2')

  const body = { name: 'web', memoryMiB: 128, disks: [{ sizeBytes: 1 << 20 }], start: true }
  const task = await ended(await admin.call('createVm', { body }, { idempotencyKey: 'make-web' }))
  assert.equal(task.state, 'done', JSON.stringify(task.problem ?? task.result))
  const again = await admin.call('createVm', { body }, { idempotencyKey: 'make-web' })
  assert.equal(again.id, task.id)
  const vm = (await admin.call('listVms', { query: { name: 'WEB' } })).items[0]
  assert.equal(vm?.state, 'running')
  assert.equal(vm.host, 'one')
  assert.deepEqual(vm.addresses, ['10.9.0.2'])
  await host.report()
  assert.equal((await admin.call('getVm', { params: { vm: vm.id } })).usage?.rssMiB, 64)
  await assert.rejects(admin.call('startVm', { params: { vm: vm.id }, body: {} }), codeIs('wrong-state'))
  await assert.rejects(admin.call('createVm', { body: { name: 'Web' } }), codeIs('name-taken'))
  await assert.rejects(admin.call('deleteVm', { params: { vm: vm.id } }), codeIs('wrong-state'))
  assert.equal((await ended(await admin.call('stopVm', { params: { vm: vm.id }, body: {} }))).state, 'done')
  assert.equal((await admin.call('getVm', { params: { vm: vm.id } })).state, 'stopped')
  assert.equal((await ended(await admin.call('deleteVm', { params: { vm: vm.id } }))).state, 'done')
  await assert.rejects(admin.call('getVm', { params: { vm: vm.id } }), codeIs('not-found'))
})

test('a join token works once, and a certificate speaks for its own host alone', async () => {
  const { host, line, answer } = await joinHost('two')
  await host.report()
  await assert.rejects(
    line.report({ ...(await host.agent.report()), host: 'host-99' as HostId }),
    codeIs('not-allowed'),
  )
  const used = await admin.call('createJoinToken', { body: {} })
  const body = { token: used.token, name: 'x', uuid: ports.random.uuid(), certificateRequest: 'no', agentPort: 1 }
  const request = {
    ...{ method: 'POST', url: url + managerCalls.join.path, headers: { 'content-type': 'application/json' } },
    tls: { ca, serverName: 'manager.holdfast' },
  }
  const addresses = { management: '127.0.0.1', storage: '127.0.0.1', guests: '127.0.0.1' }
  const send = (over: object): Promise<unknown> =>
    exchangeJson(ports.network, { ...request, body: JSON.stringify({ ...body, addresses, ...over }) })
  await assert.rejects(send({}), codeIs('invalid-request'))
  await assert.rejects(send({ token: 'wrong' }), codeIs('not-allowed'))
  await assert.rejects(send({ name: '../x' }), codeIs('invalid-request'))
  const report = await host.agent.report()
  await assert.rejects(
    exchangeJson(ports.network, { ...request, url: url + managerCalls.report.path, body: JSON.stringify(report) }),
    codeIs('not-allowed'),
  )
  await admin.call('removeHost', { params: { host: answer.host } })
  await assert.rejects(line.report({ ...report, sequence: 999 }), codeIs('not-allowed'))
})

test('hosts of the cluster ask the managers who may go on, and nobody else does', async () => {
  const { pair, send } = await joinHost('asker')
  const { path } = managerCalls.arbiterLife
  const { life } = (await send(path, {}, pair)) as { life: string }
  assert.match(life, /^[0-9a-f-]{36}\/1$/)
  await assert.rejects(send(path, {}), codeIs('not-allowed'))
  const claim = { vm: 'vm-999', n: 1, side: 'primary' }
  assert.deepEqual(await send(managerCalls.arbiterClaim.path, claim, pair), { is: 'unknown' })
  await assert.rejects(send(managerCalls.arbiterClaim.path, { ...claim, side: 'x' }, pair), codeIs('invalid-request'))
  await assert.rejects(send(managerCalls.arbiterClaim.path, claim), codeIs('not-allowed'))
})

test('events are followed live and resumed from a place, and a bad place is refused', async () => {
  const stop = new AbortController()
  const seen: Event[] = []
  const made = await admin.call('createToken', { body: { name: 'seen', role: 'reader' } })
  for await (const event of admin.events('0.0', stop.signal)) {
    if (event !== 'relist') seen.push(event)
    if (event !== 'relist' && event.type === 'token.created' && event.subject?.name === 'seen') stop.abort()
  }
  assert.equal(seen[0]?.type, 'cluster.created')
  const last = seen.at(-1)
  assert.ok(last !== undefined)
  const second = new AbortController()
  const rest: Event[] = []
  const following = (async () => {
    for await (const event of admin.events(eventPlace(last), second.signal)) {
      if (event !== 'relist') rest.push(event)
      if (event !== 'relist' && event.type === 'token.revoked') second.abort()
    }
  })()
  await admin.call('revokeToken', { params: { token: made.token.id } })
  await following
  assert.ok(rest.every((event) => event.revision > last.revision))
  const bad = createClient(ports.network, { url, token, ca }).events('x', new AbortController().signal)
  await assert.rejects(bad[Symbol.asyncIterator]().next(), codeIs('invalid-request'))
  const reader = createClient(ports.network, { url, token: made.secret, ca })
  await assert.rejects(reader.call('listVms'), codeIs('not-signed-in'))
})

test('the certificate of migration streams bears another name than the host, and opens no door', async () => {
  const { host, line, send, pair, request } = await joinHost('streams')
  await host.report()
  const { path } = managerCalls.streamCertificate
  const signed = (await send(path, { certificateRequest: request }, pair)) as StreamCertificateResponse
  const { subject, subjectAltName } = new X509Certificate(signed.certificate)
  assert.equal(signed.tlsName, `stream.${host.id}.holdfast`)
  assert.ok(subject.endsWith(`CN=${signed.tlsName}`))
  assert.equal(subjectAltName, `DNS:${signed.tlsName}`)
  const stolen = { cert: signed.certificate, key: pair.key }
  for (const [call, body] of [
    ['report', await host.agent.report()],
    ['transition', { vm: 'vm-1', generation: 1, event: 'started', cause: null, attempt: 'x' }],
    ['record', { vm: 'vm-1' }],
    ['renew', { certificateRequest: request }],
    ['streamCertificate', { certificateRequest: request }],
  ] as const) {
    await assert.rejects(send(managerCalls[call].path, body, stolen), codeIs('not-allowed'), call)
  }
  await line.report(await host.agent.report())
  await assert.rejects(send(path, { certificateRequest: request }), codeIs('not-allowed'))
})

test('an upload is resumed from what the agent has, and one that is too long is refused', async () => {
  const { host } = await joinHost('three')
  await admin.call('createDatastore', { body: { name: 'three', path: '/srv/three', hosts: ['three'] } })
  await host.report()
  const upload = await admin.call('createUpload', { body: { sizeBytes: 10, datastore: 'three' } })
  assert.equal((await admin.upload(upload.id, 0, Buffer.from('01234'))).offset, 5)
  await assert.rejects(admin.upload(upload.id, 3, Buffer.from('34567')), codeIs('conflict'))
  await assert.rejects(admin.call('importImage', { body: { name: 'img', upload: upload.id } }), codeIs('wrong-state'))
  assert.equal((await admin.call('getUpload', { params: { upload: upload.id } })).offset, 5)
  assert.equal((await admin.upload(upload.id, 5, Buffer.from('56789'))).offset, 10)
  const task = await ended(await admin.call('importImage', { body: { name: 'img', upload: upload.id } }))
  assert.equal(task.state, 'done', JSON.stringify(task.problem))
  const image = (await admin.call('listImages')).items[0]
  assert.equal(image?.state, 'ready')
  await assert.rejects(admin.call('importImage', { body: { name: 'img', path: '/x' } }), codeIs('name-taken'))
  await admin.call('deleteImage', { params: { image: image.id } })
  const small = await admin.call('createUpload', { body: { sizeBytes: 2, datastore: 'three' } })
  await assert.rejects(admin.upload(small.id, 0, Buffer.alloc(3)), codeIs('too-large'))
})

test('a console is opened by a ticket that works once, and speaks to the guest', async () => {
  const { host } = await joinHost('four')
  await host.report()
  const made = await ended(
    await admin.call('createVm', { body: { name: 'talker', memoryMiB: 64, nics: [], start: true } }),
  )
  assert.equal(made.state, 'done', JSON.stringify(made.problem))
  const vm = (await admin.call('listVms', { query: { name: 'talker' } })).items[0]
  assert.ok(vm !== undefined)
  const ticket = await admin.call('createTicket', { params: { vm: vm.id }, body: { kind: 'serial' } })
  const open = (): WebSocket => new WebSocket(url.replace('https', 'wss') + ticket.url, 'binary', { ca })
  const socket = open()
  let text = ''
  socket.on('message', (data: Buffer) => {
    text += data.toString()
    if (text.endsWith('> ')) socket.send(Buffer.from('hello'))
    if (text.endsWith('hello')) socket.close()
  })
  await new Promise((done) => socket.once('close', done))
  assert.match(text, new RegExp(`^host-[0-9]+:${vm.id}> hello$`))
  const status = await new Promise<number>((done) => {
    open().once('unexpected-response', (_request, response) => done(response.statusCode ?? 0))
  })
  assert.equal(status, 401)
  assert.equal((await admin.call('screenshotVm', { params: { vm: vm.id } })).length, 8)
})
