/** VMs that a host left behind when its lease was over: who may start them. */
import type { HostId } from '../../base/ids.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { mayTake } from '../domain/host-promise.ts'
import type { Change, Store } from '../store/store.ts'

export interface Takers {
  /** Undefined: any host. */
  readonly only: readonly HostId[] | undefined
  /** What must still be as it was read, in the commit that rests on this. */
  readonly checks: readonly Change[]
}

/** Who may start a VM by its record as it is now. */
export async function takersOf(store: Pick<Store, 'get'>, run: RunRecord): Promise<Takers> {
  const { leftBy } = run
  if (leftBy == null) return { only: undefined, checks: [] }
  const host = await store.get('host', leftBy.host)
  const promise = await store.get('promise', leftBy.host)
  const only = mayTake(leftBy, host?.value, promise?.value)
  const checks: Change[] =
    promise === undefined ? [] : [{ do: 'check', kind: 'promise', id: leftBy.host, expected: promise.revision }]
  return { only, checks: only === undefined ? [] : checks }
}
