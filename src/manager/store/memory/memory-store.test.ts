import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../../base/errors.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import type { Change } from '../store.ts'
import { storeSuite } from '../store-suite.ts'
import { MemoryStore } from './memory-store.ts'

storeSuite('memory', async () => {
  let store: MemoryStore | undefined
  return {
    open: async (clock) => {
      store ??= new MemoryStore(clock)
      store.renewAllLeases()
      return store
    },
    close: async () => undefined,
    [Symbol.asyncDispose]: async () => {
      await store?.[Symbol.asyncDispose]()
    },
  }
})

const create: Change = { do: 'create', kind: 'claim', value: { id: 'a', v: 1, owner: 'x' } }

test('a fault before a commit leaves nothing, one after it loses the reply', async () => {
  const store = new MemoryStore(new VirtualClock())
  store.faults.beforeCommit = () => {
    throw new HoldfastError('store-error', 'the disk is full')
  }
  await assert.rejects(store.commit({ changes: [create], events: [] }), { code: 'store-error' })
  assert.equal(await store.get('claim', 'a'), undefined)
  store.faults = {
    afterCommit: () => {
      throw new HoldfastError('unreachable', 'no reply')
    },
  }
  await assert.rejects(store.commit({ changes: [create], events: [] }), { code: 'unreachable' })
  assert.equal((await store.get('claim', 'a'))?.revision, 1)
})
