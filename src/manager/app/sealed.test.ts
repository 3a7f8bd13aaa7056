import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { nodeRandom } from '../../base/node/index.ts'
import { cannotSeal, sealedBy } from './sealed.ts'

const random = nodeRandom()
const sealed = sealedBy(random.bytes(32), random)
const isRefusal = (thrown: unknown): boolean => thrown instanceof HoldfastError && thrown.code === 'wrong-state'

test('what was sealed opens again for the same context, and is not in the text', () => {
  const text = sealed.seal('hunter2 – ü', 'target-1/password')
  assert.match(text, /^v1(\.[\w-]+){3}$/)
  assert.ok(
    !Buffer.from(text.split('.')[3] ?? '', 'base64url')
      .toString('utf8')
      .includes('hunter2'),
  )
  assert.equal(sealed.unseal(text, 'target-1/password'), 'hunter2 – ü')
  assert.equal(sealed.unseal(sealed.seal('', 'c'), 'c'), '')
})

test('the same secret is another text each time', () => {
  assert.notEqual(sealed.seal('a', 'c'), sealed.seal('a', 'c'))
})

test('another context, another key, and a text that was changed do not open', () => {
  const text = sealed.seal('secret', 'target-1/password')
  assert.throws(() => sealed.unseal(text, 'target-2/password'), isRefusal)
  assert.throws(() => sealedBy(random.bytes(32), random).unseal(text, 'target-1/password'), isRefusal)
  const parts = text.split('.')
  for (const at of [1, 2, 3]) {
    const bytes = Buffer.from(parts[at] ?? '', 'base64url')
    bytes[0] = (bytes[0] ?? 0) ^ 1
    const changed = parts.with(at, bytes.toString('base64url')).join('.')
    assert.throws(() => sealed.unseal(changed, 'target-1/password'), isRefusal, changed)
  }
  for (const strange of ['', 'v1', 'v2.a.b.c', 'v1...', parts.with(2, 'AAAA').join('.')]) {
    assert.throws(() => sealed.unseal(strange, 'target-1/password'), isRefusal, strange)
  }
})

test('a manager without the key of the authority says so', () => {
  assert.throws(() => cannotSeal.seal('a', 'b'), isRefusal)
})
