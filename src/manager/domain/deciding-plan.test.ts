import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import type { ArbiterId } from '../../contracts/protection.ts'
import { aRun } from './cluster-fixture.ts'
import type { HostState, HostView } from './cluster-view.ts'
import { arbiterSilenceMs, planNewArbiter, steadyArbiterMs, type Pair } from './deciding-plan.ts'

const [h1, h2, h3, h4] = ['host-1', 'host-2', 'host-3', 'host-4'] as [HostId, HostId, HostId, HostId]
const vm = 'vm-1' as VmId

interface World {
  readonly arbiter?: ArbiterId
  readonly phase?: 'syncing' | 'protected'
  readonly states?: Partial<Record<string, HostState>>
  readonly maintenance?: Partial<Record<string, HostView['maintenance']>>
  readonly gone?: HostId
  readonly heldMs?: number
}

function planned(world: World = {}, pair: Partial<Pair> = {}) {
  const { arbiter = h3, phase = 'protected', states = {}, maintenance = {}, heldMs = 0 } = world
  const run = aRun({ phase: 'running', host: h1, cause: null, protection: { n: 4, second: h2, arbiter, phase } })
  const hosts = [h1, h2, h3, h4]
    .filter((id) => id !== world.gone)
    .map((id) => ({ id, name: id, state: states[id] ?? 'connected', maintenance: maintenance[id] ?? 'off' }))
  const sight = { hosts, vms: [{ run }], heldMs: () => heldMs }
  const plan = planNewArbiter(sight, { vm, run, former: [], isForgotten: false, misses: 0, ...pair })
  return plan === undefined ? undefined : [plan.arbiter, plan.old]
}

test('who decides stays while its host answers, whatever other hosts there are', () => {
  assert.equal(planned(), undefined)
  assert.equal(planned({ states: { [h4]: 'unreachable' }, heldMs: 10 * arbiterSilenceMs }), undefined)
})

test('a host that is off for certain, or no host any more, is not asked', () => {
  assert.deepEqual(planned({ states: { [h3]: 'confirmed-off' } }), [h4, 'gone'])
  assert.deepEqual(planned({ gone: h3 }), [h4, 'gone'])
})

test('a host that is out of reach is waited for, then asked by its pair, then taken for gone', () => {
  const states = { [h3]: 'unreachable' } as const
  assert.equal(planned({ states, heldMs: arbiterSilenceMs - 1 }), undefined)
  assert.deepEqual(planned({ states, heldMs: arbiterSilenceMs }), [h4, 'asked'])
  assert.deepEqual(planned({ states, heldMs: arbiterSilenceMs }, { misses: 1 }), [h4, 'gone'])
})

test('a host in maintenance is asked to step back', () => {
  assert.deepEqual(planned({ maintenance: { [h3]: 'entering' } }), [h4, 'asked'])
  assert.deepEqual(planned({ maintenance: { [h3]: 'on' } }, { misses: 2 }), [h4, 'gone'])
})

test('one that has lost its memory of the pair is gone, though it answers', () => {
  assert.deepEqual(planned({}, { isForgotten: true }), [h4, 'gone'])
})

test('without a third host the managers decide, and leave it to one again once that has been there for long', () => {
  const states = { [h3]: 'confirmed-off', [h4]: 'unreachable' } as const
  assert.deepEqual(planned({ states }), ['managers', 'gone'])
  assert.deepEqual(planned({ states: { [h3]: 'confirmed-off' } }, { former: [h4] }), ['managers', 'gone'])
  assert.equal(planned({ arbiter: 'managers', states, heldMs: steadyArbiterMs }), undefined)
  assert.equal(planned({ arbiter: 'managers', heldMs: steadyArbiterMs - 1 }), undefined)
  assert.deepEqual(planned({ arbiter: 'managers', heldMs: steadyArbiterMs }), [h3, 'asked'])
})

test('nothing is done while the primary does not answer, or is only being brought in step with its second', () => {
  const states = { [h3]: 'confirmed-off' } as const
  assert.equal(planned({ states: { ...states, [h1]: 'unreachable' } }), undefined)
  assert.equal(planned({ states, phase: 'syncing' }), undefined)
})
