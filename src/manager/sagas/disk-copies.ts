/** Files of disks: making them disappear wherever they are, and forgetting a place only when its file is gone. */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, DiskId, HostId, ImageId, TaskId, VmId } from '../../base/ids.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import { hostsReaching, isMountedOn, type ClusterView } from '../domain/cluster-view.ts'
import type { DiskRecord } from '../store/records.ts'
import { isUnknown } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { commitChanges } from './vm-records.ts'

/**
 * The agent of a connected host that has the datastore in use. Undefined when no host of the inventory has it any more:
 * its files are gone with it. Throws `unreachable` when a host has it, and none can be asked now.
 */
export function agentReaching(deps: SagaDeps, cluster: ClusterView, datastore: DatastoreId): AgentApi | undefined {
  const host = hostsReaching(cluster, datastore)[0]
  if (host !== undefined) return deps.hosts.agent(host.id)
  const record = cluster.datastores.find((each) => each.id === datastore)
  if (record === undefined || !cluster.hosts.some((each) => isMountedOn(record, each.id))) return undefined
  throw new HoldfastError('unreachable', `No host that has the datastore ${record.name} in use answers`, {
    mend: 'Bring such a host back (holdfast host list), or mend the datastore.',
  })
}

/** Deletes a disk's file on a datastore, for this task; one that is not there is no error. */
export async function deleteDiskFile(
  deps: SagaDeps,
  disk: DiskId,
  datastore: DatastoreId,
  task: TaskId,
): Promise<void> {
  await agentReaching(deps, await deps.cluster(), datastore)?.deleteDisk(disk, datastore, task)
}

export async function deleteImageFile(deps: SagaDeps, image: ImageId, datastore: DatastoreId): Promise<void> {
  await agentReaching(deps, await deps.cluster(), datastore)?.deleteImage(image, datastore)
}

/** Every disk of a VM, UEFI's variables too. */
export async function disksOf(deps: Pick<SagaDeps, 'store'>, vm: VmId): Promise<DiskRecord[]> {
  const { items } = await deps.store.list('disk')
  return items.map(({ value }) => value).filter((disk) => disk.vm === vm)
}

/**
 * Deletes the copies that moves of this VM's disks have left, and forgets each once it is gone. The caller holds the VM,
 * so that none of them can become a target again meanwhile. Returns how many could not be reached.
 */
export async function deleteCopies(deps: SagaDeps, vm: VmId, task: TaskId): Promise<number> {
  let left = 0
  for (const disk of await disksOf(deps, vm)) {
    for (const place of disk.alsoAt ?? []) {
      try {
        if (place !== disk.datastore) await deleteDiskFile(deps, disk.id, place, task)
        await forgetCopy(deps, disk.id, place)
      } catch (thrown) {
        if (!isUnknown(thrown)) throw thrown
        left += 1
      }
    }
  }
  return left
}

async function forgetCopy(deps: SagaDeps, disk: DiskId, place: DatastoreId): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('disk', disk)
    if (stored === undefined) return undefined
    const alsoAt = (stored.value.alsoAt ?? []).filter((each) => each !== place)
    return [{ do: 'update', kind: 'disk', value: { ...stored.value, alsoAt }, expected: stored.revision }]
  })
}

/** A connected host that reaches all of these datastores. Throws `unreachable` when there is none now. */
export function hostForCopy(cluster: ClusterView, datastores: readonly DatastoreId[]): HostId {
  const [first, ...others] = datastores
  if (first === undefined) throw new HoldfastError('internal', 'A copy needs a datastore')
  const sets = others.map((other) => new Set(hostsReaching(cluster, other).map((host) => host.id)))
  const host = hostsReaching(cluster, first).find((each) => sets.every((set) => set.has(each.id)))
  if (host !== undefined) return host.id
  const names = datastores.map((id) => cluster.datastores.find((each) => each.id === id)?.name ?? id)
  throw new HoldfastError('unreachable', `No connected host reaches ${[...new Set(names)].join(' and ')} now`)
}
