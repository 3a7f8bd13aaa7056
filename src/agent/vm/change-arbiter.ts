/**
 * Another decides between the two copies of a VM: the primary's pump has it so (pump/arbiter-change.ts), and the run record
 * follows (decide-pair.ts), whoever asked for it and whatever became of that.
 */
import { orAborted } from '../../base/aborted.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { ChangeArbiterRequest } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { Pump } from '../protect/pumps.ts'
import type { KeeperWork } from './protect.ts'
import { reconcile } from './reconcile.ts'
import { isHeldPrimary, mustHavePump, type VmCore } from './vm-core.ts'

/** The record says so when it resolves. */
export async function changeArbiter(
  core: VmCore,
  work: KeeperWork,
  request: ChangeArbiterRequest,
): Promise<VmObservation> {
  const pump = await work.inQueue(() => toChange(core, request))
  await pump.changeArbiter(request)
  await work.inQueue(() => reconcile(core))
  await orAborted(work.told(), core.ports.signal)
  return core.observe()
}

async function toChange(core: VmCore, { generation, n, next }: ChangeArbiterRequest): Promise<Pump> {
  const held = core.state.protection
  if (held == null || held.n !== n || !isHeldPrimary(core.state)) {
    core.refuseOlder(generation)
    throw new HoldfastError('wrong-state', `${core.vm} is not held in step from here under configuration ${n}`)
  }
  const pump = mustHavePump(core)
  // The record has moved by that very change: asked again, it is answered as the first time.
  if (pump.status.n !== next) core.refuseOlder(generation)
  return pump
}
