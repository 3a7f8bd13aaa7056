/** What the REST API says to requests that make no sense or cannot be met: a problem document, and nothing has changed. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { request } from 'node:https'
import { text } from 'node:stream/consumers'
import { after, before, test } from 'node:test'
import type { IncomingMessage } from 'node:http'
import type { Problem } from '../../src/contracts/problem.ts'
import { problemMediaType } from '../../src/contracts/problem.ts'
import { managerName } from '../../src/lab/names.ts'
import { TestLab } from '../support/lab.ts'

let lab: TestLab
let folder: string

before(async () => {
  folder = mkdtempSync('/var/tmp/hfb')
  lab = await TestLab.open({ name: `mb${process.pid % 100_000}`, hosts: 1, diskGiB: 1, hasGuest: false })
})
after(async () => {
  await lab?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

interface Answer {
  readonly status: number
  readonly problem: Problem
}

/** Any request at all, past the typed client. */
async function send(method: string, path: string, body?: unknown, token = lab.up.file.token): Promise<Answer> {
  const { url, ca } = lab.up.file
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>()
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const options = { method, ca, headers, checkServerIdentity: () => undefined }
  const out = request(url + path, options, resolve)
  out.on('error', reject)
  out.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body))
  const answer = await promise
  const said = await text(answer)
  const status = answer.statusCode ?? 0
  if (status < 400) return { status, problem: {} as Problem }
  assert.match(String(answer.headers['content-type']), new RegExp(problemMediaType.replace('+', '\\+')), said)
  return { status, problem: JSON.parse(said) as Problem }
}

/** The answer is a problem document of this code, for people and programs. */
async function refused(
  code: string,
  method: string,
  path: string,
  body?: unknown,
  options: { says?: RegExp; token?: string } = {},
): Promise<Problem> {
  const { status, problem } = await send(method, path, body, options.token)
  assert.equal(problem.code, code, JSON.stringify(problem))
  assert.equal(problem.status, status)
  assert.ok(
    problem.detail.length > 5 && problem.title.length > 2 && problem.type.includes(code),
    JSON.stringify(problem),
  )
  if (options.says !== undefined) assert.match(JSON.stringify(problem), options.says)
  return problem
}

const vms = async (): Promise<number> => (await lab.client.call('listVms')).items.length
const memoryMiB = 64

test('a request that is malformed names the field at fault, and nothing is coerced or ignored', async () => {
  const bad = async (body: unknown, says: RegExp): Promise<Problem> =>
    refused('invalid-request', 'POST', '/v1/vms', body, { says })
  await bad({ name: 'a', colour: 'blue' }, /colour/)
  await bad({ name: 'a', disks: [{ sizeBytes: 2 ** 20, path: '/etc/shadow' }] }, /path/)
  await bad({ name: 'a', memoryMiB: '64' }, /memoryMiB/)
  await bad({ name: 'a', vcpus: 1.5 }, /vcpus/)
  await bad({ name: 'a', vcpus: -1 }, /vcpus/)
  await bad({ name: 'a', start: 'yes' }, /start/)
  await bad({ name: 7 }, /name/)
  await bad({}, /name/)
  await bad({ name: 'a', machine: 'toaster' }, /machine/)
  await bad({ name: 'a', nics: [{ mac: 'not-a-mac' }] }, /mac/)
  await bad('{"name": "a"', /JSON|json/)
  await bad([], /object|array|body/i)
  await bad('null', /name|object/)
  for (const name of ['../etc', '..', 'a/b', '-rf', 'a\u0000b', '', ' ', 'x'.repeat(81), '<b>', 'a\nb', 'a"b']) {
    await bad({ name, memoryMiB }, /name/)
  }
  await refused('invalid-request', 'POST', '/v1/datastores', { name: 'odd', path: 'relative/folder' }, { says: /path/ })
  await refused('invalid-request', 'GET', '/v1/vms?limit=many')
  await refused('invalid-request', 'GET', '/v1/vms?color=blue')
  assert.equal(await vms(), 0)
})

test('what is not there, and who may not, are told apart', async () => {
  await refused('not-found', 'GET', '/v1/vms/vm-999')
  await refused('not-found', 'GET', '/v1/nothing')
  await refused('not-found', 'POST', '/v1/vms/vm-999/start', {})
  const path = await send('GET', '/v1/vms/..%2f..%2fetc%2fpasswd')
  assert.ok(path.problem.code === 'invalid-request' || path.problem.code === 'not-found', JSON.stringify(path))
  await refused('not-signed-in', 'GET', '/v1/vms', undefined, { token: 'hf_wrong' })
  const reader = await lab.client.call('createToken', { body: { name: 'looks', role: 'reader' } })
  const token = (reader as unknown as { secret: string }).secret
  await refused('not-allowed', 'POST', '/v1/vms', { name: 'a', memoryMiB }, { token })
})

