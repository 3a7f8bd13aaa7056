/**
 * One disk to another datastore of this host. Of a VM that runs, by QEMU's mirror: which file counts is durable in the
 * VM's state before the guest writes to the new one. Of a VM that does not run here, by a copy.
 */
import type { Files } from '../../base/files.ts'
import type { JobWork } from '../../contracts/agent-api.ts'
import type { VmKeeper } from '../vm/vm-keeper.ts'
import type { Datastores } from './datastores.ts'
import type { DiskWork } from './disk-work.ts'
import type { JobContext, JobResult } from './jobs.ts'

type MoveWork = Extract<JobWork, { kind: 'move-disk' }>

export interface MoveDiskDeps {
  readonly disks: DiskWork
  readonly datastores: Datastores
  readonly files: Files
  readonly keeper: VmKeeper
}

export async function moveDisk(deps: MoveDiskDeps, work: MoveWork, context: JobContext): Promise<JobResult> {
  const { disks, datastores, files, keeper } = deps
  const { moving, vm } = work
  const path = datastores.diskPath(moving.to, moving.disk, moving.format)
  await keeper.settleDiskMove()
  // Asked again after an agent's restart: the guest wrote to the new file already, whether it still runs or not.
  const isMoved = keeper.diskDatastore(moving.key) === moving.to
  if (isMoved || work.settleOnly === true) return { path, isMoved }
  if (!keeper.hasMachine()) {
    const { disk, from, to, format } = moving
    return { ...(await disks.copy({ kind: 'copy-disk', vm, disk, from, to, format }, context)), isMoved: true }
  }
  await disks.createEmpty(vm, moving, context.task)
  try {
    await keeper.moveDisk(
      work.generation,
      { key: moving.key, datastore: moving.to, path, format: moving.format },
      (done, total) => context.onBytes('mirroring', done, total),
      context.signal,
    )
  } catch (thrown) {
    const place = keeper.diskDatastore(moving.key)
    // It failed, or was cancelled, after the switch: the guest may have written to the new file already.
    if (place === moving.to) return { path, isMoved: true }
    // Only when it is certain that the guest is on the old file.
    if (place === moving.from) await files.remove(path)
    throw thrown
  }
  return { path, isMoved: true }
}
