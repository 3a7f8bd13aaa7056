import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openSealed, sealedWith } from './sealed.ts'

const sealed = sealedWith(Buffer.alloc(32, 7))

test('what is sealed opens in its own context only', () => {
  const text = sealed.seal('hunter2 ä', 'fence/host-1')
  assert.equal(sealed.unseal(text, 'fence/host-1'), 'hunter2 ä')
  assert.throws(() => sealed.unseal(text, 'fence/host-2'), { code: 'wrong-state' })
  assert.ok(!text.includes('hunter2'))
  assert.notEqual(sealed.seal('hunter2 ä', 'fence/host-1'), text, 'the same text is never sealed the same')
})

test('another cluster, a changed text and nonsense open nothing', async () => {
  const other = await openSealed({ secretKeyMaterial: async () => Buffer.from('another key') })
  const text = sealed.seal('x', 'c')
  const changed = `${text.slice(0, -2)}${text.endsWith('AA') ? 'BB' : 'AA'}`
  assert.throws(() => other.unseal(text, 'c'), { code: 'wrong-state' })
  for (const bad of [changed, '', 's1.', 's2.abc', 'nonsense']) {
    assert.throws(() => sealed.unseal(bad, 'c'), { code: 'wrong-state' }, bad)
  }
})

test('the same authority opens what was sealed in an earlier life', async () => {
  const authority = { secretKeyMaterial: async () => Buffer.from('the key of the authority') }
  const text = (await openSealed(authority)).seal('secret', 'c')
  assert.equal((await openSealed(authority)).unseal(text, 'c'), 'secret')
})