test('names, MACs and addresses that are taken', async () => {
  const mac = '52:54:00:aa:bb:cc'
  await lab.finish(await lab.client.call('createVm', { body: { name: 'first', memoryMiB, nics: [{ mac }] } }))
  await refused('name-taken', 'POST', '/v1/vms', { name: 'first', memoryMiB }, { says: /first/ })
  await refused('name-taken', 'POST', '/v1/vms', { name: 'second', memoryMiB, nics: [{ mac }] }, { says: /aa:bb:cc/ })
  await refused('name-taken', 'POST', '/v1/datastores', { name: 'shared', path: '/srv/other' })
  const { items } = await lab.client.call('listVms')
  assert.deepEqual(
    items.map(({ name }) => name),
    ['first'],
  )
})

test('more memory than any host has is refused before anything is made or started', async () => {
  const body = { name: 'giant', memoryMiB: 3 * 1024 * 1024, start: true }
  const { status, problem } = await send('POST', '/v1/vms', body)
  if (status >= 400) {
    assert.ok(['no-capacity', 'refused'].includes(problem.code), JSON.stringify(problem))
    return
  }
  const task = (await lab.client.call('listTasks')).items[0]
  assert.ok(task)
  await assert.rejects(lab.finish(task), /memory/i)
  assert.equal(
    (await lab.client.call('listVms', { query: { name: 'giant' } })).items[0]?.run.phase ?? 'stopped',
    'stopped',
  )
})

test('an image that nobody has, a path outside of what an agent allows, a host that is none', async () => {
  await refused(
    'not-found',
    'POST',
    '/v1/vms',
    { name: 'a', memoryMiB, cdroms: [{ image: 'nothing' }] },
    { says: /nothing/ },
  )
  await refused('not-found', 'POST', '/v1/vms', {
    name: 'a',
    memoryMiB,
    disks: [{ sizeBytes: 2 ** 20, datastore: 'moon' }],
  })
  const body = { name: 'secret', path: '/etc/shadow', host: lab.hosts[0] ?? '' }
  const { status, problem } = await send('POST', '/v1/images', body)
  if (status < 400) {
    const task = (await lab.client.call('listTasks')).items[0]
    assert.ok(task)
    await assert.rejects(lab.finish(task), /may not be read/)
  } else assert.equal(problem.code, 'not-allowed', JSON.stringify(problem))
  assert.deepEqual((await lab.client.call('listImages')).items, [])
})

test('the same idempotency key makes one VM; with another request it is refused', async () => {
  const create = (name: string) =>
    lab.client.call('createVm', { body: { name, memoryMiB } }, { idempotencyKey: 'once-and-for-all' })
  const [one, other] = [await create('keyed'), await create('keyed')]
  assert.equal(one.id, other.id)
  await assert.rejects(create('otherwise'), { code: 'idempotency-mismatch' })
  await lab.finish(one)
})

async function holdfast(node: string, ...args: string[]): Promise<{ code: number | null; said: string }> {
  const { node: runtime, main } = lab.lab.machines.launcher
  const { code, stdout, stderr } = await lab.run(node, [runtime, main, ...args])
  return { code, said: stdout + stderr }
}

test('a second manager on the same data folder does not start', async () => {
  const { code, said } = await holdfast(managerName, 'manager', 'run')
  assert.notEqual(code, 0)
  assert.match(said, /another manager/i)
  assert.equal((await lab.client.call('getCluster')).counts.hosts, 1)
})

test('a join token works once, and a wrong one never', async () => {
  const host = lab.hosts[0] ?? ''
  const join = (token: string, name: string) => {
    const place = ['--data', `${folder}/${name}`, '--address', '127.0.0.1', '--name', name, '--yes']
    return holdfast(host, 'agent', 'join', lab.up.file.url, '--token', token, ...place)
  }
  const { token } = await lab.client.call('createJoinToken', { body: {} })
  const wrong = await join('hfj.nothing', 'intruder')
  assert.notEqual(wrong.code, 0)
  assert.match(wrong.said, /token/i)
  const altered = await join(token.replace(/^hfj\.../, 'hfj.__'), 'intruder')
  assert.notEqual(altered.code, 0)
  assert.match(altered.said, /join token/)
  assert.equal((await join(token, 'second')).code, 0)
  const used = await join(token, 'intruder')
  assert.notEqual(used.code, 0)
  assert.match(used.said, /join token/)
  const names = (await lab.client.call('listHosts')).items.map(({ name }) => name)
  assert.deepEqual(names.toSorted(), [...lab.hosts, 'second'].toSorted())
  assert.ok(!(wrong.said + altered.said + used.said).includes(token), 'a token is not repeated')
})
