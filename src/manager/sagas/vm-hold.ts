/** One operation per VM at a time: the VM's record names the task that holds it, taken and given back with the task. */
import type { TaskId, VmId } from '../../base/ids.ts'
import type { TaskRecord, VmRecord } from '../store/records.ts'
import type { Change, Revision, Store } from '../store/store.ts'
import type { Extra } from './task-log.ts'

export interface VmLock {
  readonly vm: VmId
  /** The revision of the VM's record that the decision was made on; 0 when `changes` create it. */
  readonly expectedRevision: Revision
}

/** Why a VM cannot be held: another task has it, or its record is no longer the one that was read. */
export type HoldRefusal = { readonly heldBy: TaskId } | { readonly actual: Revision }

/**
 * The changes, with the VM's record held by the task: in the change that the caller makes to it anyway, or in one of
 * its own. Refused when another task holds it.
 */
export async function holdVm(
  store: Store,
  lock: VmLock,
  task: TaskId,
  changes: readonly Change[],
): Promise<{ readonly changes: readonly Change[] } | HoldRefusal> {
  const stored = await store.get('vm', lock.vm)
  const heldBy = stored?.value.operation ?? null
  if (heldBy !== null) return { heldBy }
  if ((stored?.revision ?? 0) !== lock.expectedRevision) return { actual: stored?.revision ?? 0 }
  const isOfVm = (change: Change): boolean =>
    change.kind === 'vm' && (change.do === 'create' || change.do === 'update') && change.value.id === lock.vm
  if (changes.some(isOfVm)) return { changes: changes.map((change) => (isOfVm(change) ? held(change, task) : change)) }
  if (stored === undefined) return { actual: 0 }
  const value: VmRecord = { ...stored.value, operation: task }
  return { changes: [...changes, { do: 'update', kind: 'vm', value, expected: lock.expectedRevision }] }
}

function held(change: Change, task: TaskId): Change {
  if (change.kind !== 'vm' || (change.do !== 'create' && change.do !== 'update')) return change
  return { ...change, value: { ...change.value, operation: task } }
}

/** The change that releases the VM; none when it is gone, or another operation has pre-empted this one. */
export async function releaseVm(store: Store, record: TaskRecord): Promise<Extra> {
  const none = { changes: [], events: [] }
  if (record.holds === undefined || record.holds === null) return none
  const stored = await store.get('vm', record.holds)
  if (stored === undefined || stored.value.operation !== record.id) return none
  const value: VmRecord = { ...stored.value, operation: null }
  return { changes: [{ do: 'update', kind: 'vm', value, expected: stored.revision }], events: [] }
}
