/**
 * Holds a running VM in step on a second host.
 *
 *   plan ─▶ begin (record: a second is named) ─▶ prepare (its host listens) ─▶ sync (commit: record says `protected`)
 *
 * The commit is not ours: the primary's agent moves the record to `protected` when the second is in step. Undone, the
 * primary ends the pair by its arbiter, and what the second has is given up; when the second has taken over meanwhile, the
 * images that the records name are the VM's, and only what is out is deleted.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DiskId, HostId, TaskId, VmId } from '../../base/ids.ts'
import type { JobRequest } from '../../contracts/agent-api.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import type {
  ArbiterId,
  CopyDisk,
  ProtectionConfig,
  ProtectionSettings,
  SecondEndpoint,
} from '../../contracts/protection.ts'
import { deploymentFor } from '../domain/host-configuration.ts'
import {
  planProtection,
  secondMachine,
  type ProtectionPlan,
  type ProtectionPrecheck,
  type ProtectionWish,
} from '../domain/protect-plan.ts'
import type { VmProtectionRecord, VmRecord } from '../store/records.ts'
import { arbiterAddress } from './arbiters.ts'
import type { SagaDeps } from './deps.ts'
import { cleanFormer } from './former-copies.ts'
import { pairBegins } from './pair-records.ts'
import { endPair, watchSync, type SyncEnd } from './protection-watch.ts'
import { transitionRun } from './run-records.ts'
import { saga, type StepContext, type Verdict } from './saga.ts'
import { changeVm, needHost, needRun, needVm } from './vm-records.ts'

export interface ProtectVmParams {
  readonly vm: VmId
  /** Null: placed. */
  readonly host: HostId | null
  readonly settings: ProtectionSettings
  /** The wish before this operation, put back when it fails. */
  readonly before: Pick<VmProtectionRecord, 'isWanted' | 'settings'>
}

interface Planned {
  /** The second, under the name by which its memory is held for it from now on. */
  readonly host: HostId
  readonly primary: HostId
  readonly arbiter: ArbiterId
  readonly n: number
  readonly generation: number
  readonly copies: readonly CopyDisk[]
  readonly spec: MachineSpec
}
type Context<Done> = StepContext<ProtectVmParams, Done, SagaDeps>
interface BeforeSync {
  readonly plan: Planned
  readonly begin: { readonly generation: number }
  readonly prepare: SecondEndpoint
}

export const protectVmSaga = saga<ProtectVmParams, SagaDeps>('vm.protect/1', { givesWay: true })
  .step({ name: 'plan', do: plan, undo: ({ params, deps }) => restoreWish(deps, params) })
  .step({ name: 'begin', do: begin, undo: undoBegin })
  .step({ name: 'prepare', weight: 2, patienceMs: 20_000, do: prepareSecond })
  .commit({ name: 'sync', weight: 96, do: sync, settle })
  .result((done) => ({ second: done.plan.host, arbiter: done.plan.arbiter, n: done.plan.n, runsOn: done.sync.host }))

/** Every reason against protecting it, or the plan. Reads only. */
export async function precheckProtection(
  deps: SagaDeps,
  wish: Pick<ProtectVmParams, 'vm' | 'host'>,
  cluster?: Awaited<ReturnType<SagaDeps['cluster']>>,
): Promise<ProtectionPrecheck> {
  const view = cluster ?? (await deps.cluster())
  const vm = view.vms.find((each) => each.id === wish.vm)
  if (vm === undefined) throw new HoldfastError('not-found', `There is no VM ${wish.vm}`)
  return planFor(deps, view, { vm, host: wish.host, former: formerHosts((await needVm(deps, wish.vm)).value) })
}

function planFor(
  deps: SagaDeps,
  cluster: Awaited<ReturnType<SagaDeps['cluster']>>,
  wish: Omit<ProtectionWish, 'observation'>,
): ProtectionPrecheck {
  const { vm } = wish
  const report = vm.run.host === null ? undefined : deps.hosts.report(vm.run.host)
  const observation = report?.vms.find((each) => each.vm === vm.id) ?? null
  return planProtection(cluster, { ...wish, observation })
}

function formerHosts({ protection }: VmRecord): ReadonlySet<HostId> {
  return new Set((protection?.former ?? []).map(({ host }) => host))
}

async function plan({ params, deps }: Context<unknown>): Promise<Planned> {
  const cluster = await deps.cluster()
  const vm = cluster.vms.find((each) => each.id === params.vm)
  if (vm === undefined) throw new HoldfastError('not-found', `There is no VM ${params.vm}`)
  await mustHaveHeard(deps, [vm.run.host, params.host])
  const { value } = await needVm(deps, params.vm)
  const former = formerHosts(value)
  let chosen: ProtectionPlan | undefined
  deps.promises.choose(cluster, params.vm, (view) => {
    const checked = planFor(deps, view, { vm, host: params.host, former })
    if (!checked.ok) throw refusedToProtect(vm.name, checked.reasons)
    chosen = checked.plan
    return checked.plan.second
  })
  if (chosen === undefined) throw new HoldfastError('internal', 'A plan was lost')
  const ids: DiskId[] = []
  for (let at = 0; at < chosen.copies.length; at++) ids.push((await deps.store.nextId('disk')) as DiskId)
  const { copies, spec } = secondMachine(value.spec, chosen.copies, ids)
  const { generation } = await needRun(deps, params.vm)
  const { second: host, primary, arbiter } = chosen
  return { host, primary, arbiter, n: (value.protection?.lastN ?? 0) + 1, generation, copies, spec }
}

