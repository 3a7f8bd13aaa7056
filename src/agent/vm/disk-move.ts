/**
 * The move of one disk of a running VM, as its state sees it: the intent is durable first, then that the new file counts,
 * while the guest stands still. Where the agent dies between, QEMU is asked which file the guest is on. In the VM's queue.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId } from '../../base/ids.ts'
import type { Machine } from '../../hypervisor/hypervisor.ts'
import { refuseHeld, type VmCore } from './vm-core.ts'
import type { VmState } from './vm-state.ts'

export async function beginDiskMove(
  core: VmCore,
  generation: number,
  to: { key: number; datastore: DatastoreId; path: string },
): Promise<Machine> {
  core.refuseOlder(generation)
  refuseHeld(core, 'given another place for its disks')
  if (core.state.role !== 'running') throw new HoldfastError('wrong-state', `${core.vm} is ${core.state.role} here`)
  if (core.state.movingDisk != null)
    throw new HoldfastError('wrong-state', `a disk of ${core.vm} is on the move already`)
  const machine = core.mustHaveMachine()
  await core.save({ movingDisk: { key: to.key, datastore: to.datastore, path: to.path } })
  return machine
}

/** Durable before the guest's first write to the new file. */
export async function noteDiskMoved(core: VmCore): Promise<void> {
  await core.save({ deployment: withDiskMoved(core.state) })
}

/** Nobody drives the move any more: ends it, takes note of where the disk is, and lets a guest go on that it left paused. */
export async function settleDiskMove(core: VmCore): Promise<void> {
  const { movingDisk, role, pausedByUser, outOfSpace } = core.state
  if (movingDisk == null) return
  if (core.machine === undefined || core.machineState === 'gone') {
    // QEMU let the guest write to the new file alone only after that was noted here: what is noted is true.
    await core.save({ movingDisk: null })
    return
  }
  const path = await core.machine.settleDiskMove(movingDisk.key)
  const deployment = path === movingDisk.path ? withDiskMoved(core.state) : core.state.deployment
  await core.save({ deployment, movingDisk: null })
  const mayGoOn = role === 'running' && !pausedByUser && !outOfSpace
  if (mayGoOn && (await core.askMachine()) === 'paused') await core.resume()
}

function withDiskMoved({ deployment, movingDisk }: VmState): VmState['deployment'] {
  if (deployment === null || movingDisk == null) return deployment
  const disks = deployment.spec.disks.map((disk) =>
    disk.key === movingDisk.key ? { ...disk, datastore: movingDisk.datastore } : disk,
  )
  return { ...deployment, spec: { ...deployment.spec, disks } }
}
