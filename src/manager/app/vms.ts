/** VMs: lists, changes, and the operations that the API begins on them. */
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId, TaskId, VmId } from '../../base/ids.ts'
import { MiB } from '../../base/units.ts'
import type { Vm } from '../../contracts/inventory.ts'
import type { ChangeVm, CreateVm, MigratePrecheck, MigrateVm, StartVm } from '../../contracts/vm-requests.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { CallOf, ReplyOf } from '../../contracts/routes.ts'
import { changeMachine, changesMachine } from '../domain/machine-change.ts'
import { changedPolicies } from '../domain/monitoring.ts'
import { precheckDiskMove } from '../domain/migrate-precheck.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { SagaDeps } from '../sagas/deps.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import { beginOperation, type Operation } from '../sagas/operation.ts'
import { handOverTarget, moveOperation } from '../sagas/protection-operations.ts'
import { createVmOperation } from '../sagas/vm-create.ts'
import { precheck } from '../sagas/vm-migrate.ts'
import * as operations from '../sagas/vm-operations.ts'
import type { VmSignal } from '../sagas/vm-signal.ts'
import type { VmRecord } from '../store/records.ts'
import type { Change } from '../store/store.ts'
import type { AppContext, Caller } from './context.ts'
import { dependenciesOf, mustHaveNoCycle } from './dependencies.ts'
import { listEvidence } from './guest-evidence.ts'
import { hasName, pageOf, type PageOf } from './pages.ts'
import { resolve } from './references.ts'
import { VmViews, type KeptView } from './views/vm-views.ts'
import { claim, need, newEvent, notFound, subjectOf, unclaim, write } from './write.ts'

export class Vms {
  readonly #context: AppContext
  readonly #engine: SagaEngine
  readonly #deps: SagaDeps
  readonly #views: VmViews

  constructor(context: AppContext, engine: SagaEngine, deps: SagaDeps) {
    this.#context = context
    this.#engine = engine
    this.#deps = deps
    this.#views = new VmViews(context.mirror, context.registry)
  }

  async list(query: CallOf<'listVms'>['query'] = {}): Promise<PageOf<Vm>> {
    const page = await this.#page(query)
    return { ...page, items: page.items.map(({ view }) => view) }
  }

  /** The same as JSON. */
  async listBytes(query: CallOf<'listVms'>['query'] = {}): Promise<Buffer> {
    return this.#views.pageBytes(await this.#page(query))
  }

  async get(id: string): Promise<Vm> {
    return (await this.#kept(id)).view
  }

  /** The same as JSON. */
  async getText(id: string): Promise<string> {
    return (await this.#kept(id)).text
  }

  async #page(query: NonNullable<CallOf<'listVms'>['query']>): Promise<PageOf<KeptView>> {
    const mirror = await this.#context.mirror.fresh()
    const all = mirror.list('vm')
    const named = query.name === undefined ? all : all.filter((vm) => hasName(vm, query.name))
    const viewsOf = (vms: readonly VmRecord[]): KeptView[] => vms.flatMap((vm) => this.#views.of(vm) ?? [])
    const { revision } = mirror
    // What needs no view is filtered and cut before views are made.
    if (query.state === undefined && query.host === undefined) {
      const page = pageOf(named, query)
      return { ...page, items: viewsOf(page.items), revision }
    }
    const states = query.state?.split(',')
    const host = query.host?.toLowerCase()
    const isAsked = ({ view }: KeptView): boolean =>
      (states === undefined || states.includes(view.state)) &&
      (host === undefined || view.hostId === host || view.host?.toLowerCase() === host)
    return { ...pageOf(viewsOf(named).filter(isAsked), query), revision }
  }

  async #kept(id: string): Promise<KeptView> {
    const mirror = await this.#context.mirror.fresh()
    const vm = mirror.get('vm', id)
    const kept = vm === undefined ? undefined : this.#views.of(vm)
    if (kept === undefined) throw notFound('vm', id)
    return kept
  }

  create(body: CreateVm, caller: Caller): Promise<TaskId> {
    const { mirror } = this.#context
    const [project, pool, folder] = [mirror.list('project')[0], mirror.list('pool')[0], mirror.list('folder')[0]]
    if (project === undefined || pool === undefined || folder === undefined) {
      throw new HoldfastError('internal', 'the inventory has no default project, pool or folder')
    }
    const home = { project: project.id, pool: pool.id, folder: folder.id }
    return this.#begin(caller, async () => {
      const dependsOn = dependenciesOf((await mirror.fresh()).list('vm'), body.dependsOn ?? [])
      return createVmOperation(this.#deps, body, { ...home, ...(dependsOn.length === 0 ? {} : { dependsOn }) })
    })
  }

