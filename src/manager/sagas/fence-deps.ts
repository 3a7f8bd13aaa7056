/** What fencing needs of the rest of the manager, beyond what every saga has. */
import type { HostId } from '../../base/ids.ts'
import type { FencingSettings } from '../../contracts/fence.ts'
import { withUsual, type ReportMark } from '../domain/fence-plan.ts'
import type { FenceDeviceRecord, Records } from '../store/records.ts'
import type { SagaDeps } from './deps.ts'

export interface FenceOrder {
  readonly host: HostId
  readonly device: FenceDeviceRecord
  readonly timeoutMs: number
  /** Aborting ends the agent; what it did by then is done. */
  readonly signal?: AbortSignal | undefined
}

/** The devices, as programs that managers run. Every failure is thrown, and none says a secret. */
export interface FencePort {
  /** Resolves when the device says that it has done so, which need not be true. */
  switch(order: FenceOrder, to: 'on' | 'off'): Promise<void>
  status(order: FenceOrder): Promise<'on' | 'off'>
}

export interface FenceDeps extends SagaDeps {
  readonly fence: FencePort
  /** From now on the host counts as out of reach, unless it has reported since the mark. */
  markOff(host: HostId, mark: ReportMark): void
  /** Where VMs run, as of a moment ago. */
  runs(): readonly Records['run'][]
  /** Makes a reconciler look now instead of at its next turn. */
  lookNow(reconciler: string): void
}

export async function fencingSettings({ store }: Pick<SagaDeps, 'store'>): Promise<FencingSettings> {
  return withUsual((await store.list('cluster')).items[0]?.value.fencing)
}
