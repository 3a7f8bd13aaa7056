/** What people are told when a VM's protection begins, stands and ends. */
import type { HostId } from '../../base/ids.ts'
import { managersArbiter } from '../../contracts/protection.ts'
import type { RunRecord, RunTransition } from '../../contracts/run-record.ts'
import type { TaskRecord, VmRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'

interface Reads {
  readonly store: Pick<Store, 'get'>
}

/** Why a pair has come to its end with the primary running on, as far as that is known here. */
export async function endReason(deps: Reads, vm: VmRecord, before: RunRecord): Promise<string> {
  const { protection } = before
  if (!protection) return 'it has no second copy'
  const saga = await sagaOf(deps, vm)
  const host = (await deps.store.get('host', protection.second))?.value
  const name = host?.name ?? protection.second
  if (saga === 'vm.unprotect' && vm.protection?.isWanted === false) return 'that was asked for'
  if (saga === 'vm.stop' || saga === 'vm.shutdown') return 'it is being powered off'
  if (host?.confirmedOff === true) return `${name} is off`
  if (host !== undefined && host.maintenance !== 'off') return `${name} is being emptied`
  if (protection.phase === 'syncing') return `the copy on ${name} was not brought in step`
  return `the second copy on ${name} was lost`
}

const ofProtection = ['protect', 'protected', 'alone', 'took-over', 'new-arbiter'] as const
export type OfProtection = (typeof ofProtection)[number]

export function isOfProtection(event: RunTransition['event']): event is OfProtection {
  return ofProtection.some((each) => each === event)
}

/** Type and sentence of the event of a transition of protection. */
export async function protectionWords(
  deps: Reads,
  vm: VmRecord,
  before: RunRecord,
  after: RunRecord,
  event: OfProtection,
): Promise<[type: string, text: string]> {
  const nameOf = async (id: HostId | null): Promise<string> =>
    id === null ? 'no host' : ((await deps.store.get('host', id))?.value.name ?? id)
  const { name } = vm
  const second = await nameOf(after.protection?.second ?? before.protection?.second ?? null)
  const primary = await nameOf(before.host)
  switch (event) {
    case 'protect':
      return ['vm.protecting', `a second copy of ${name} is brought in step on ${second}`]
    case 'protected':
      return ['vm.protected', `${name} is protected: ${second} goes on with it when ${primary} fails`]
    case 'alone':
      return ['vm.unprotected', `${name} is not protected any more: ${await endReason(deps, vm, before)}`]
    case 'new-arbiter': {
      const [now, so] = [await arbiterName(deps, after), await arbiterName(deps, before)]
      const words = `${now} decide${now === managers ? '' : 's'} now who goes on with ${name} alone, instead of ${so}`
      return ['vm.arbiter-changed', words]
    }
    case 'took-over': {
      const isPlanned = (await sagaOf(deps, vm)) === 'vm.hand-over'
      const why = isPlanned ? `${primary} has handed it over` : `${primary} failed`
      return ['vm.took-over', `${name} runs on ${second} now: ${why}; no connection was lost`]
    }
  }
}

const managers = 'the managers'

async function arbiterName(deps: Reads, { protection }: RunRecord): Promise<string> {
  const arbiter = protection?.arbiter ?? managersArbiter
  if (arbiter === managersArbiter) return managers
  return (await deps.store.get('host', arbiter))?.value.name ?? arbiter
}

async function sagaOf(deps: Reads, vm: VmRecord): Promise<string | undefined> {
  if (vm.operation === null) return undefined
  const task: TaskRecord | undefined = (await deps.store.get('task', vm.operation))?.value
  return task?.saga.split('/')[0]
}
