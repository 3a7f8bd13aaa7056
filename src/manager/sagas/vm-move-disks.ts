/**
 * Moves the disks of a VM to another datastore, the VM staying where it is: running (a mirror, then the guest writes only
 * to the new copy) or stopped (a copy).
 *
 *   plan ─▶ mark (copies may be there) ─▶ disks (one after the other, each switched when it is whole) ─▶ clean
 *
 * A disk is switched in the records as soon as its host says that the guest writes only to the new copy. Undone, the disks
 * that have been switched stay where they are now.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId, VmId } from '../../base/ids.ts'
import type { JobRequest, MovingDisk } from '../../contracts/agent-api.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import { precheckDiskMove } from '../domain/migrate-precheck.ts'
import type { Change } from '../store/store.ts'
import { endJob, runJob } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { deleteCopies } from './disk-copies.ts'
import { diskAlsoAt, diskNowAt } from './run-records.ts'
import { saga, type StepContext } from './saga.ts'
import { commitChanges, needRun } from './vm-records.ts'

export interface MoveDisksParams {
  readonly vm: VmId
  readonly datastore: DatastoreId
}

interface Planned {
  readonly host: HostId
  readonly disks: readonly MovingDisk[]
  readonly isRunning: boolean
}
type Context<Done> = StepContext<MoveDisksParams, Done, SagaDeps>

export const moveDisksSaga = saga<MoveDisksParams, SagaDeps>('vm.move-disks/1')
  .step({ name: 'plan', do: plan })
  .step({
    name: 'mark',
    do: mark,
    undo: async ({ params, deps, task }) => {
      await deleteCopies(deps, params.vm, task)
    },
  })
  .step({ name: 'disks', weight: 96, do: moveAll, undo: stopMoving })
  .step({
    name: 'clean',
    do: async ({ params, deps, task }) => {
      await deleteCopies(deps, params.vm, task)
      return null
    },
  })
  .result((done) => ({ disks: done.plan.disks.length }))

async function plan({ params, deps }: Context<unknown>): Promise<Planned> {
  const cluster = await deps.cluster()
  const vm = cluster.vms.find((each) => each.id === params.vm)
  if (vm === undefined) throw new HoldfastError('not-found', `There is no VM ${params.vm}`)
  const checked = precheckDiskMove(cluster, vm, params.datastore)
  if (!checked.ok) {
    const message = checked.reasons.map((reason) => reason.message).join('; ')
    throw new HoldfastError('refused', `The disks cannot be moved: ${message}`, { reasons: checked.reasons })
  }
  return { host: checked.host, disks: checked.disks, isRunning: vm.run.phase === 'running' }
}

async function mark({ deps, done }: Context<{ plan: Planned }>): Promise<null> {
  await commitChanges(deps, async () => {
    const changes: Change[] = []
    for (const { disk, to } of done.plan.disks) {
      const stored = await deps.store.get('disk', disk)
      if (stored === undefined) throw new HoldfastError('not-found', `The disk ${disk} has no record`)
      const value = diskAlsoAt(stored.value, to)
      if (value !== stored.value) changes.push({ do: 'update', kind: 'disk', value, expected: stored.revision })
    }
    return changes
  })
  return null
}

async function moveAll(context: Context<{ plan: Planned }>): Promise<null> {
  const { deps, done, signal } = context
  const { disks, host } = done.plan
  for (const [at, moving] of disks.entries()) {
    const record = await deps.store.get('disk', moving.disk)
    if (record === undefined || record.value.datastore === moving.to) continue
    signal.throwIfAborted()
    const progress = (fraction: number, detail?: Parameters<typeof context.progress>[1]): void =>
      context.progress((at + fraction) / disks.length, detail)
    await runJob({ clock: deps.clock, agent: deps.hosts.agent(host), signal, progress }, await jobFor(context, moving))
    await switchDisk(context, moving)
  }
  return null
}

async function jobFor(
  { params, deps, done, task }: Context<{ plan: Planned }>,
  moving: MovingDisk,
): Promise<JobRequest> {
  const id = `${task}/${moving.disk}`
  const vm = params.vm
  const { generation } = await needRun(deps, vm)
  if (done.plan.isRunning) return { id, task, work: { kind: 'move-disk', vm, generation, moving } }
  const { disk, from, to, format } = moving
  return { id, task, work: { kind: 'copy-disk', disk, from, to, format, vm } }
}

/** From this commit on the new copy is the disk, and the old one is what is left over. */
async function switchDisk({ params, deps }: Context<unknown>, moving: MovingDisk): Promise<void> {
  await commitChanges(deps, async () => {
    const [vm, disk] = [await deps.store.get('vm', params.vm), await deps.store.get('disk', moving.disk)]
    if (vm === undefined || disk === undefined || disk.value.datastore === moving.to) return undefined
    const spec = specWith(vm.value.spec, moving)
    return [
      { do: 'update', kind: 'vm', value: { ...vm.value, spec }, expected: vm.revision },
      { do: 'update', kind: 'disk', value: diskNowAt(disk.value, moving.to), expected: disk.revision },
    ]
  })
}

function specWith(spec: MachineSpec, { disk, to }: MovingDisk): MachineSpec {
  return {
    ...spec,
    disks: spec.disks.map((device) => (device.disk === disk ? { ...device, datastore: to } : device)),
    nvram: spec.nvram?.disk === disk ? { ...spec.nvram, datastore: to } : spec.nvram,
  }
}

/**
 * Nothing copies any more; a disk that had gone over already is switched, for its guest writes there now. Its host is
 * asked: how the job ended does not tell, and an agent that was started again knows no job. While the host cannot say,
 * nothing is undone, for neither file may be deleted.
 */
async function stopMoving(context: Context<{ plan: Planned }>): Promise<void> {
  const { deps, done, task } = context
  const agent = deps.hosts.agent(done.plan.host)
  for (const moving of done.plan.disks) {
    const record = await deps.store.get('disk', moving.disk)
    if (record === undefined || record.value.datastore === moving.to) continue
    const status = await endJob(deps.clock, agent, `${task}/${moving.disk}`)
    if (status?.state === 'done' || (await hasMoved(context, moving))) await switchDisk(context, moving)
  }
}

async function hasMoved(context: Context<{ plan: Planned }>, moving: MovingDisk): Promise<boolean> {
  const { params, deps, done, task } = context
  if (!done.plan.isRunning) return false
  const { generation } = await needRun(deps, params.vm)
  const work = { kind: 'move-disk' as const, vm: params.vm, generation, moving, settleOnly: true }
  const agent = deps.hosts.agent(done.plan.host)
  const signal = new AbortController().signal
  const request = { id: `${task}/${moving.disk}/settle`, task, work }
  const result = await runJob({ clock: deps.clock, agent, signal, progress: () => undefined }, request)
  return result['isMoved'] !== false
}
