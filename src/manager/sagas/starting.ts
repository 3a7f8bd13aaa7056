/** Starting a VM on the best host, and on another one when that cannot; calling a start off. Used by create and start. */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { describeRefusals, place } from '../domain/placement.ts'
import type { VmDeployment } from '../../contracts/agent-api.ts'
import { deploymentFor } from '../domain/host-configuration.ts'
import type { SagaDeps } from './deps.ts'
import { takersOf } from './left-behind.ts'
import { transitionRun } from './run-records.ts'
import { needHost, needRun, needVm } from './vm-records.ts'

export interface StartWish {
  readonly vm: VmId
  /** The one host that is asked for; null: placed. */
  readonly host: HostId | null
}

/** The host that takes the VM. Throws `no-capacity` with the reasons of each host, or `wrong-state`. */
export async function chooseHost(deps: SagaDeps, wish: StartWish, exclude: readonly HostId[] = []): Promise<HostId> {
  const run = await needRun(deps, wish.vm)
  if (run.phase === 'running' && run.host !== null) return run.host
  if (run.phase !== 'stopped') throw new HoldfastError('wrong-state', `${wish.vm} is ${run.phase}`)
  const { value: vm } = await needVm(deps, wish.vm)
  const { only } = await takersOf(deps.store, run)
  const cluster = await deps.cluster()
  return deps.promises.choose(cluster, vm.id, (now) => {
    const barred = only === undefined ? [] : now.hosts.map(({ id }) => id).filter((id) => !only.includes(id))
    const out = [...exclude, ...barred]
    const placement = place(now, { vm: vm.id, spec: vm.spec, only: wish.host ?? undefined, exclude: out })
    if (placement.ok) return placement.host
    throw new HoldfastError('no-capacity', `No host can take ${vm.name}: ${describeRefusals(placement.refusals)}`, {
      reasons: placement.refusals,
      mend: 'See the reasons for each host; free some memory, or add a host.',
    })
  })
}

const maxAttempts = 4

/**
 * Starts the VM on `first`; when that host refuses, or falls silent, the start there is called off before another host is
 * tried. Resolves with the host that runs it: its agent has moved the record. Throws `unreachable` while it is not known.
 */
export async function startSomewhere(deps: SagaDeps, wish: StartWish, first: HostId): Promise<HostId> {
  const tried: HostId[] = []
  let host = first
  for (let attempt = 0; ; attempt++) {
    const run = await needRun(deps, wish.vm)
    if (run.phase === 'running' && run.host !== null) return run.host
    if (run.phase !== 'stopped') throw new HoldfastError('wrong-state', `${wish.vm} is ${run.phase}`)
    const failure = await startOn(deps, wish.vm, host, run.generation)
    if (failure === undefined) continue
    if (failure.isUnknown && (wish.host !== null || (await isConnected(deps, host)))) throw failure
    const after = await needRun(deps, wish.vm)
    if (after.phase === 'running' && after.host !== null) return after.host
    // It ran, and ended at once: another host would not help.
    if (after.generation > run.generation + 1 && after.cause !== null) throw failure
    if (failure.code !== 'stale-generation') tried.push(host)
    if (attempt >= maxAttempts || wish.host !== null) throw failure
    await transitionRun(deps, wish.vm, { event: 'revoke' }, { generation: after.generation })
    host = await chooseHost(deps, wish, tried).catch(() => {
      throw failure
    })
  }
}

/** Undefined: the agent says that it runs. */
async function startOn(deps: SagaDeps, vm: VmId, host: HostId, generation: number): Promise<HoldfastError | undefined> {
  const { value: record } = await needVm(deps, vm)
  const cluster = await deps.cluster()
  try {
    const seen = await deps.hosts
      .agent(host)
      .start(await withLeftBy(deps, deploymentFor(cluster, record, host, generation)))
    const run = await needRun(deps, vm)
    if (run.phase === 'running') return undefined
    return new HoldfastError('hypervisor-error', seen.problem ?? `${record.name} ended as soon as it had started`)
  } catch (thrown) {
    return toHoldfastError(thrown, 'host-error')
  }
}

/** The host that starts it must not have vouched for the one that has left it behind. */
async function withLeftBy(deps: SagaDeps, deployment: VmDeployment): Promise<VmDeployment> {
  const run = await needRun(deps, deployment.vm)
  const { only } = await takersOf(deps.store, run)
  return only === undefined || run.leftBy == null ? deployment : { ...deployment, leftBy: run.leftBy }
}

async function isConnected(deps: SagaDeps, host: HostId): Promise<boolean> {
  return deps.hosts.stateOf(await needHost(deps, host)) === 'connected'
}

/**
 * No start that was begun before this can take effect after it: the record's generation is raised, or, when the VM has
 * come to run, it is powered off. Throws `unreachable` while that is not known.
 */
export async function callOffStart(deps: SagaDeps, vm: VmId): Promise<void> {
  const stored = await deps.store.get('run', vm)
  if (stored === undefined) return
  const revoked = await transitionRun(deps, vm, { event: 'revoke' })
  if (revoked.ok || revoked.run.phase !== 'running' || revoked.run.host === null) return
  await deps.hosts.agent(revoked.run.host).stop(vm, { generation: revoked.run.generation, how: 'off' })
}
