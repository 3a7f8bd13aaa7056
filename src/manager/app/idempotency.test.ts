import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeClock } from '../../base/node/index.ts'
import { HoldfastError } from '../../base/errors.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import { Idempotency, type KeyedRequest } from './idempotency.ts'

const clock = nodeClock()
const request: KeyedRequest = {
  ...{ key: 'k1', caller: { id: 'token-1', name: 'a', role: 'operator' }, method: 'POST', path: '/v1/vms' },
  ...{ body: { name: 'web', memoryMiB: 64 }, hasSecretAnswer: false },
}

test('the same key with the same request is answered as the first time, also by the next manager', async () => {
  await using store = new MemoryStore(clock)
  const keys = new Idempotency(store, clock)
  let runs = 0
  const run = async () => ({ status: 202, body: { run: ++runs } })
  const both = await Promise.all([keys.once(request, run), keys.once(request, run)])
  assert.deepEqual(both, [
    { status: 202, body: { run: 1 } },
    { status: 202, body: { run: 1 } },
  ])
  // The order of fields is no difference.
  const turned = { ...request, body: { memoryMiB: 64, name: 'web' } }
  assert.deepEqual(await new Idempotency(store, clock).once(turned, run), { status: 202, body: { run: 1 } })
  assert.equal(runs, 1)
})

test('another request under the same key is refused; another caller has keys of its own', async () => {
  await using store = new MemoryStore(clock)
  const keys = new Idempotency(store, clock)
  const run = async () => ({ status: 202, body: null })
  await keys.once(request, run)
  await assert.rejects(
    keys.once({ ...request, body: { name: 'other' } }, run),
    (error) => error instanceof HoldfastError && error.code === 'idempotency-mismatch',
  )
  let runs = 0
  const other = { ...request, body: {}, caller: { ...request.caller, id: 'token-2' } }
  await keys.once(other, async () => ({ status: 202, body: ++runs }))
  assert.equal(runs, 1)
})

test('a refusal is not kept, and an answer with a secret never reaches the store', async () => {
  await using store = new MemoryStore(clock)
  const keys = new Idempotency(store, clock)
  await assert.rejects(keys.once(request, async () => Promise.reject(new Error('busy'))))
  assert.equal((await keys.once(request, async () => ({ status: 202, body: 1 }))).body, 1)
  const secret = { ...request, key: 'k2', hasSecretAnswer: true }
  const made = await keys.once(secret, async () => ({ status: 201, body: { secret: 'hush' } }))
  const again = await keys.once(secret, async () => ({ status: 201, body: { secret: 'other' } }))
  assert.deepEqual(again, made)
  assert.ok(!JSON.stringify((await store.list('idempotency')).items).includes('hush'))
})
