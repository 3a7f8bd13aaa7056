import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { HostId, VmId } from '../../base/ids.ts'
import { pumpPhases, type ProtectionConfig, type PumpPhase } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { MachineState } from '../../hypervisor/hypervisor.ts'
import { decide, type VmAction } from './decide.ts'
import { newVmState, type HeldProtection, type VmRole } from './vm-state.ts'

const vm = 'vm-1' as VmId
const me = 'host-1' as HostId
const other = 'host-2' as HostId
const third = 'host-3' as HostId
const n = 4

interface Seen {
  readonly record: RunRecord
  readonly machine: MachineState
  readonly held: HeldProtection | null
  readonly pumpPhase?: PumpPhase
  readonly role?: VmRole
  readonly givenUp?: number
}

function decided({ record, machine, held, pumpPhase, role = 'running', givenUp = 0 }: Seen): VmAction {
  const state = { ...newVmState(vm), role, protection: held, givenUp }
  return decide({ me, record, state, machine, witnessed: false, isDriven: false, pumpPhase })
}

function doneIn(seen: Seen): string {
  const action = decided(seen)
  return action.do === 'transition' ? `transition ${action.event}` : action.do
}

function running(host: HostId, protection: RunRecord['protection'] = null): RunRecord {
  const none = { target: null, postCopy: false, task: null, cause: null }
  const rest = { incarnation: 1, generation: 7, since: '2026-01-01T00:00:00Z' }
  return { vm, phase: 'running', host, ...none, protection, ...rest }
}

const protectedBy = (second: HostId, phase: 'syncing' | 'protected' = 'protected', number = n) => ({
  ...{ n: number, second, arbiter: third, phase },
})
const stopped: RunRecord = { ...running(me), phase: 'stopped', cause: 'host-lost' }
const config: ProtectionConfig = { vm, n, primary: me, second: other, arbiter: third }
const primary: HeldProtection = { side: 'primary', n, config, endpoint: null, outcome: null }
const second: HeldProtection = { ...primary, side: 'second', config: { ...config, primary: other, second: me } }
const mine = running(me, protectedBy(other))
const theirs = running(other, protectedBy(me))

describe('the primary of a pair', () => {
  test('tells of another arbiter once the record says that the pair protects', () => {
    const state = { ...newVmState(vm), role: 'running' as const, protection: primary }
    const decides = { n: 6, arbiter: third }
    const seen = { me, state, machine: 'running' as const, witnessed: false, isDriven: false, pumpPhase: undefined }
    assert.deepEqual(decide({ ...seen, record: mine, decides }), { do: 'tell-arbiter', decides })
    const syncing = running(me, protectedBy(other, 'syncing'))
    const protecting = { ...seen, pumpPhase: 'protecting' as const }
    assert.deepEqual(decide({ ...protecting, record: syncing, decides }), {
      ...{ do: 'transition', event: 'protected', cause: null },
    })
    assert.deepEqual(decide({ ...seen, record: running(me, protectedBy(other, 'protected', n + 5)), decides }), {
      do: 'nothing',
    })
  })

  test('whose QEMU is gone tells nothing while its pump has not come to an end', () => {
    for (const pumpPhase of [undefined, ...pumpPhases]) {
      const seen = { record: mine, machine: 'gone' as const, held: primary }
      assert.equal(doneIn(pumpPhase === undefined ? seen : { ...seen, pumpPhase }), 'nothing')
    }
  })

  test('is not forbidden, and its streams are not taken for a migration, whatever the record says', () => {
    for (const machine of ['running', 'paused', 'outgoing', 'sent'] as const)
      for (const record of [mine, running(other), running(other, protectedBy(me)), stopped])
        assert.equal(doneIn({ record, machine, held: primary }), 'nothing')
  })

  test('says that it is protected once its pump protects', () => {
    const record = running(me, protectedBy(other, 'syncing'))
    assert.equal(doneIn({ record, machine: 'running', held: primary, pumpPhase: 'syncing' }), 'nothing')
    assert.equal(doneIn({ record, machine: 'paused', held: primary, pumpPhase: 'protecting' }), 'transition protected')
    assert.equal(doneIn({ record: mine, machine: 'running', held: primary, pumpPhase: 'protecting' }), 'nothing')
  })

  test('whose guest shut down ends the protection first; one that failed leaves it to the pair', () => {
    assert.equal(doneIn({ record: mine, machine: 'shutdown', held: primary }), 'end-protection')
    assert.equal(doneIn({ record: mine, machine: 'failed', held: primary }), 'quit-held')
  })

  test('that has won says so, also when its QEMU is gone, and only then is it as any other', () => {
    const held: HeldProtection = { ...primary, outcome: 'alone' }
    for (const machine of ['running', 'shutdown', 'gone'] as const) {
      assert.equal(doneIn({ record: mine, machine, held }), 'transition alone')
      assert.equal(doneIn({ record: running(me), machine, held }), 'forget-protection')
    }
    assert.deepEqual(decided({ record: running(me), machine: 'gone', held: null }), {
      ...{ do: 'transition', event: 'stopped', cause: 'crashed' },
    })
  })

  test('that has lost is ended', () => {
    assert.equal(doneIn({ record: mine, machine: 'running', held: { ...primary, outcome: 'lost' } }), 'give-up')
  })

  test('that has lost waits for the second to say so', () => {
    assert.equal(doneIn({ record: mine, machine: 'gone', held: null, role: 'none', givenUp: n }), 'nothing')
  })

  test('whose pair never began says so before it tells of its end', () => {
    const seen = { record: mine, held: null, givenUp: n - 1 }
    assert.equal(doneIn({ ...seen, machine: 'running' }), 'nothing')
    for (const machine of ['gone', 'shutdown', 'failed'] as const)
      assert.equal(doneIn({ ...seen, machine }), 'transition alone')
  })

  test('is adopted when a restored store does not know it', () => {
    const record: RunRecord = { ...mine, phase: 'unknown' }
    assert.equal(doneIn({ record, machine: 'running', held: primary }), 'transition adopted')
    assert.equal(doneIn({ record, machine: 'gone', held: primary }), 'nothing')
  })
})

