import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseStoreAddress } from './store-address.ts'

test('members and prefix are read as people write them', () => {
  assert.equal(parseStoreAddress('sqlite'), undefined)
  assert.deepEqual(parseStoreAddress('etcd://10.0.0.1:2379,[fd00::1]:2379,10.0.0.1:2379'), {
    ...{ kind: 'etcd', endpoints: ['http://10.0.0.1:2379', 'http://[fd00::1]:2379'], prefix: 'holdfast/' },
  })
  assert.deepEqual(parseStoreAddress('etcds://etcd1:2379/prod/one/'), {
    ...{ kind: 'etcd', endpoints: ['https://etcd1:2379'], prefix: 'prod/one/' },
  })
})

test('what names no inventory is refused', () => {
  for (const text of [
    '',
    'etcd',
    'etcd://',
    'etcd://host',
    'etcd://a:1,',
    'http://a:2379',
    'etcd://u@a:1',
    'etcd://a:1/x y',
  ]) {
    assert.throws(() => parseStoreAddress(text), { code: 'invalid-request' }, text)
  }
})
