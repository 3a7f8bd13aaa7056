/** Starting a VM on the best host, and on another one when that cannot; calling a start off. Used by create and start. */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { VmDeployment } from '../../contracts/agent-api.ts'
import { admissionProblem, admissionRefusal } from '../domain/admission.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import { withStarting } from '../domain/host-load.ts'
import { describeRefusals, place, type Placement } from '../domain/placement.ts'
import type { VmRecord } from '../store/records.ts'
import { deploymentFor } from '../domain/host-configuration.ts'
import type { SagaDeps } from './deps.ts'
import { takersOf } from './left-behind.ts'
import { transitionRun } from './run-records.ts'
import { needHost, needRun, needVm } from './vm-records.ts'

export interface StartWish {
  readonly vm: VmId
  /** The one host that is asked for; null: placed. */
  readonly host: HostId | null
  /** Taken when it can take the VM; absent: the best of all. */
  readonly prefer?: HostId
  /** Somebody asks for it: admission control may refuse. */
  readonly isAsked?: boolean
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
    const need = { vm: vm.id, spec: vm.spec, exclude: [...exclude, ...barred] }
    const preferred = wish.prefer === undefined ? undefined : place(now, { ...need, only: wish.prefer })
    if (preferred?.ok === true) return preferred.host
    const placement = place(now, { ...need, only: wish.host ?? undefined })
    if (placement.ok) return wish.isAsked === true ? admitted(now, vm, placement) : placement.host
    const why = [describeRefusals(placement.refusals), ...leftBehindWords(now, run, barred)].join('; ')
    throw new HoldfastError('no-capacity', `No host can take ${vm.name}: ${why}`, {
      reasons: placement.refusals,
      mend: 'See the reasons for each host; free some memory, or add a host.',
    })
  })
}

/** So many of the best hosts are tried before admission control refuses: where a VM starts changes what is kept. */
const hostsTried = 8

/** The best host on which the VM leaves what is to be kept free. Throws `no-capacity` with the figures. */
function admitted(
  cluster: ClusterView,
  vm: VmRecord,
  { host, ranking }: Extract<Placement, { readonly ok: true }>,
): HostId {
  const { admission } = cluster
  if (admission === undefined || admission.policy === 'off') return host
  let first: string | undefined
  for (const { host: candidate } of ranking.slice(0, hostsTried)) {
    const problem = admissionProblem(withStarting(cluster, vm.id, candidate), admission)
    if (problem === undefined) return candidate
    first ??= problem
  }
  throw new HoldfastError('no-capacity', admissionRefusal(cluster, vm.id, first ?? ''), {
    mend: 'See `holdfast cluster admission`. Stop other VMs, add a host, or have less kept free.',
  })
}

function leftBehindWords({ hosts }: ClusterView, { leftBy }: RunRecord, barred: readonly HostId[]): string[] {
  if (barred.length === 0 || leftBy == null) return []
  const nameOf = (id: HostId): string => hosts.find((host) => host.id === id)?.name ?? id
  return [
    `${nameOf(leftBy.host)} left it behind when its lease was over, and had not promised to ask ${barred.map(nameOf).join(', ')}: bring it back, or confirm that it is off`,
  ]
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