describe('the second of a pair', () => {
  const waiting = { held: second, role: 'second' as const }

  test('waits, whatever its QEMU does, while its pump has not come to an end', () => {
    for (const machine of ['incoming', 'incoming-complete', 'incoming-failed', 'running', 'paused', 'gone'] as const)
      for (const pumpPhase of ['candidate', 'following', 'claiming', 'running'] as const)
        assert.equal(doneIn({ ...waiting, record: theirs, machine, pumpPhase }), 'nothing')
  })

  test('is dropped when the record names it no more and it was never bound', () => {
    for (const record of [
      running(other),
      running(other, protectedBy(third)),
      running(other, protectedBy(me, 'syncing', 5)),
    ])
      assert.equal(doneIn({ ...waiting, record, machine: 'incoming', pumpPhase: 'candidate' }), 'drop-second')
  })

  test('that is bound is dropped by the pair alone', () => {
    for (const pumpPhase of ['following', 'claiming', 'running', undefined] as const) {
      const seen = { ...waiting, record: running(other), machine: 'incoming' as const }
      assert.equal(doneIn(pumpPhase === undefined ? seen : { ...seen, pumpPhase }), 'nothing')
    }
  })

  test('that has won says so, and is never forbidden', () => {
    const held: HeldProtection = { ...second, outcome: 'running' }
    assert.equal(doneIn({ record: theirs, machine: 'running', held }), 'transition took-over')
    assert.equal(doneIn({ record: running(me), machine: 'running', held }), 'forget-protection')
    for (const record of [running(other), stopped, running(other, protectedBy(third, 'protected', 5))])
      assert.equal(doneIn({ record, machine: 'running', held }), 'nothing')
  })

  test('that has won and ended says so before it tells of its end', () => {
    const held: HeldProtection = { ...second, outcome: 'running' }
    for (const machine of ['gone', 'shutdown', 'failed'] as const)
      assert.equal(doneIn({ record: theirs, machine, held }), 'transition took-over')
  })

  test('that was dropped is ended', () => {
    const held: HeldProtection = { ...second, outcome: 'dropped' }
    assert.equal(doneIn({ ...waiting, record: theirs, machine: 'incoming', held }), 'give-up')
  })
})
