import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeClock } from '../../base/node/index.ts'
import { HoldfastError } from '../../base/errors.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { Pledge } from '../sagas/operation.ts'
import { Idempotency, type KeyedRequest } from './idempotency.ts'

const clock = nodeClock()
const request: KeyedRequest = {
  ...{ key: 'k1', caller: { id: 'token-1', name: 'a', role: 'operator' }, method: 'POST', path: '/v1/vms' },
  ...{ body: { name: 'web', memoryMiB: 64 }, status: 202, hasSecretAnswer: false },
}

/** Shows what was made as its kind and id. */
const shown = (kind: string) => async (id: string) => ({ kind, id })
const views = {
  task: shown('task'),
  datastore: shown('datastore'),
  network: shown('network'),
  upload: shown('upload'),
  rule: shown('rule'),
}

test('the same key with the same request is answered as the first time, also by the next manager', async () => {
  await using store = new MemoryStore(clock)
  const keys = new Idempotency(store, clock, views)
  let runs = 0
  const run = async () => ({ run: ++runs })
  const both = await Promise.all([keys.once(request, run), keys.once(request, run)])
  assert.deepEqual(both, [{ run: 1 }, { run: 1 }])
  // The order of fields is no difference.
  const turned = { ...request, body: { memoryMiB: 64, name: 'web' } }
  assert.deepEqual(await new Idempotency(store, clock, views).once(turned, run), { run: 1 })
  assert.equal(runs, 1)
})

test('another request under the same key is refused; another caller has keys of its own', async () => {
  await using store = new MemoryStore(clock)
  const keys = new Idempotency(store, clock, views)
  const run = async () => null
  await keys.once(request, run)
  await assert.rejects(
    keys.once({ ...request, body: { name: 'other' } }, run),
    (error) => error instanceof HoldfastError && error.code === 'idempotency-mismatch',
  )
  let runs = 0
  const other = { ...request, body: {}, caller: { ...request.caller, id: 'token-2' } }
  await keys.once(other, async () => ++runs)
  assert.equal(runs, 1)
})

test('a refusal is not kept, and an answer with a secret never reaches the store', async () => {
  await using store = new MemoryStore(clock)
  const keys = new Idempotency(store, clock, views)
  await assert.rejects(keys.once(request, async () => Promise.reject(new Error('busy'))))
  assert.equal(await keys.once(request, async () => 1), 1)
  const secret = { ...request, key: 'k2', hasSecretAnswer: true }
  const made = await keys.once(secret, async () => ({ secret: 'hush' }))
  const again = await keys.once(secret, async () => ({ secret: 'other' }))
  assert.deepEqual(again, made)
  assert.ok(!JSON.stringify((await store.list('idempotency')).items).includes('hush'))
})

test('what was made before the answer was known is the answer, and nothing is made twice', async () => {
  await using store = new MemoryStore(clock)
  const dies = async (pledge: Pledge | undefined) => {
    assert.ok(pledge)
    await store.commit({ changes: [pledge.changeFor({ kind: 'task', id: 'task-7' })], events: [] })
    throw new Error('the manager dies here')
  }
  // In one that lives on, the request itself may be asked again, and finds what it made.
  assert.deepEqual(await new Idempotency(store, clock, views).once(request, dies), { kind: 'task', id: 'task-7' })
  const never = async () => assert.fail('it was made already')
  assert.deepEqual(await new Idempotency(store, clock, views).once(request, never), { kind: 'task', id: 'task-7' })
  await assert.rejects(new Idempotency(store, clock, views).once({ ...request, body: {} }, never), /another request/)
})

test('of two managers that take the same request, one makes it', async () => {
  await using store = new MemoryStore(clock)
  const made: string[] = []
  const make = (id: string) => async (pledge: Pledge | undefined) => {
    assert.ok(pledge)
    const result = await store.commit({ changes: [pledge.changeFor({ kind: 'task', id })], events: [] })
    if (!result.ok) throw new HoldfastError('conflict', 'lost the race')
    made.push(id)
    return { kind: 'task', id }
  }
  const managers = ['task-1', 'task-2'].map((id) => new Idempotency(store, clock, views).once(request, make(id)))
  const answers = await Promise.all(managers)
  assert.equal(made.length, 1)
  assert.deepEqual(answers[0], answers[1])
})
