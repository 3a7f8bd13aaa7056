/** Reading and changing the records of one VM, for the sagas that hold it. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { HostRecord, VmRecord } from '../store/records.ts'
import type { Change, Commit, Stored } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'

type StoreOf = Pick<SagaDeps, 'store'>

/** Throws `not-found`. */
export async function needVm({ store }: StoreOf, vm: VmId): Promise<Stored<VmRecord>> {
  const stored = await store.get('vm', vm)
  if (stored === undefined) throw new HoldfastError('not-found', `There is no VM ${vm}`)
  return stored
}

/** Throws `not-found`. */
export async function needRun({ store }: StoreOf, vm: VmId): Promise<RunRecord> {
  const stored = await store.get('run', vm)
  if (stored === undefined) throw new HoldfastError('not-found', `There is no VM ${vm}`)
  return stored.value.run
}

/** Throws `not-found`. */
export async function needHost({ store }: StoreOf, host: HostId): Promise<HostRecord> {
  const stored = await store.get('host', host)
  if (stored === undefined) throw new HoldfastError('not-found', `There is no host ${host}`)
  return stored.value
}

const maxRaces = 20

/**
 * Commits what `decide` makes of the records as they are; again when another writer was faster. Undefined from it, or
 * no changes, writes nothing. Throws `conflict` after many lost races.
 */
export async function commitChanges(
  { store }: StoreOf,
  decide: () => Promise<readonly Change[] | Commit | undefined>,
): Promise<void> {
  for (let race = 0; race < maxRaces; race++) {
    const decided = await decide()
    if (decided === undefined) return
    const commit = 'changes' in decided ? decided : { changes: decided, events: [] }
    if (commit.changes.length === 0 || (await store.commit(commit)).ok) return
  }
  throw new HoldfastError('conflict', 'Others kept changing the same records', { mend: 'Try again in a moment.' })
}

/** Changes the VM's record if it still exists. */
export async function changeVm(deps: StoreOf, vm: VmId, change: (before: VmRecord) => VmRecord): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('vm', vm)
    if (stored === undefined) return undefined
    const value = change(stored.value)
    return value === stored.value ? undefined : [{ do: 'update', kind: 'vm', value, expected: stored.revision }]
  })
}

/** Puts the intent back that an operation which failed had changed, unless the world has come to agree with the new one. */
export async function restorePower(deps: StoreOf, vm: VmId, before: 'on' | 'off'): Promise<void> {
  const stored = await deps.store.get('run', vm)
  if (stored === undefined) return
  const isStopped = stored.value.run.phase === 'stopped'
  if ((before === 'off' && !isStopped) || (before === 'on' && isStopped)) return
  await changeVm(deps, vm, (record) => (record.power === before ? record : { ...record, power: before }))
}
