/**
 * Makes a VM. Its claims and records are committed with the task, so that no file is ever without an owner; then come its
 * disks; then, if asked, the start. Undone, files go before records.
 *
 *   reserve ─▶ disks ─▶ made (commit) ─▶ start
 *
 * A start that fails does not unmake the VM: the result then says why (`startProblem`), and the intent is `off`.
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { DiskId, FolderId, HostId, PoolId, ProjectId, VmId } from '../../base/ids.ts'
import type { JobRequest } from '../../contracts/agent-api.ts'
import type { VmPolicies } from '../../contracts/inventory.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { CreateVm } from '../../contracts/vm-requests.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import type { PlannedDisk } from '../domain/disk-plan.ts'
import { diskCount, planMachine, type MachinePlan } from '../domain/machine-plan.ts'
import { macFrom } from '../domain/mac.ts'
import { changedPolicies } from '../domain/monitoring.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { RunRecordStored, VmRecord } from '../store/records.ts'
import type { Change, NewEvent } from '../store/store.ts'
import { endJob, isUnknown, runJob } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { deleteDiskFile, disksOf, hostForCopy } from './disk-copies.ts'
import type { Operation } from './operation.ts'
import { saga, type StepContext } from './saga.ts'
import { callOffStart, chooseHost, startSomewhere } from './starting.ts'
import { forgetVm } from './vm-delete.ts'
import { changeVm } from './vm-records.ts'

export interface CreateVmParams {
  readonly vm: VmId
  readonly name: string
  /** The files to be made. */
  readonly disks: readonly PlannedDisk[]
  readonly start: boolean
}

export const defaultPolicies: VmPolicies = { allowPostCopy: false, autoConverge: true, restart: 'on-failure' }

type Context<Done> = StepContext<CreateVmParams, Done, SagaDeps>

export const createVmSaga = saga<CreateVmParams, SagaDeps>('vm.create/1')
  .step({ name: 'reserve', do: async () => null, undo: ({ params, deps }) => forgetVm(deps, params.vm) })
  .step({ name: 'disks', weight: 8, patienceMs: 120_000, do: makeDisks, undo: removeDisks })
  .commit({
    name: 'made',
    do: async () => null,
    settle: async () => ({ verdict: 'committed', output: null }),
  })
  .step({ name: 'start', weight: 2, do: startIfAsked })
  .result((done) => ({ ...done.start }), createdEvents)

function createdEvents(end: {
  params: CreateVmParams
  task: NonNullable<NewEvent['task']>
  state: string
}): NewEvent[] {
  if (end.state !== 'done') return []
  const { vm: id, name } = end.params
  const subject = { kind: 'vm', id, name }
  return [{ type: 'vm.created', subject, message: `${name} was made`, task: end.task, data: {} }]
}

/** What a VM's owner is: where it lives in the inventory. */
export interface VmHome {
  readonly project: ProjectId
  readonly pool: PoolId
  readonly folder: FolderId
  readonly dependsOn?: readonly VmDependency[]
}

/**
 * The operation that makes this VM: its records and claims are written in the commit that begins the task, so that a name,
 * a MAC or an address that is taken is refused at once. Throws the refusals of `planMachine`, and `name-taken`.
 */
export async function createVmOperation(
  deps: SagaDeps,
  request: CreateVm,
  home: VmHome,
): Promise<Operation<CreateVmParams>> {
  const vm = (await deps.store.nextId('vm')) as VmId
  const disks: DiskId[] = []
  while (disks.length < diskCount(request)) disks.push((await deps.store.nextId('disk')) as DiskId)
  const plan = await planFor(deps, request, home.project, disks)
  const incarnation = (await deps.store.list('cluster')).items[0]?.value.incarnation ?? 1
  return {
    saga: createVmSaga,
    params: { vm, name: request.name, disks: plan.disks, start: request.start === true },
    target: { kind: 'vm', id: vm, name: request.name },
    lock: { vm, expectedRevision: 0 },
    changes: recordsOf(isoTime(deps.clock.now()), incarnation, vm, request, home, plan),
  }
}

async function planFor(
  deps: SagaDeps,
  request: CreateVm,
  project: ProjectId,
  disks: readonly DiskId[],
): Promise<MachinePlan> {
  const problem = nameProblem(request.name)
  if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
  const claims = new Set((await deps.store.list('claim')).items.map(({ value }) => value.id))
  if (claims.has(nameClaim('vm', project, request.name))) {
    throw new HoldfastError('name-taken', `There is a VM named ${request.name} already`, {
      mend: 'Choose another name.',
    })
  }
  const newMac = (): string => macFrom(deps.random.bytes(3))
  return planMachine(await deps.cluster(), request, { uuid: deps.random.uuid(), disks, newMac, claims })
}

