import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { HostId, VmId } from '../../base/ids.ts'
import { pumpPhases } from '../../contracts/protection.ts'
import { mayRun, runPhases, type RunRecord } from '../../contracts/run-record.ts'
import type { MachineState } from '../../hypervisor/hypervisor.ts'
import { decide, type VmAction, type VmView } from './decide.ts'
import { newVmState, vmRoles } from './vm-state.ts'

const vm = 'vm-1' as VmId
const me = 'host-1' as HostId
const other = 'host-2' as HostId
const machineStates: MachineState[] = [
  ...(['prelaunch', 'running', 'paused', 'incoming', 'incoming-complete', 'incoming-failed'] as const),
  ...(['outgoing', 'sent', 'shutdown', 'failed', 'gone'] as const),
]

const hosts = fc.constantFrom(me, other)
const records: fc.Arbitrary<RunRecord> = fc
  .record({
    phase: fc.constantFrom(...runPhases),
    host: hosts,
    target: hosts,
    postCopy: fc.boolean(),
    generation: fc.integer({ min: 1, max: 9 }),
  })
  .filter(({ phase, host, target }) => phase !== 'moving' || host !== target)
  .map((parts) => ({
    ...{ vm, task: null, cause: null, incarnation: 1, since: '2026-01-01T00:00:00Z' },
    ...{ ...parts, target: parts.phase === 'moving' ? parts.target : null },
  }))

const views: fc.Arbitrary<VmView> = fc
  .record({
    record: records,
    machine: fc.constantFrom(...machineStates),
    role: fc.constantFrom(...vmRoles),
    moveGeneration: fc.option(fc.integer({ min: 1, max: 9 })),
    witnessed: fc.boolean(),
    isDriven: fc.boolean(),
    pumpPhase: fc.constantFrom(undefined, ...pumpPhases),
  })
  .map(({ role, moveGeneration, ...rest }) => ({ ...rest, me, state: { ...newVmState(vm), role, moveGeneration } }))

function always(holds: (action: VmAction, view: VmView) => boolean): void {
  fc.assert(
    fc.property(views, (view) => holds(decide(view), view)),
    { numRuns: 3000, seed: 7 },
  )
}

describe('what an agent does about a VM', () => {
  test('vCPUs are let go only where the record permits this host', () => {
    always((action, { record }) => action.do !== 'resume' || mayRun(record, me))
  })

  test('a copy that runs without permission is never left running', () => {
    always((action, { record, machine }) => {
      const isForeign = record.phase === 'stopped' || (record.phase === 'running' && record.host !== me)
      return machine !== 'running' || !isForeign || action.do === 'forbid'
    })
  })

  test('a copy that runs by right is neither ended nor given up', () => {
    always((action, { record, machine }) => {
      const mayEnd = ['quit', 'forbid', 'discard', 'clear', 'end'].includes(action.do)
      return machine !== 'running' || !mayRun(record, me) || !mayEnd
    })
  })

  test('what stands still after sending goes on only by a record newer than its move', () => {
    always((action, { record, machine, state }) => {
      if (machine !== 'sent' || action.do !== 'resume') return true
      return record.phase === 'running' && record.host === me && record.generation > (state.moveGeneration ?? 0)
    })
  })

  test('where nothing is left, an arrival is told only of the move that brought the guest here', () => {
    always((action, { record, machine, state }) => {
      if (machine !== 'gone' || action.do !== 'transition' || action.event !== 'arrived') return true
      return state.role === 'running' && (state.moveGeneration ?? 0) >= record.generation - (record.postCopy ? 1 : 0)
    })
  })

  test('an incoming side that ended unseen is not called discarded while it is the target', () => {
    always((action, { record, machine, state, witnessed }) => {
      const isTarget = record.phase === 'moving' && record.target === me
      return !(machine === 'gone' && state.role === 'incoming' && isTarget && !witnessed) || action.do !== 'discard'
    })
  })
})
