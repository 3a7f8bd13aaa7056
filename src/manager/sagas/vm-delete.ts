/**
 * Deletes a stopped VM. The decision is the point of no return; from then on the files go first, on every datastore where
 * one is or may be, and the record last: a crash leaves no file that nobody owns.
 *
 *   check ─▶ decide (commit) ─▶ files ─▶ forget
 */
import { HoldfastError } from '../../base/errors.ts'
import type { RuleId, VmId } from '../../base/ids.ts'
import { addressClaim, macClaim, nameClaim } from '../domain/names.ts'
import type { VmRecord } from '../store/records.ts'
import type { Change, NewEvent, Store } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { agentReaching, deleteDiskFile, disksOf } from './disk-copies.ts'
import { evidencePlaces } from './evidence.ts'
import { endFormer } from './former-copies.ts'
import { transitionRun } from './run-records.ts'
import { saga, type Verdict } from './saga.ts'
import { changeVm, commitChanges, needRun, needVm } from './vm-records.ts'

export interface DeleteVmParams {
  readonly vm: VmId
  /** For the event: the record is gone by then. */
  readonly name: string
}

export const deleteVmSaga = saga<DeleteVmParams, SagaDeps>('vm.delete/1')
  .step({
    name: 'check',
    patienceMs: 5_000,
    do: async ({ params, deps }) => {
      await mustBeStopped(deps, params.vm)
      const cluster = await deps.cluster()
      // Every datastore must be in reach, or the deletion would begin and hang.
      for (const disk of await disksOf(deps, params.vm)) {
        for (const place of [disk.datastore, ...(disk.alsoAt ?? [])]) agentReaching(deps, cluster, place)
      }
      return null
    },
  })
  .commit({
    name: 'decide',
    do: async ({ params, deps }) => {
      // A start that comes late is refused from here on.
      const revoked = await transitionRun(deps, params.vm, { event: 'revoke' })
      if (!revoked.ok) throw notStopped(params.vm, revoked.run.phase)
      return null
    },
    settle: async ({ params, deps }): Promise<Verdict<null>> => {
      const run = await needRun(deps, params.vm)
      if (run.phase === 'stopped') return { verdict: 'committed', output: null }
      return { verdict: 'not-committed', code: 'wrong-state', reason: `the VM is ${run.phase}` }
    },
  })
  .step({
    name: 'files',
    weight: 5,
    do: async ({ params, deps, progress, task }) => {
      await endFormerCopies(deps, params.vm)
      const disks = await disksOf(deps, params.vm)
      for (const [at, disk] of disks.entries()) {
        for (const place of new Set([disk.datastore, ...(disk.alsoAt ?? [])])) {
          await deleteDiskFile(deps, disk.id, place, task)
        }
        progress((at + 1) / disks.length)
      }
      return null
    },
  })
  .step({
    name: 'forget',
    do: async ({ params, deps }) => {
      await forgetVm(deps, params.vm)
      return null
    },
  })
  .result(() => null, deletedEvents)

/** Nothing of a second that is out waits for this VM any more. Throws `unreachable` while that is not known. */
async function endFormerCopies(deps: SagaDeps, vm: VmId): Promise<void> {
  for (const copy of (await deps.store.get('vm', vm))?.value.protection?.former ?? []) {
    if (await endFormer(deps, vm, copy)) continue
    throw new HoldfastError('unreachable', `${copy.host} has not ended its copy of ${vm} yet`)
  }
}

function deletedEvents({
  params,
  task,
  state,
}: {
  params: DeleteVmParams
  task: NonNullable<NewEvent['task']>
  state: string
}): NewEvent[] {
  if (state !== 'done') return []
  const subject = { kind: 'vm', id: params.vm, name: params.name }
  return [{ type: 'vm.deleted', subject, message: `${params.name} was deleted with its disks`, task, data: {} }]
}

async function mustBeStopped(deps: SagaDeps, vm: VmId): Promise<void> {
  const run = await needRun(deps, vm)
  if (run.phase !== 'stopped') throw notStopped(vm, run.phase)
}

function notStopped(vm: VmId, phase: string): HoldfastError {
  return new HoldfastError('wrong-state', `${vm} is ${phase}; only a stopped VM can be deleted`, {
    mend: `Stop it first: holdfast vm stop ${vm}`,
  })
}