function recordsOf(
  created: string,
  incarnation: number,
  id: VmId,
  request: CreateVm,
  home: VmHome,
  plan: MachinePlan,
): Change[] {
  const vm: VmRecord = {
    id,
    uuid: plan.spec.uuid,
    name: request.name,
    created,
    v: 1,
    description: request.description ?? '',
    ...home,
    power: 'off',
    spec: plan.spec,
    policies: changedPolicies(defaultPolicies, request.policies),
    operation: null,
  }
  const owned = (claim: string): Change => ({ do: 'create', kind: 'claim', value: { id: claim, v: 1, owner: id } })
  return [
    ...[nameClaim('vm', home.project, request.name), ...plan.claims].map(owned),
    { do: 'create', kind: 'vm', value: vm },
    { do: 'create', kind: 'run', value: neverStarted(id, created, incarnation) },
    ...plan.disks.map(({ disk, datastore, sizeBytes, kind }): Change => ({
      do: 'create',
      kind: 'disk',
      value: { id: disk, v: 1, datastore, vm: id, sizeBytes, kind },
    })),
  ]
}

/** The run record of a VM that has never run. */
export function neverStarted(vm: VmId, since: string, incarnation: number): RunRecordStored {
  const run: RunRecordStored['run'] = {
    vm,
    phase: 'stopped',
    host: null,
    target: null,
    postCopy: false,
    task: null,
    cause: 'never-started',
    incarnation,
    generation: 0,
    since,
  }
  return { id: vm, v: 1, run, lastAttempt: null }
}

async function makeDisks(context: Context<unknown>): Promise<HostId[]> {
  const { deps, params, signal } = context
  const hosts: HostId[] = []
  const { disks } = params
  for (const [at, disk] of disks.entries()) {
    signal.throwIfAborted()
    const cluster = await deps.cluster()
    const image = cluster.images.find((each) => each.id === disk.image)
    const host = hostForCopy(cluster, [disk.datastore, ...(image === undefined ? [] : [image.datastore])])
    const progress = (fraction: number, detail?: Parameters<typeof context.progress>[1]): void =>
      context.progress((at + fraction) / disks.length, detail)
    await runJob({ clock: deps.clock, agent: deps.hosts.agent(host), signal, progress }, jobFor(context, disk, cluster))
    hosts.push(host)
  }
  return hosts
}

function jobFor({ task, params }: Context<unknown>, planned: PlannedDisk, cluster: ClusterView): JobRequest {
  const { disk, datastore, format, sizeBytes } = planned
  const id = `${task}/${disk}`
  if (planned.kind === 'nvram') return { id, task, work: { kind: 'create-nvram', disk, datastore, vm: params.vm } }
  const found = cluster.images.find((each) => each.id === planned.image)
  if (planned.image !== null && found === undefined) {
    throw new HoldfastError('not-found', `The image ${planned.image} does not exist any more`)
  }
  const image = found === undefined ? null : { image: found.id, datastore: found.datastore, format: found.format }
  return { id, task, work: { kind: 'create-disk', disk, datastore, format, sizeBytes, image, vm: params.vm } }
}

/** No job goes on writing, then no file is left. */
async function removeDisks({ params, deps, task }: Context<unknown>): Promise<void> {
  const cluster = await deps.cluster()
  for (const disk of await disksOf(deps, params.vm)) {
    for (const host of cluster.hosts.filter((each) => each.state === 'connected')) {
      await endJob(deps.clock, deps.hosts.agent(host.id), `${task}/${disk.id}`)
    }
    await deleteDiskFile(deps, disk.id, disk.datastore, task)
  }
}

/** Ends with the VM running, or with the reason why it could not be started. Never fails for good. */
async function startIfAsked({
  params,
  deps,
}: Context<unknown>): Promise<{ vm: VmId; host?: HostId; startProblem?: { code: string; detail: string } }> {
  if (!params.start) return { vm: params.vm }
  const wish = { vm: params.vm, host: null, isAsked: true }
  await changeVm(deps, params.vm, (vm) => (vm.power === 'on' ? vm : { ...vm, power: 'on' }))
  try {
    return { vm: params.vm, host: await startSomewhere(deps, wish, await chooseHost(deps, wish)) }
  } catch (thrown) {
    if (isUnknown(thrown)) throw thrown
    const { code, message } = toHoldfastError(thrown)
    await callOffStart(deps, params.vm)
    await changeVm(deps, params.vm, (vm) => (vm.power === 'off' ? vm : { ...vm, power: 'off' }))
    return { vm: params.vm, startProblem: { code, detail: message } }
  }
}
