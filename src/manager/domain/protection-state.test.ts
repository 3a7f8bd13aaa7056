import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId } from '../../base/ids.ts'
import type { ProtectionObservation, RunProtection } from '../../contracts/protection.ts'
import { aRun } from './cluster-fixture.ts'
import { protectionState, type ProtectionSight } from './protection-state.ts'

const [h1, h2, h3] = ['host-1', 'host-2', 'host-3'] as [HostId, HostId, HostId]
const protection: RunProtection = { n: 4, second: h2, arbiter: h3, phase: 'protected' }
const running = aRun({ phase: 'running', host: h1, cause: null })
const seen: ProtectionObservation = {
  ...{ side: 'primary', n: 4, phase: 'protecting', epoch: 90, lagMs: 25, pauseMs: 3, epochMs: 22 },
  ...{ bytesPerSecond: 1000, heldBack: 0, progress: 1, problem: null },
}
const sight = (change: Partial<ProtectionSight>): ProtectionSight => ({
  ...{ isWanted: true, reason: null, run: { ...running, protection }, host: 'connected', second: 'north' },
  ...{ arbiter: 'west', secondState: 'connected', arbiterState: 'connected' },
  ...{ primarySees: null, secondSees: null, ...change },
})

test('a VM that nobody wants protected is unprotected; one that is wanted so says why it is not', () => {
  assert.deepEqual(protectionState(sight({ isWanted: false, run: running })), { state: 'unprotected' })
  const because = (change: Partial<ProtectionSight>) => {
    const shown = protectionState(sight(change))
    return shown.state === 'unprotected-because' ? shown.reason : shown.state
  }
  assert.equal(because({ run: running, reason: 'north has too little memory' }), 'north has too little memory')
  assert.match(because({ run: running }), /about to be made/)
  assert.equal(because({ run: aRun() }), 'it is off')
})

test('while it is brought in step the progress is shown, and figures of another pair are not', () => {
  const run = { ...running, protection: { ...protection, phase: 'syncing' as const } }
  const pair = { second: 'north', arbiter: 'west', n: 4 }
  const syncing = { ...seen, phase: 'syncing' as const, progress: 0.4 }
  assert.deepEqual(protectionState(sight({ run, primarySees: syncing })), {
    ...{ state: 'syncing', ...pair, progress: 0.4, bytesPerSecond: 1000 },
  })
  const old = protectionState(sight({ run, primarySees: { ...syncing, n: 3 } }))
  assert.deepEqual(old, { state: 'syncing', ...pair, progress: 0, bytesPerSecond: 0 })
})

test('a protected VM shows the figures of its primary, or of its second while that alone answers', () => {
  const figures = {
    ...{ lagMs: 25, epoch: 90, epochMs: 22, pauseMs: 3, bytesPerSecond: 1000, heldBack: 0, clock: null },
    problem: null,
  }
  const pair = { state: 'protected', second: 'north', arbiter: 'west', n: 4 }
  assert.deepEqual(protectionState(sight({ primarySees: seen })), { ...pair, ...figures })
  const second = { ...seen, side: 'second' as const, phase: 'following' as const }
  const shown = protectionState(sight({ host: 'unreachable', secondSees: second }))
  assert.deepEqual(shown, { ...pair, ...figures, problem: 'its host is out of reach' })
})

test('it fails over while the second goes on and the primary does not answer', () => {
  const second = { ...seen, side: 'second' as const, phase: 'claiming' as const }
  assert.equal(protectionState(sight({ host: 'unreachable', secondSees: second })).state, 'failing-over')
  assert.equal(protectionState(sight({ host: 'connected', secondSees: second })).state, 'protected')
})

test('where nobody could go on, or nobody can say who has, it is said what is to be done', () => {
  const problem = (change: Partial<ProtectionSight>) => {
    const shown = protectionState(sight(change))
    return shown.state === 'protected' ? shown.problem : shown.state
  }
  assert.equal(problem({}), null)
  assert.equal(problem({ arbiterState: null }), null, 'the managers decide')
  assert.match(
    problem({ arbiterState: 'unreachable' }) ?? '',
    /^west, which decides, is out of reach: nobody could go on/,
  )
  assert.equal(problem({ host: 'confirmed-off' }), 'its host is confirmed off')
  const both = problem({ host: 'confirmed-off', secondState: 'confirmed-off' })
  assert.match(both ?? '', /confirmed off, and so is north, which may have gone on with it: bring north back/)
})

test('a number that another arbiter has brought is of the same pair', () => {
  const shown = protectionState(sight({ primarySees: { ...seen, n: 6 } }))
  assert.ok(shown.state === 'protected' && shown.lagMs === 25)
})

test('a clock that is too far behind is its problem, while nothing worse is', () => {
  const problem = (isBeyondLimit: boolean, isMeasured: boolean): string | null => {
    const shown = protectionState(
      sight({ primarySees: { ...seen, clock: { lagMs: 1240, isMeasured, isBeyondLimit } } }),
    )
    return shown.state === 'protected' ? shown.problem : shown.state
  }
  assert.equal(problem(false, true), null)
  assert.equal(problem(true, true), 'its clock is 1.2 s behind')
  assert.equal(problem(true, false), 'its clock is 1.2 s behind, unless something in it has set it right')
})
