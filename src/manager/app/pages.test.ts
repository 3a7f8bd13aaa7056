import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pageOf } from './pages.ts'

const items = [1, 2, 5, 9, 10, 11].map((number) => ({ id: `vm-${number}` }))
const ids = (page: { items: { id: string }[] }): string[] => page.items.map(({ id }) => id)

test('pages follow each other by the last id, and lose nothing when items go', () => {
  const first = pageOf(items, { limit: 2 })
  assert.deepEqual([ids(first), first.next], [['vm-1', 'vm-2'], 'vm-2'])
  const gone = items.filter(({ id }) => id !== 'vm-2')
  const second = pageOf(gone, { limit: 3, after: 'vm-2' })
  assert.deepEqual([ids(second), second.next], [['vm-5', 'vm-9', 'vm-10'], 'vm-10'])
  const last = pageOf(gone, { limit: 3, after: 'vm-10' })
  assert.deepEqual([ids(last), last.next], [['vm-11'], null])
  assert.deepEqual(ids(pageOf(items, { after: 'vm-11' })), [])
})

test('the newest come first where that is asked for', () => {
  const first = pageOf(items, { limit: 4 }, true)
  assert.deepEqual([ids(first), first.next], [['vm-11', 'vm-10', 'vm-9', 'vm-5'], 'vm-5'])
  assert.deepEqual(ids(pageOf(items, { after: 'vm-5' }, true)), ['vm-2', 'vm-1'])
})

test('what is not the end of a page is refused', () => {
  assert.throws(() => pageOf(items, { after: 'x-y' }), /not the `next`/)
})