export function refusedToProtect(name: string, reasons: readonly { code: string; message: string }[]): HoldfastError {
  const message = reasons.map((reason) => reason.message).join('; ')
  return new HoldfastError('refused', `${name} cannot be protected: ${message}`, {
    reasons,
    mend: 'See the reasons for each host; mend one of them, or add a host.',
  })
}

/** Nothing is refused for what a manager that has just begun cannot know: hosts report within seconds. */
async function mustHaveHeard(deps: SagaDeps, hosts: readonly (HostId | null)[]): Promise<void> {
  for (const host of hosts) {
    if (host === null || deps.hosts.report(host) !== undefined) continue
    if ((await deps.store.get('host', host)) === undefined) continue
    throw new HoldfastError('unreachable', `${host} has not reported since this manager began`)
  }
}

async function restoreWish(deps: SagaDeps, { vm, before }: ProtectVmParams): Promise<void> {
  await changeVm(deps, vm, (record) => {
    const { protection } = record
    if (protection === undefined) return record
    const reason = before.isWanted ? protection.reason : null
    return { ...record, protection: { ...protection, ...before, reason } }
  })
}

/** The record names the second, and the images have their records, before anything is made. */
async function begin({ params, deps, done }: Context<{ plan: Planned }>): Promise<{ generation: number }> {
  const { host, primary, arbiter, n, generation, copies, spec } = done.plan
  const before = await needRun(deps, params.vm)
  if (before.protection?.n === n) return { generation: before.generation }
  const protection = { n, second: host, arbiter, phase: 'syncing' as const }
  const outcome = await transitionRun(
    deps,
    params.vm,
    { event: 'protect', protection },
    {
      generation,
      alongside: async ({ value }) => pairBegins(value, { n, host, arbiter, copies, spec }),
    },
  )
  if (outcome.ok) return { generation: outcome.run.generation }
  const { phase, host: now } = outcome.run
  const where = now === primary ? '' : ` on ${now ?? 'no host'}`
  throw new HoldfastError('wrong-state', `The VM cannot be protected now: it is ${phase}${where} (${outcome.reason})`)
}

async function undoBegin({ params, deps, done, task }: Context<{ plan: Planned }>): Promise<void> {
  await endPair(deps, { vm: params.vm, n: done.plan.n, task })
  // What cannot be reached now is cleaned up later (reconcilers/stale-copies.ts).
  await cleanFormer(deps, params.vm, task)
}

function configOf(vm: VmId, { n, primary, host, arbiter }: Planned): ProtectionConfig {
  return { vm, n, primary, second: host, arbiter }
}

async function prepareSecond(
  context: Context<{ plan: Planned; begin: { generation: number } }>,
): Promise<SecondEndpoint> {
  const { params, deps, done, task } = context
  const { host, primary, arbiter, copies, spec } = done.plan
  const { value: vm } = await needVm(deps, params.vm)
  const { tlsName, streamTlsName } = await needHost(deps, primary)
  return deps.hosts.agent(host).prepareSecond({
    deployment: deploymentFor(await deps.cluster(), { ...vm, spec }, host, done.begin.generation),
    config: configOf(params.vm, done.plan),
    arbiter: await arbiterAddress(deps, arbiter),
    primaryTlsName: tlsName,
    primaryStreamTlsName: streamTlsName ?? tlsName,
    copies: [...copies],
    settings: params.settings,
    task,
  })
}

async function jobOf(context: Context<BeforeSync>): Promise<JobRequest> {
  const { params, deps, done, task } = context
  const request = {
    generation: done.begin.generation,
    config: configOf(params.vm, done.plan),
    arbiter: await arbiterAddress(deps, done.plan.arbiter),
    second: done.prepare,
    copies: [...done.plan.copies],
    settings: params.settings,
  }
  return { id: protectJobOf(task), task, work: { kind: 'protect', vm: params.vm, request } }
}

/** The id of the job that brings the second in step. */
export function protectJobOf(task: TaskId): string {
  return `${task}/protect`
}

async function sync(context: Context<BeforeSync>): Promise<{ host: HostId }> {
  const end = await follow(context, context.signal, 5_000)
  if (end.is === 'committed') return { host: end.host }
  throw new HoldfastError(end.is === 'stuck' ? 'unreachable' : 'host-error', end.reason)
}

async function settle(
  context: Context<BeforeSync> & { readonly cancelWish: AbortSignal },
): Promise<Verdict<{ host: HostId }>> {
  const end = await follow(context, context.cancelWish, 10_000)
  switch (end.is) {
    case 'committed':
      return { verdict: 'committed', output: { host: end.host } }
    case 'not-committed':
      return { verdict: 'not-committed', code: 'host-error', reason: end.reason }
    case 'stuck':
      return { verdict: 'stuck', reason: end.reason, runbook: 'protection-stuck' }
  }
}

async function follow(context: Context<BeforeSync>, wish: AbortSignal, stuckAfterMs: number): Promise<SyncEnd> {
  const { params, deps, done, progress } = context
  const { n, primary, host: second } = done.plan
  const job = await jobOf(context)
  return watchSync(deps, { vm: params.vm, n, primary, second, job }, { wish, progress, stuckAfterMs })
}
