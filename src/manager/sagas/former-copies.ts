/**
 * Copies of a VM that are out: a second whose pair has ended, a primary that was taken over. Their images are deleted when
 * nothing of them runs or waits any more, and never while the VM's machine, or its present second, names them.
 */
import type { DiskId, TaskId, VmId } from '../../base/ids.ts'
import type { VmProcessState } from '../../contracts/host.ts'
import type { FormerCopy, VmRecord } from '../store/records.ts'
import type { Change } from '../store/store.ts'
import { isUnknown } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { deleteDiskFile } from './disk-copies.ts'
import { imagesOfMachine } from './pair-records.ts'
import { commitChanges } from './vm-records.ts'

/**
 * Ends the copies of this VM that are out, deletes their images, and forgets each once it is gone. The caller holds the VM.
 * Returns how many could not be reached.
 */
export async function cleanFormer(deps: SagaDeps, vm: VmId, task: TaskId): Promise<number> {
  const stored = await deps.store.get('vm', vm)
  let left = 0
  for (const copy of stored?.value.protection?.former ?? []) {
    try {
      if (!(await endFormer(deps, vm, copy))) {
        left += 1
        continue
      }
      await deleteImages(deps, vm, copy, task)
      await forgetFormer(deps, vm, copy)
    } catch (thrown) {
      if (!isUnknown(thrown)) throw thrown
      left += 1
    }
  }
  return left
}

/** Whether nothing of a copy that is out runs or waits on its host any more. Throws `unreachable` while that is not known. */
export async function endFormer(deps: SagaDeps, vm: VmId, copy: FormerCopy): Promise<boolean> {
  const host = await deps.store.get('host', copy.host)
  if (host === undefined || deps.hosts.stateOf(host.value) === 'confirmed-off') return true
  const agent = deps.hosts.agent(copy.host)
  const { process } = copy.side === 'second' ? await agent.discardSecond(vm, copy.n) : await agent.observe(vm)
  if (!hasMachine.has(process)) return true
  // It may run here by a later configuration, or wait as the second of one.
  const run = (await deps.store.get('run', vm))?.value.run
  return run?.host === copy.host || run?.protection?.second === copy.host
}

const hasMachine: ReadonlySet<VmProcessState> = new Set(['running', 'paused', 'outgoing', 'sent', 'second', 'failed'])

async function deleteImages(deps: SagaDeps, vm: VmId, copy: FormerCopy, task: TaskId): Promise<void> {
  const inUse = await imagesInUse(deps, vm)
  for (const disk of copy.disks) {
    const stored = await deps.store.get('disk', disk)
    if (stored === undefined || inUse.has(disk)) continue
    for (const place of new Set([stored.value.datastore, ...(stored.value.alsoAt ?? [])])) {
      await deleteDiskFile(deps, disk, place, task)
    }
  }
}

async function imagesInUse(deps: Pick<SagaDeps, 'store'>, vm: VmId): Promise<Set<DiskId>> {
  const value = (await deps.store.get('vm', vm))?.value
  if (value === undefined) return new Set()
  const second = value.protection?.second?.copies.map(({ disk }) => disk) ?? []
  return new Set([...imagesOfMachine(value.spec), ...second])
}

async function forgetFormer(deps: Pick<SagaDeps, 'store'>, vm: VmId, copy: FormerCopy): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('vm', vm)
    const protection = stored?.value.protection
    if (stored === undefined || protection === undefined) return undefined
    const inUse = await imagesInUse(deps, vm)
    const changes: Change[] = []
    for (const disk of copy.disks) {
      const record = await deps.store.get('disk', disk)
      if (record === undefined || inUse.has(disk)) continue
      changes.push({ do: 'remove', kind: 'disk', id: disk, expected: record.revision })
    }
    const former = protection.former.filter((each) => each.n !== copy.n || each.host !== copy.host)
    const value: VmRecord = { ...stored.value, protection: { ...protection, former } }
    return [...changes, { do: 'update', kind: 'vm', value, expected: stored.revision }]
  })
}
