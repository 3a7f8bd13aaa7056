import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../base/ids.ts'
import type { ProtectionConfig } from './protection.ts'
import { claimed, looked, opened, superseded } from './protection-register.ts'

const config = (n: number, arbiter = 'host-3'): ProtectionConfig => ({
  ...{ vm: 'vm-1' as VmId, n },
  ...{ primary: 'host-1' as HostId, second: 'host-2' as HostId, arbiter: arbiter as HostId },
})
const one = opened(undefined, config(1))

test('the side that asks first wins, and whoever asks again hears the same', () => {
  const first = claimed(one, 1, 'second')
  assert.deepEqual(first.answer, { is: 'won' })
  const record = first.record ?? undefined
  assert.equal(record?.winner, 'second')
  assert.deepEqual(claimed(record, 1, 'primary'), { answer: { is: 'lost' }, record: null })
  assert.deepEqual(claimed(record, 1, 'second'), { answer: { is: 'won' }, record: null })
})

test('a look decides nothing', () => {
  assert.deepEqual(looked(one, 1, 'primary'), { is: 'open' })
  assert.deepEqual(claimed(one, 1, 'primary').answer, { is: 'won' })
})

test('an arbiter without a memory of a configuration never says yes to it', () => {
  assert.deepEqual(claimed(undefined, 1, 'primary'), { answer: { is: 'unknown' }, record: null })
  assert.deepEqual(claimed(one, 2, 'primary'), { answer: { is: 'unknown' }, record: null })
})

test('a configuration that was superseded is won by nobody, and who asks is sent on', () => {
  const next = config(2, 'host-4')
  const { answer, record } = superseded(one, 1, next)
  assert.deepEqual(answer, { is: 'superseded', next })
  assert.deepEqual(claimed(record ?? undefined, 1, 'second'), { answer: { is: 'superseded', next }, record: null })
  assert.deepEqual(superseded(record ?? undefined, 1, config(3)).answer, { is: 'superseded', next })
})

test('a configuration that was won is not superseded', () => {
  const { record } = claimed(one, 1, 'second')
  assert.deepEqual(superseded(record ?? undefined, 1, config(2)), { answer: { is: 'lost' }, record: null })
})

test('an older configuration is never opened again, and who asks about it has lost', () => {
  const two = opened(one, config(2))
  assert.equal(two?.config.n, 2)
  assert.equal(opened(two, config(1)), undefined)
  assert.deepEqual(claimed(two, 1, 'primary'), { answer: { is: 'lost' }, record: null })
})

test('to open what is open changes nothing, and another one of the same number is refused', () => {
  const won = claimed(one, 1, 'second').record ?? undefined
  assert.equal(opened(won, config(1)), won)
  assert.equal(opened(one, config(1, 'host-4')), undefined)
})
