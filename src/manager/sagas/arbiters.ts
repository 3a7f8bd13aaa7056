/** Who decides between the two copies of a VM: where pumps ask it, and where it is asked from here. */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import {
  managersArbiter as managersId,
  type ArbiterAddress,
  type ArbiterApi,
  type ArbiterId,
} from '../../contracts/protection.ts'
import type { SagaDeps } from './deps.ts'
import { managersArbiter } from './managers-arbiter.ts'
import type { VmView } from '../domain/cluster-view.ts'
import { anotherArbiter, type NewArbiterPlan } from '../domain/deciding-plan.ts'
import type { Choice } from '../domain/protect-plan.ts'
import { changeVm, needHost, needRun, needVm } from './vm-records.ts'

/** Where an arbiter is asked. Throws `not-found` for a host that is no more. */
export async function arbiterAddress(deps: SagaDeps, arbiter: ArbiterId): Promise<ArbiterAddress> {
  if (arbiter === managersId) return { arbiter, urls: [...deps.managers.urls()], tlsName: deps.managers.tlsName }
  const { addresses, agentPort, tlsName } = await needHost(deps, arbiter)
  const name = addresses.management.includes(':') ? `[${addresses.management}]` : addresses.management
  return { arbiter, urls: [`https://${name}:${agentPort}`], tlsName }
}

/** The arbiter itself, to be asked from here. */
export function arbiterOf(deps: SagaDeps, arbiter: ArbiterId): ArbiterApi {
  return arbiter === managersId ? managersArbiter(deps.store) : deps.hosts.agent(arbiter)
}

/**
 * Has another decide; the record says so when it resolves. Each attempt has a number of its own, which is durable before it
 * is used. Throws `wrong-state` where it did not come about, `unreachable` and its like where that is not known.
 */
export async function changeArbiterOf(deps: SagaDeps, plan: Omit<NewArbiterPlan, 'why'>): Promise<void> {
  const { vm, n, arbiter, old } = plan
  const { host, protection, generation } = await needRun(deps, vm)
  if (host === null || protection?.n !== n) throw noSuchPair(vm, n)
  const address = await arbiterAddress(deps, arbiter)
  const next = await takeNumber(deps, vm, n)
  await deps.hosts.agent(host).changeArbiter(vm, { generation, n, next, arbiter: address, old })
}

/** Has another decide than the one that does, which is asked to step back. Throws `refused` where there is nobody else. */
export async function decideElsewhere(deps: SagaDeps, cluster: Choice, { id: vm, run }: VmView): Promise<void> {
  const { value } = await needVm(deps, vm)
  const former = (value.protection?.former ?? []).map(({ host }) => host)
  const arbiter = anotherArbiter(cluster, run, former)
  if (arbiter === undefined || !run.protection) throw new HoldfastError('refused', 'there is nobody else to decide')
  const isOff = cluster.hosts.some(({ id, state }) => id === run.protection?.arbiter && state === 'confirmed-off')
  await changeArbiterOf(deps, { vm, n: run.protection.n, arbiter, old: isOff ? 'gone' : 'asked' })
}

async function takeNumber(deps: SagaDeps, vm: VmId, n: number): Promise<number> {
  let taken: number | undefined
  await changeVm(deps, vm, (before) => {
    const { protection } = before
    if (protection?.second?.n !== n) throw noSuchPair(vm, n)
    taken = protection.lastN + 1
    return { ...before, protection: { ...protection, lastN: taken } }
  })
  if (taken === undefined) throw noSuchPair(vm, n)
  return taken
}

function noSuchPair(vm: VmId, n: number): HoldfastError {
  return new HoldfastError('wrong-state', `${vm} has no second copy of configuration ${n} any more`)
}
