import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { TaskId } from '../../base/ids.ts'
import type { HostRecord, Records } from '../store/records.ts'
import type { Stored } from '../store/store.ts'
import { fenceCycleOperation } from './host-fence-cycle.ts'

test('a host is tried only while it is in maintenance and no VM is recorded on it, nor on its way', () => {
  const host = (maintenance: 'on' | 'off'): Stored<HostRecord> => {
    const value = { id: 'host-1', name: 'h1', maintenance, fence: { levels: [[{}]] } }
    return { value: value as never, revision: 1 }
  }
  const runs = (run: object): Records['run'][] => [{ run: { host: null, target: null, ...run } } as never]
  assert.doesNotThrow(() => fenceCycleOperation(host('on'), runs({ phase: 'stopped', host: 'host-1' })))
  assert.doesNotThrow(() => fenceCycleOperation(host('on'), runs({ phase: 'running', host: 'host-2' })))
  assert.throws(() => fenceCycleOperation(host('off'), []), /not in maintenance/)
  const renewed = host('on')
  const value = { ...renewed.value, renewal: { task: 'task-1' as TaskId, phase: 'renewing' as const } }
  assert.throws(() => fenceCycleOperation({ ...renewed, value }, []), /is being renewed \(task-1\)/)
  for (const on of [{ host: 'host-1' }, { host: 'host-2', target: 'host-1' }, { protection: { second: 'host-1' } }]) {
    assert.throws(() => fenceCycleOperation(host('on'), runs({ phase: 'running', ...on })), /still has VMs/)
  }
})
