/** Deletes what moves of disks have left behind where it could not be reached then, once a host reaches it again. */
import type { DatastoreId, VmId } from '../../base/ids.ts'
import { toHoldfastError } from '../../base/errors.ts'
import { cleanCopiesOperation } from '../sagas/vm-operations.ts'
import type { DiskRecord, RunRecordStored, VmRecord } from '../store/records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

/** VMs that are free, at rest or running, and have a copy to be deleted on a datastore that is in reach. Pure. */
export function planCleaning(
  disks: readonly DiskRecord[],
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  inReach: ReadonlySet<DatastoreId>,
): VmId[] {
  const wanting = new Set(
    disks.filter((disk) => (disk.alsoAt ?? []).some((at) => inReach.has(at))).map((disk) => disk.vm),
  )
  if (wanting.size === 0) return []
  const settled = new Set(
    runs.filter(({ run }) => run.phase === 'running' || run.phase === 'stopped').map(({ id }) => id),
  )
  return vms.filter((vm) => wanting.has(vm.id) && settled.has(vm.id) && vm.operation === null).map((vm) => vm.id)
}

export class StaleCopies implements Reconciler {
  readonly name = 'stale-copies'
  readonly everyMs = 10_000
  readonly #deps: ReconcilerDeps
  readonly #cleaning: RepeatLimit<VmId>

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
    this.#cleaning = new RepeatLimit(deps.clock, 60_000)
  }

  async look(): Promise<void> {
    const { inventory, hosts } = this.#deps
    const usable = inventory
      .list('host')
      .filter((host) => hosts.stateOf(host) === 'connected')
      .flatMap((host) => hosts.report(host.id)?.datastores ?? [])
      .filter((datastore) => datastore.isUsable)
    const inReach = new Set(usable.map(({ datastore }) => datastore))
    for (const vm of planCleaning(inventory.list('disk'), inventory.list('vm'), inventory.list('run'), inReach)) {
      if (this.#cleaning.take(vm)) await this.#clean(vm)
    }
  }

  async #clean(vm: VmId): Promise<void> {
    try {
      await this.#deps.begin('reconciler stale-copies', () => cleanCopiesOperation(this.#deps, vm))
    } catch (thrown) {
      const { code } = toHoldfastError(thrown)
      if (code !== 'operation-in-progress' && code !== 'not-found') throw thrown
    }
  }
}
