/**
 * Deletes what moves of disks, ended second copies and primaries that were taken over have left behind where it could not be
 * reached then, once a host reaches it again.
 */
import type { DatastoreId, HostId, VmId } from '../../base/ids.ts'
import { toHoldfastError } from '../../base/errors.ts'
import type { Host } from '../../contracts/inventory.ts'
import { cleanCopiesOperation } from '../sagas/vm-operations.ts'
import type { DiskRecord, FormerCopy, RunRecordStored, VmRecord } from '../store/records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

/** What can be cleaned up now. */
export interface Reach {
  readonly datastores: ReadonlySet<DatastoreId>
  /** Of each host of the inventory. */
  readonly hosts: ReadonlyMap<HostId, Host['state']>
}

/**
 * VMs that are free, at rest or running, and have a copy to be deleted on a datastore that is in reach, or a former second
 * or primary on a host that can be asked, or that is off for certain. Pure.
 */
export function planCleaning(
  disks: readonly DiskRecord[],
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  reach: Reach,
): VmId[] {
  const inReach = reach.datastores
  const wanting = new Set(
    disks.filter((disk) => (disk.alsoAt ?? []).some((at) => inReach.has(at))).map((disk) => disk.vm),
  )
  const placeOf = new Map(disks.map((disk) => [disk.id, disk.datastore]))
  const isDue = ({ host, disks: images }: FormerCopy): boolean => {
    const state = reach.hosts.get(host) ?? 'confirmed-off'
    const places = images.map((disk) => placeOf.get(disk))
    const isReached = places.every((place) => place === undefined || inReach.has(place))
    return isReached && (state === 'connected' || state === 'confirmed-off')
  }
  for (const vm of vms) if ((vm.protection?.former ?? []).some(isDue)) wanting.add(vm.id)
  if (wanting.size === 0) return []
  const settled = new Set(
    runs.filter(({ run }) => run.phase === 'running' || run.phase === 'stopped').map(({ id }) => id),
  )
  return vms.filter((vm) => wanting.has(vm.id) && settled.has(vm.id) && vm.operation === null).map((vm) => vm.id)
}

export class StaleCopies implements Reconciler {
  readonly name = 'stale-copies'
  readonly everyMs = 3000
  readonly #deps: ReconcilerDeps
  /** Another former copy is another thing to do: whoever waits for a host to be rid of it does not wait for the last one. */
  readonly #cleaning: RepeatLimit<string>

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
    const datastores = new Set(usable.map(({ datastore }) => datastore))
    const reach = { datastores, hosts: new Map(inventory.list('host').map((host) => [host.id, hosts.stateOf(host)])) }
    for (const vm of planCleaning(inventory.list('disk'), inventory.list('vm'), inventory.list('run'), reach)) {
      const former = inventory.list('vm').find(({ id }) => id === vm)?.protection?.former ?? []
      const copies = former.map(({ n, host }) => `${n}/${host}`).join(' ')
      if (this.#cleaning.take(`${vm} ${copies}`)) await this.#clean(vm)
    }
  }

  async #clean(vm: VmId): Promise<void> {
    try {
      await this.#deps.begin('reconciler/stale-copies', () => cleanCopiesOperation(this.#deps, vm))
    } catch (thrown) {
      const { code } = toHoldfastError(thrown)
      if (code !== 'operation-in-progress' && code !== 'not-found') throw thrown
    }
  }
}