/** Removes the VM's records and gives its claims back. What is gone already is no error. Its files are not touched. */
export async function forgetVm(deps: Pick<SagaDeps, 'store'>, vm: VmId): Promise<void> {
  for (const disk of await disksOf(deps, vm)) await removeRecord(deps.store, 'disk', disk.id)
  await leaveOthers(deps, vm)
  await removeRecord(deps.store, 'register', vm)
  for (const place of evidencePlaces(vm)) await removeRecord(deps.store, 'evidence', place)
  const stored = await deps.store.get('vm', vm)
  if (stored === undefined) return removeRecord(deps.store, 'run', vm)
  for (let race = 0; race < 20; race++) {
    const now = await deps.store.get('vm', vm)
    if (now === undefined) return
    const changes: Change[] = [{ do: 'remove', kind: 'vm', id: vm, expected: now.revision }]
    const run = await deps.store.get('run', vm)
    if (run !== undefined) changes.push({ do: 'remove', kind: 'run', id: vm, expected: run.revision })
    for (const claim of claimsOf(now.value)) {
      const held = await deps.store.get('claim', claim)
      if (held?.value.owner === vm) {
        changes.push({ do: 'remove', kind: 'claim', id: claim, expected: held.revision })
      }
    }
    if ((await deps.store.commit({ changes, events: [] })).ok) return
  }
  throw new HoldfastError('conflict', `Others kept changing ${vm}`)
}

/** VMs that wait for it wait for it no more, and rules name it no more; a rule that would mean nothing any more goes. */
async function leaveOthers(deps: Pick<SagaDeps, 'store'>, vm: VmId): Promise<void> {
  for (const { value } of (await deps.store.list('vm')).items) {
    if (value.dependsOn?.some((each) => each.vm === vm) !== true) continue
    await changeVm(deps, value.id, (other) => ({
      ...other,
      dependsOn: (other.dependsOn ?? []).filter((each) => each.vm !== vm),
    }))
  }
  for (const { value } of (await deps.store.list('rule')).items) {
    if (value.vms.includes(vm)) await leaveRule(deps, value.id, vm)
  }
}

async function leaveRule(deps: Pick<SagaDeps, 'store'>, rule: RuleId, vm: VmId): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('rule', rule)
    if (stored?.value.vms.includes(vm) !== true) return undefined
    const { value, revision: expected } = stored
    const vms = value.vms.filter((each) => each !== vm)
    const isPair = value.kind === 'together' || value.kind === 'apart'
    if (vms.length >= (isPair ? 2 : 1)) return [{ do: 'update', kind: 'rule', value: { ...value, vms }, expected }]
    const claim = nameClaim('rule', value.cluster, value.name)
    const held = await deps.store.get('claim', claim)
    const gone: Change[] = [{ do: 'remove', kind: 'rule', id: rule, expected }]
    if (held?.value.owner === rule) gone.push({ do: 'remove', kind: 'claim', id: claim, expected: held.revision })
    return gone
  })
}

/** Keys of the claims that a VM holds. */
export function claimsOf(vm: Pick<VmRecord, 'project' | 'name' | 'spec'>): string[] {
  const nics = vm.spec.nics.flatMap((nic) => [
    macClaim(nic.mac),
    ...(nic.address === null ? [] : [addressClaim(nic.network, nic.address)]),
  ])
  return [nameClaim('vm', vm.project, vm.name), ...nics]
}

async function removeRecord(store: Store, kind: 'disk' | 'run' | 'register' | 'evidence', id: string): Promise<void> {
  for (let race = 0; race < 20; race++) {
    const stored = await store.get(kind, id)
    if (stored === undefined) return
    const change: Change = { do: 'remove', kind, id, expected: stored.revision }
    if ((await store.commit({ changes: [change], events: [] })).ok) return
  }
}

/** The VM's record as it is; throws `not-found`. Kept here for the deletion's callers. */
export async function deletionParams(deps: Pick<SagaDeps, 'store'>, vm: VmId): Promise<DeleteVmParams> {
  return { vm, name: (await needVm(deps, vm)).value.name }
}