  start(id: string, body: StartVm, caller: Caller): Promise<TaskId> {
    const host = this.#refs(body.host, undefined).host
    return this.#begin(caller, () => operations.startOperation(this.#deps, id as VmId, host, { isAsked: true }))
  }

  stop(id: string, caller: Caller): Promise<TaskId> {
    return this.#begin(caller, () => operations.stopOperation(this.#deps, id as VmId))
  }

  shutdown(id: string, timeoutSeconds: number | undefined, caller: Caller): Promise<TaskId> {
    return this.#begin(caller, () => operations.shutdownOperation(this.#deps, id as VmId, timeoutSeconds))
  }

  signal(id: string, signal: VmSignal, caller: Caller): Promise<TaskId> {
    return this.#begin(caller, () => operations.signalOperation(this.#deps, id as VmId, signal))
  }

  delete(id: string, caller: Caller): Promise<TaskId> {
    return this.#begin(caller, () => operations.deleteOperation(this.#deps, id as VmId))
  }

  /** With a datastore and no host the disks move alone. Throws `refused` with every reason. */
  async migrate(id: string, body: MigrateVm, caller: Caller): Promise<TaskId> {
    const { host, datastore } = this.#refs(body.host, body.datastore)
    const vm = id as VmId
    if (host === null && datastore !== null) {
      const checked = await this.#precheckDisks(vm, datastore)
      if (!checked.isPossible) throw refusedBy(checked)
      return this.#begin(caller, () => operations.moveDisksOperation(this.#deps, vm, datastore))
    }
    return this.#begin(caller, () => moveOperation(this.#deps, vm, body, host, datastore))
  }

  async precheck(id: string, body: MigrateVm): Promise<MigratePrecheck> {
    const { host, datastore } = this.#refs(body.host, body.datastore)
    const { value } = await need(this.#context.store, 'vm', id)
    if (host === null && datastore !== null) return this.#precheckDisks(value.id, datastore)
    const second = await handOverTarget(this.#deps, value.id, { host, movesDisks: datastore !== null })
    if (second !== undefined) return this.#possible(second, 0, [])
    const result = await precheck(this.#deps, {
      ...{ vm: value.id, host, datastore },
      needsPostCopy: body.allowPostCopy === true,
      ignoresRules: body.force === true,
    })
    if (!result.ok) return { isPossible: false, reasons: [...result.reasons], plan: null }
    const { target, movingDisks, spec } = result.plan
    return this.#possible(target, spec.memoryMiB * MiB, movingDisks)
  }

  async #precheckDisks(id: VmId, datastore: DatastoreId): Promise<MigratePrecheck> {
    const cluster = await this.#context.cluster()
    const vm = cluster.vms.find((each) => each.id === id)
    if (vm === undefined) throw notFound('vm', id)
    const result = precheckDiskMove(cluster, vm, datastore)
    if (!result.ok) return { isPossible: false, reasons: [...result.reasons], plan: null }
    return this.#possible(result.host, 0, result.disks)
  }

