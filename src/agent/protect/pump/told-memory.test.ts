import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { mustEqual, ToldMemory } from './told-memory.ts'

function guest(pages: number) {
  const bytes = Buffer.alloc(pages * 4096)
  const read = ({ first, count }: PageRange, into: Uint8Array): number => {
    into.set(bytes.subarray(first * 4096, (first + count) * 4096))
    return count * 4096
  }
  return { pages, bytes, read }
}

test('a page that was written and told is fine, and one that was not is found', () => {
  const primary = guest(600)
  const told = new ToldMemory(primary, 'userfaultfd')
  told.check()
  primary.bytes[5 * 4096] = 1
  told.told({ first: 5, count: 1 }, primary.bytes.subarray(5 * 4096, 6 * 4096))
  told.check()
  primary.bytes[599 * 4096 + 4095] = 1
  assert.throws(() => told.check(), {
    code: 'internal',
    message: /userfaultfd has missed 1 written pages of 600, the first 599/,
  })
})

test('a second that holds anything else is found by the checksums', () => {
  const [primary, second] = [guest(600), guest(600)]
  const told = new ToldMemory(primary, 'comparison')
  mustEqual(second, 1, told.check())
  second.bytes[300 * 4096 + 17] = 1
  const sums = told.check()
  assert.throws(() => mustEqual(second, 7, sums), {
    code: 'internal',
    message: /after epoch 7 .* in 1 MiB of 3, the first 1/,
  })
  assert.throws(() => mustEqual(guest(200), 7, sums), { code: 'internal' })
})
