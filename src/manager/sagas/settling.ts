/**
 * Whose copy of a VM is the newest, when both of its hosts are off, or the second has lost its copy: its arbiter is asked, in
 * the name of the primary. Where nobody can say, a person may: what the primary had is the VM, and the rest is given up.
 */
import { describeError, HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { configurationOf, type ArbiterId, type RegisterAnswer } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { planFencingOf, settledBy, type Fencing, type Settled } from '../domain/protection-fencing.ts'
import { arbiterOf } from './arbiters.ts'
import type { SagaDeps } from './deps.ts'
import { transitionRun } from './run-records.ts'
import { needRun, needVm } from './vm-records.ts'

type Asked = Extract<Fencing, { is: 'claim' | 'discard-and-claim' }>

/**
 * Throws `unreachable` and the like while who decides, or the second's host, cannot be asked. `wait`: the second still gives
 * its copy up.
 */
export async function whoseCopy(
  deps: SagaDeps,
  { vm, protection }: RunRecord,
  fencing: Asked,
): Promise<Settled | { readonly is: 'wait' }> {
  if (!protection) throw new HoldfastError('internal', `${vm} has no second copy`)
  if (!(await hasGivenUp(deps, vm, fencing))) return { is: 'wait' }
  const answer = await claim(deps, vm, configurationOf(protection), protection.arbiter)
  const neverBegan = fencing.is === 'discard-and-claim' && protection.phase === 'syncing'
  const settled = settledBy(answer, neverBegan)
  if (settled.is !== 'second' || fencing.is !== 'claim') return settled
  // Its images may lack what it has acknowledged: that is in a journal which only its own host has. So the record is not
  // moved in its name: the VM would start elsewhere from images on a shared datastore that are older than what was seen.
  const name = await nameOf(deps, protection.second)
  const why = `${name} had gone on with it, and went off before it could say so; the newest state is on that host alone: bring it back, and the VM starts there by itself`
  return { is: 'unknown', why }
}

/** Whether the second can surely not go on any more: its host is off, or has given the copy up for certain. */
async function hasGivenUp(deps: SagaDeps, vm: VmId, fencing: Asked): Promise<boolean> {
  if (fencing.is === 'claim') return true
  const seen = await deps.hosts.agent(fencing.second).discardSecond(vm, fencing.n)
  return seen.process === 'none'
}

/** For the primary. An arbiter that another has taken the place of, which the record may not say yet, sends on to it. */
async function claim(deps: SagaDeps, vm: VmId, n: number, arbiter: ArbiterId): Promise<RegisterAnswer> {
  const answer = await arbiterOf(deps, arbiter).arbiterClaim({ vm, n, side: 'primary' })
  // Each is sent on to a higher number, so this ends.
  if (answer.is !== 'superseded' || answer.next.n <= n) return answer
  return claim(deps, vm, answer.next.n, answer.next.arbiter)
}

/**
 * A person's word that the newest copy of a VM is lost, and that what its primary had when it went off is to be the VM.
 * Throws `wrong-state` where a copy may still run, where it can be found out whose is the newest, or nothing is to be settled;
 * `unreachable` where a host that may hold the second cannot be asked to give it up.
 */
export async function settleByHand(deps: SagaDeps, vm: VmId, by: string): Promise<void> {
  const [{ value: record }, run] = [await needVm(deps, vm), await needRun(deps, vm)]
  const fencing = await mustBeOff(deps, record.name, run)
  // A second that could still win would run beside what is started here: that it cannot is never given up on.
  if (!(await hasGivenUp(deps, vm, fencing)))
    throw mayRun(record.name, await nameOf(deps, run.protection?.second ?? ''), true)
  const settled = await whoseCopy(deps, run, fencing).catch((thrown: unknown) => {
    if (!toHoldfastError(thrown).isUnknown) throw thrown
    return { is: 'unknown', why: describeError(thrown) } as const
  })
  if (settled.is !== 'unknown') {
    throw new HoldfastError('wrong-state', `it can be found out which copy of ${record.name} is the newest`, {
      mend: `That is done by itself: look again in a moment (holdfast vm show ${record.name}).`,
    })
  }
  const primary = await nameOf(deps, run.host ?? '')
  const message = `${by} has settled that ${record.name} is what ${primary} had of it, whatever another has written since: ${settled.why}`
  const because = { type: 'vm.protection-settled', message }
  const { generation } = run
  const outcome = await transitionRun(deps, vm, { event: 'fenced', isSettled: true }, { generation, because })
  if (outcome.ok) return
  throw new HoldfastError('conflict', `${record.name} is settled meanwhile: it is ${outcome.run.phase}`)
}

async function mustBeOff(deps: SagaDeps, name: string, run: RunRecord): Promise<Asked> {
  const { host, protection } = run
  if (!protection || host === null) {
    throw new HoldfastError('wrong-state', `${name} has no second copy: nothing is to be settled`)
  }
  const stateOf = async (id: HostId) => {
    const stored = await deps.store.get('host', id)
    return stored && deps.hosts.stateOf(stored.value)
  }
  const [primary, second] = [await stateOf(host), await stateOf(protection.second)]
  const report = deps.hosts.report(protection.second)
  const seen = report === undefined ? undefined : (report.vms.find((each) => each.vm === run.vm) ?? null)
  const fencing = planFencingOf(run, primary, second, seen)
  if (fencing.is === 'claim' || fencing.is === 'discard-and-claim') return fencing
  const alive = primary === 'confirmed-off' ? protection.second : host
  const aliveName = await nameOf(deps, alive)
  const isConnected = (alive === host ? primary : second) === 'connected'
  throw mayRun(name, aliveName, isConnected)
}

function mayRun(name: string, host: string, isConnected: boolean): HoldfastError {
  return new HoldfastError('wrong-state', `${host} may run ${name}, or be about to`, {
    mend: isConnected
      ? `It answers: see holdfast vm show ${name}.`
      : `Bring it back; if its power is cut for good: holdfast host confirm-off ${host}.`,
  })
}

async function nameOf(deps: SagaDeps, id: string): Promise<string> {
  return (await deps.store.get('host', id))?.value.name ?? id
}