  #possible(host: HostId, memoryBytes: number, disks: readonly { readonly sizeBytes: number }[]): MigratePrecheck {
    const name = this.#context.mirror.get('host', host)?.name ?? host
    const movingDiskBytes = disks.reduce((sum, disk) => sum + disk.sizeBytes, 0)
    return { isPossible: true, reasons: [], plan: { host: name, memoryBytes, movingDiskBytes } }
  }

  #refs(
    host: string | undefined,
    datastore: string | undefined,
  ): { host: HostId | null; datastore: DatastoreId | null } {
    const { mirror } = this.#context
    return {
      host: host === undefined ? null : resolve('host', mirror.list('host'), host).id,
      datastore: datastore === undefined ? null : resolve('datastore', mirror.list('datastore'), datastore).id,
    }
  }

  /** Renames or changes a VM. Throws `conflict` (the revision that was named is old), `name-taken`, `wrong-state`. */
  async change(id: string, body: ChangeVm, caller: Caller): Promise<Vm> {
    const { store } = this.#context
    await write(store, async () => {
      const { value: vm, revision } = await need(store, 'vm', id)
      if (body.revision !== undefined && body.revision !== revision) {
        throw new HoldfastError('conflict', `${vm.name} was changed meanwhile`, {
          revision,
          mend: 'Read it again and decide again.',
        })
      }
      const next = await this.#changed(vm, body)
      return {
        changes: [
          { do: 'update', kind: 'vm', value: next, expected: revision },
          ...(await this.#nameChanges(vm, next.name)),
        ],
        events: [newEvent('vm.changed', subjectOf('vm', next), `${next.name} was changed`, { by: caller.name })],
        value: undefined,
      }
    })
    return this.get(id)
  }

  async #changed(vm: VmRecord, body: ChangeVm): Promise<VmRecord> {
    const problem = body.name === undefined ? undefined : nameProblem(body.name)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem, { field: 'name' })
    const isOfMachine = changesMachine(body)
    if (isOfMachine) await this.#mustBeAtRest(vm)
    return {
      ...vm,
      name: body.name ?? vm.name,
      description: body.description ?? vm.description,
      ...(body.dependsOn === undefined ? {} : { dependsOn: await this.#dependencies(vm, body.dependsOn) }),
      policies: changedPolicies(vm.policies, body.policies),
      spec: isOfMachine ? changeMachine(await this.#context.cluster(), vm.spec, body) : vm.spec,
    }
  }

  async #dependencies(vm: VmRecord, asked: NonNullable<ChangeVm['dependsOn']>): Promise<VmDependency[]> {
    const vms = (await this.#context.mirror.fresh()).list('vm')
    const dependsOn = dependenciesOf(vms, asked)
    mustHaveNoCycle(vms, vm, dependsOn)
    return dependsOn
  }

  async #mustBeAtRest(vm: VmRecord): Promise<void> {
    const { value } = await need(this.#context.store, 'run', vm.id)
    if (value.run.phase === 'stopped' && vm.operation === null) return
    throw new HoldfastError('wrong-state', `the machine of ${vm.name} changes only while it is stopped`, {
      mend: 'Shut it down first. Name, description and policies change at any time.',
    })
  }

  async #nameChanges(vm: VmRecord, name: string): Promise<Change[]> {
    const { store } = this.#context
    const [before, after] = [nameClaim('vm', vm.project, vm.name), nameClaim('vm', vm.project, name)]
    if (before === after) return []
    const taken = (): HoldfastError =>
      new HoldfastError('name-taken', `there is a VM ${name} already`, { mend: 'Choose another name.' })
    return [await claim(store, after, vm.id, taken), ...(await unclaim(store, before, vm.id))]
  }

  /** What was kept of its guest from before resets. */
  evidence(id: string, query: CallOf<'listEvidence'>['query'] = {}): Promise<ReplyOf<'listEvidence'>> {
    return listEvidence(this.#context, id, query.content === true)
  }

  #begin<Params>(caller: Caller, build: () => Promise<Operation<Params>>): Promise<TaskId> {
    return beginOperation(this.#engine, caller, build)
  }
}

function refusedBy(checked: MigratePrecheck): HoldfastError {
  const message = checked.reasons.map((reason) => reason.message).join('; ')
  return new HoldfastError('refused', message, { reasons: checked.reasons, mend: 'Choose another datastore.' })
}
