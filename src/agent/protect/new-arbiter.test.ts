import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import type { ProtectionConfig } from '../../contracts/protection.ts'
import { mayBegin, type NewArbiter } from './new-arbiter.ts'
import { newPrimary, stepPrimary, type PrimaryInput, type PrimaryState } from './primary-side.ts'

const limits = { silenceMs: 300, askAgainMs: 150 }
const at = { urls: ['https://h3'], tlsName: 'host-3.holdfast' }
const config: ProtectionConfig = {
  ...{ vm: 'vm-1' as VmId, n: 1, primary: 'host-1' as HostId, second: 'host-2' as HostId },
  ...{ arbiter: 'host-3' as HostId, at },
}
const change = (n: number, arbiter: string, old: 'asked' | 'gone'): NewArbiter => ({
  ...{ is: 'new-arbiter', next: { n, arbiter: arbiter as HostId }, life: 'life', old },
})

/** The state after these inputs, ten milliseconds apart, with a second that lives; and what was done in order. */
function told(...inputs: PrimaryInput[]): { state: PrimaryState; acts: string[] } {
  let state = newPrimary(config, 0, 0)
  const acts: string[] = []
  for (const [i, input] of inputs.entries()) {
    for (const each of [{ is: 'beat', n: state.config.n } as const, input]) {
      const step = stepPrimary(state, each, 10 * i, limits)
      state = step.state
      for (const act of step.acts) acts.push('config' in act ? `${act.do} ${act.config.n}` : act.do)
    }
  }
  return { state, acts }
}

describe('another arbiter, while the old one answers', () => {
  const superseded = (n: number, to: number, arbiter: string): PrimaryInput => ({
    ...{ is: 'answer', n },
    answer: { is: 'superseded', next: { ...config, n: to, arbiter: arbiter as HostId } },
  })

  test('opens, is put in the place of the old one, and counts here before the second hears of it', () => {
    const { state, acts } = told(
      ...[change(2, 'host-4', 'asked'), { is: 'opened', n: 2 } as const],
      ...[superseded(1, 2, 'host-4'), { is: 'configured', n: 2 } as const],
    )
    assert.deepEqual(acts, ['save 1', 'open 2', 'supersede 1', 'save 2', 'configure'])
    assert.deepEqual([state.config.n, state.config.arbiter, state.change], [2, 'host-4', null])
  })

  test('is never the one that decides already: its register keeps the newest configuration alone', () => {
    const { state, acts } = told(change(2, 'host-3', 'asked'))
    assert.deepEqual([state.change, state.lastN, acts], [null, 1, []])
    assert.equal(told(change(2, 'host-3', 'gone')).state.change?.stage, 'promising')
  })

  test('is not given up once the old one was told, and another change waits for it', () => {
    const ticks = Array.from({ length: 200 }, () => ({ is: 'tick' }) as const)
    const { state } = told(change(2, 'host-4', 'asked'), { is: 'opened', n: 2 }, ...ticks)
    assert.equal(state.change?.stage, 'closing')
    assert.equal(mayBegin(state, change(3, 'host-5', 'asked')), false)
    assert.equal(mayBegin(state, change(3, 'host-5', 'gone')), true)
  })

  test('that does not open is given up, and its number is used up', () => {
    const ticks = Array.from({ length: 200 }, () => ({ is: 'tick' }) as const)
    const { state } = told(change(2, 'host-4', 'asked'), ...ticks)
    assert.deepEqual([state.change, state.config.n, state.lastN], [null, 1, 2])
    assert.equal(mayBegin(state, change(2, 'host-4', 'asked')), false)
  })

  test('that steps back late does not undo what the second was promised since', () => {
    const { state } = told(
      ...[change(2, 'host-4', 'asked'), { is: 'opened', n: 2 } as const, change(3, 'host-5', 'gone')],
      superseded(1, 2, 'host-4'),
    )
    assert.deepEqual([state.config.n, state.change?.stage, state.change?.next.n], [1, 'promising', 3])
  })
})

describe('another arbiter, with the old one gone', () => {
  test('opens only when both sides have left the old one, durably', () => {
    const { state, acts } = told(change(2, 'host-4', 'gone'), { is: 'configured', n: 2 })
    assert.deepEqual(acts, ['save 1', 'configure', 'save 2', 'open 2'])
    assert.deepEqual([state.config.n, state.change?.stage], [2, 'opening-adopted'])
  })

  test('that is lost itself before it has opened is followed by a third', () => {
    const { state, acts } = told(
      ...[change(2, 'host-4', 'gone'), { is: 'configured', n: 2 } as const, change(3, 'host-5', 'gone')],
      ...[{ is: 'configured', n: 3 } as const, { is: 'opened', n: 3 } as const],
    )
    assert.deepEqual(acts.slice(4), ['save 2', 'configure', 'save 3', 'open 3'])
    assert.deepEqual([state.config.n, state.config.arbiter, state.change], [3, 'host-5', null])
  })

  test('has an address of its own, and never that of the one before', () => {
    const place = { urls: ['https://h4'], tlsName: 'host-4.holdfast' }
    const named = change(2, 'host-4', 'gone')
    const { state } = told({ ...named, next: { ...named.next, at: place } }, { is: 'configured', n: 2 })
    assert.deepEqual(state.config.at, place)
    assert.equal(told(named, { is: 'configured', n: 2 }).state.config.at, undefined)
  })
})
