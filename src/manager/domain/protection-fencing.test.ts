import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId } from '../../base/ids.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { RunProtection } from '../../contracts/protection.ts'
import { aRun } from './cluster-fixture.ts'
import { planFencingOf, settledBy } from './protection-fencing.ts'

const [h1, h2, h3] = ['host-1', 'host-2', 'host-3'] as [HostId, HostId, HostId]
const protection: RunProtection = { n: 2, second: h2, arbiter: h3, phase: 'protected' }
const running = aRun({ phase: 'running', host: h1, cause: null })
const pair = { ...running, protection }
const sees = (process: VmObservation['process']) => ({ process }) as VmObservation

test('a VM that is not protected is down when its host is confirmed off, and no sooner', () => {
  assert.deepEqual(planFencingOf(running, 'confirmed-off', undefined, undefined), { is: 'fence' })
  assert.deepEqual(planFencingOf(running, 'unreachable', undefined, undefined), { is: 'wait' })
  const moving = aRun({ phase: 'moving', host: h1, target: h2, cause: null })
  assert.deepEqual(planFencingOf(moving, 'confirmed-off', undefined, undefined), { is: 'wait' })
})

test('a second that is not in step by the record may be so all the same: it gives up for certain first', () => {
  const syncing = { ...running, protection: { ...protection, phase: 'syncing' as const } }
  const plan = (second: 'connected' | 'unreachable' | 'confirmed-off') =>
    planFencingOf(syncing, 'confirmed-off', second, sees('second'))
  assert.deepEqual(plan('connected'), { is: 'discard-and-claim', second: h2, n: 2 })
  assert.deepEqual(plan('unreachable'), { is: 'wait' })
  assert.deepEqual(plan('confirmed-off'), { is: 'claim' })
})

test('while the second may go on by itself, nothing is done', () => {
  for (const process of ['second', 'running', 'paused', 'failed'] as const) {
    assert.deepEqual(planFencingOf(pair, 'confirmed-off', 'connected', sees(process)), { is: 'wait' })
  }
  assert.deepEqual(planFencingOf(pair, 'confirmed-off', 'unreachable', undefined), { is: 'wait' })
  assert.deepEqual(planFencingOf(pair, 'confirmed-off', 'connected', undefined), { is: 'wait' }, 'no word yet')
  assert.deepEqual(planFencingOf(pair, 'connected', 'confirmed-off', undefined), { is: 'wait' }, 'the primary goes on')
})

test('the arbiter is asked when both are off, or the second has nothing and gives up first', () => {
  assert.deepEqual(planFencingOf(pair, 'confirmed-off', 'confirmed-off', undefined), { is: 'claim' })
  const first = { is: 'discard-and-claim', second: h2, n: 2 }
  assert.deepEqual(planFencingOf(pair, 'confirmed-off', 'connected', sees('none')), first)
  assert.deepEqual(planFencingOf(pair, 'confirmed-off', 'connected', null), first)
})

test('only won and lost settle whose copy it is', () => {
  assert.deepEqual(settledBy({ is: 'won' }, false), { is: 'primary' })
  assert.deepEqual(settledBy({ is: 'lost' }, true), { is: 'second' })
  const next = { vm: running.vm, n: 3, primary: h1, second: h2, arbiter: h3 }
  for (const answer of [{ is: 'unknown' }, { is: 'superseded', next }] as const) {
    assert.equal(settledBy(answer, false).is, 'unknown')
  }
  // Nobody ever opened what neither the record nor the second says to have begun.
  assert.deepEqual(settledBy({ is: 'unknown' }, true), { is: 'primary' })
})
