/**
 * The manager: the only door of server/. Opened over a store; it bootstraps an empty inventory, takes open tasks up
 * again, and keeps its loops until it is disposed. The store belongs to whoever opened it.
 */
import type { Clock } from '../../base/clock.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import { FenceHosts } from '../reconcilers/fence-hosts.ts'
import { FenceTests } from '../reconcilers/fence-tests.ts'
import { Nudges } from '../reconcilers/nudges.ts'
import type { ReconcilerDeps } from '../reconcilers/deps.ts'
import { Reconcilers } from '../reconcilers/reconcilers.ts'
import type { MaintenanceDeps } from '../sagas/host-maintenance.ts'
import type { OperationsPort } from '../sagas/deps.ts'
import { registerSagas } from '../sagas/all.ts'
import type { FenceDeps } from '../sagas/fence-deps.ts'
import { fenceCycleSaga } from '../sagas/host-fence-cycle.ts'
import { fenceHostSaga } from '../sagas/host-fence.ts'
import { SagaEngine, type EngineOptions } from '../sagas/engine.ts'
import { HostPromises } from '../sagas/host-promises.ts'
import { managersArbiter, type ManagersArbiter } from '../sagas/managers-arbiter.ts'
import { beginOperation } from '../sagas/operation.ts'
import { leaveOperation } from '../sagas/protection-operations.ts'
import { registerUpgrades } from '../sagas/upgrades.ts'
import type { HostRecord } from '../store/records.ts'
import type { Store } from '../store/store.ts'
import { Access } from './access.ts'
import { alarmParts, sealedOf, type AlarmOptions, type AlarmParts } from './alarm-parts.ts'
import type { ApiHandlers, ReadyAnswers } from './api.ts'
import { bootstrap } from './bootstrap.ts'
import type { CertificateEnds } from './certificate-ends.ts'
import { Cluster } from './cluster.ts'
import { clusterSnapshot } from './cluster-snapshot.ts'
import { Consoles } from './consoles.ts'
import type { AppContext } from './context.ts'
import { Datastores } from './datastores.ts'
import { Events } from './events.ts'
import { fencePort, type FencingParts } from './fence-devices.ts'
import { Fencing } from './fencing.ts'
import { apiHandlers, readyAnswers } from './handlers.ts'
import { HostLeases } from './host-leases.ts'
import { HostRegistry } from './host-registry.ts'
import { HostReports } from './host-reports.ts'
import { Hosts } from './hosts.ts'
import { Housekeeping } from './housekeeping.ts'
import { Idempotency } from './idempotency.ts'
import { Images } from './images.ts'
import { Joins, type CertificateSigner } from './joins.ts'
import { lazyAgent } from './lazy-agent.ts'
import { ManagerJoins, type HandOver } from './manager-joins.ts'
import { allUrls, Managers, type ManagersPort } from './managers.ts'
import { Mirror } from './mirror.ts'
import { Networks } from './networks.ts'
import { Protections } from './protections.ts'
import { Rules } from './rules.ts'
import { RunRecords } from './run-records.ts'
import { Tasks } from './tasks.ts'
import { Upgrades } from './upgrades.ts'
import { Uploads } from './uploads.ts'
import { Vms } from './vms.ts'
import { need } from './write.ts'

export interface ManagerOptions extends Pick<EngineOptions, 'retryPauses' | 'stuckPauses'>, AlarmOptions {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly authority: CertificateSigner
  /** A client of the agent of a host, for one call or many. */
  readonly agents: (host: HostRecord) => AgentApi
  readonly version: string
  /** Where this manager is asked by hosts, `https://…` each; none while it serves nobody. */
  readonly urls?: () => readonly string[]
  /** Several managers share the store: hosts get leases. Default: this one is alone, and its absence stops nothing. */
  readonly isClustered?: boolean
  /** What switches lost hosts off; absent: this manager fences nobody by itself. */
  readonly fencing?: FencingParts
  /** Of a cluster that is made now. */
  readonly clusterName?: string
  /**
   * Whether at this moment this manager's own lease of the lead, counted from before its last renewal was asked, is still valid.
   * Absent: it is the only one.
   */
  readonly holdsLead?: () => boolean
  /** Who the managers of the cluster are. Absent: this one alone, which is not written down. */
  readonly managers?: ManagersPort
  /** What one more manager is given. Absent: there cannot be one. */
  readonly handOver?: HandOver
}

/** The name by which every manager is known to those who pin the CA. */
export const managerTlsName = 'manager.holdfast'

/** How long tasks may come to the end of their step when the manager stops. */
const drainMs = 3000

interface ManagerParts {
  readonly context: AppContext
  readonly engine: SagaEngine
  readonly deps: MaintenanceDeps
  readonly fenceDeps: FenceDeps
  readonly alarms: AlarmParts
}

export class Manager implements AsyncDisposable {
  readonly version: string
  /** See `ManagerOptions`. */
  readonly holdsLead: () => boolean
  readonly api: ApiHandlers
  readonly ready: ReadyAnswers
  readonly access: Access
  /** The managers as the arbiter of VMs that are held in step on two hosts. */
  readonly arbiter: ManagersArbiter
  /** When the certificates end that hosts have shown. */
  readonly certificateEnds: CertificateEnds
  readonly consoles: Consoles
  readonly events: Events
  readonly idempotency: Idempotency
  readonly joins: Joins
  readonly managers: Managers
  readonly managerJoins: ManagerJoins
  readonly leases: HostLeases
  readonly reports: HostReports
  readonly runRecords: RunRecords
  readonly uploads: Uploads
  readonly tasks: Tasks
  readonly engine: SagaEngine
  readonly #context: AppContext
  readonly #resources: AsyncDisposableStack

  private constructor(options: ManagerOptions, parts: ManagerParts, resources: AsyncDisposableStack) {
    const { context, engine, deps, fenceDeps } = parts
    const { alarms, notificationTargets, certificateEnds } = parts.alarms
    this.certificateEnds = certificateEnds
    this.version = options.version
    this.holdsLead = options.holdsLead ?? (() => true)
    this.#context = context
    this.#resources = resources
    this.engine = engine
    this.access = new Access(context)
    this.arbiter = managersArbiter(context.store)
    this.consoles = new Consoles(context)
    this.events = new Events(context)
    this.managers = new Managers(context, {
      ...{ port: options.managers, own: options.urls ?? (() => []), access: this.access },
    })
    this.managerJoins = new ManagerJoins(context, {
      ...{ access: this.access, managers: this.managers },
      handOver: options.handOver,
    })
    this.joins = new Joins(context, options.authority, this.managers)
    const { holdsLead } = this
    this.leases = new HostLeases(context, { isClustered: options.isClustered ?? false, holdsLead })
    this.reports = new HostReports(context, this.leases, this.managers)
    this.runRecords = new RunRecords(context)
    this.uploads = new Uploads(context)
    this.tasks = new Tasks(context, engine)
    const { access, consoles, events, joins, uploads, tasks } = this
    const datastores = new Datastores(context)
    const networks = new Networks(context)
    const rules = new Rules(context)
    const vms = new Vms(context, engine, deps)
    this.idempotency = idempotencyOf(options, { tasks, datastores, networks, uploads, rules })
    this.ready = readyAnswers(vms)
    this.api = apiHandlers({
      ...{ access, alarms, consoles, events, joins, notificationTargets, uploads, tasks },
      cluster: new Cluster(context, options.version),
      datastores,
      fencing: new Fencing(context, engine, fenceDeps, options.fencing),
      hosts: new Hosts(context, engine),
      images: new Images(context, engine, uploads),
      managers: this.managers,
      managerJoins: this.managerJoins,
      networks,
      protections: new Protections(context, engine, deps),
      rules,
      upgrades: new Upgrades(context, engine),
      vms,
    })
  }

  static async open(options: ManagerOptions): Promise<Manager> {
    const { store, clock, random, logger } = options
    await using made = new AsyncDisposableStack()
    await bootstrap(store, { clock, random }, options.clusterName ?? 'holdfast')
    const mirror = made.use(await Mirror.open({ store, clock, logger }))
    const registry = new HostRegistry(clock)
    const context = contextOf(options, mirror, registry)
    const engine = new SagaEngine(options)
    made.defer(() => engine.close(drainMs))
    const deps = sagaDeps(context, engine, () => allUrls(context.mirror, options.urls?.() ?? []))
    registerSagas(engine, deps)
    registerUpgrades(engine, deps)
    const nudges = new Nudges()
    const fenceDeps = fencingDeps(options, deps, context, nudges)
    engine.register(fenceHostSaga, fenceDeps)
    engine.register(fenceCycleSaga, fenceDeps)
    const alarms = alarmParts(context, await sealedOf(options.authority, random), options.version, options)
    const manager = new Manager(options, { context, engine, deps, fenceDeps, alarms }, new AsyncDisposableStack())
    const { resumed, unknown } = await engine.recover()
    if (resumed.length + unknown.length > 0) logger.info({ resumed, unknown }, 'open tasks were taken up')
    const housekeeping = made.use(new Housekeeping(context, manager.reports, manager.managers))
    housekeeping.start()
    // What waits for a host goes on as soon as that host is heard of again.
    const back = registry.onReport((_host, wasAway) => (wasAway ? engine.nudge() : undefined))
    made.defer(() => back[Symbol.dispose]())
    const begin: ReconcilerDeps['begin'] = (name, build) => beginOperation(engine, { name }, build)
    const fencers = { ...fenceDeps, inventory: mirror, begin }
    const fencing = options.fencing === undefined ? [] : [new FenceHosts(fencers), new FenceTests(fencers)]
    const forReconcilers = { ...deps, inventory: mirror, begin, nudge: () => engine.nudge(), nudges }
    made.use(Reconcilers.start(forReconcilers, [...fencing, ...alarms.reconcilers(manager.managers)]))
    manager.#resources.use(made.move())
    return manager
  }

  /** The newest commit that this manager has seen. */
  get revision(): number {
    return this.#context.mirror.revision
  }

  /** UUID of the cluster. */
  async clusterUuid(): Promise<string> {
    return (await this.api.getCluster({ params: {} }, { caller: nobody, signal: new AbortController().signal })).uuid
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#resources.disposeAsync()
  }
}

const nobody = { name: 'the manager', role: 'reader', id: 'manager' } as const

/** What a repeated request is answered with, of what the first one made. */
function idempotencyOf(
  { store, clock }: ManagerOptions,
  made: {
    readonly tasks: Tasks
    readonly datastores: Datastores
    readonly networks: Networks
    readonly uploads: Uploads
    readonly rules: Rules
  },
): Idempotency {
  return new Idempotency(store, clock, {
    task: (id) => made.tasks.get(id),
    datastore: (id) => made.datastores.get(id),
    network: (id) => made.networks.get(id),
    upload: (id) => made.uploads.get(id),
    rule: (id) => made.rules.get(id),
  })
}

function contextOf(options: ManagerOptions, mirror: Mirror, registry: HostRegistry): AppContext {
  const { store, clock, random, logger, agents } = options
  return {
    ...{ store, clock, random, logger, mirror, registry },
    agent: (host: HostId) =>
      lazyAgent(async () => agents(mirror.get('host', host) ?? (await need(store, 'host', host)).value)),
    cluster: async () => clusterSnapshot(await mirror.fresh(), registry),
  }
}

function fencingDeps(
  options: ManagerOptions,
  deps: MaintenanceDeps,
  { mirror, registry }: AppContext,
  nudges: Nudges,
): FenceDeps {
  return {
    ...deps,
    fence: fencePort(options.fencing, options.holdsLead ?? (() => true)),
    runs: () => mirror.list('run'),
    markOff: (host, mark) => registry.markOff(host, mark),
    lookNow: (reconciler) => nudges.nudge(reconciler),
  }
}

function sagaDeps(context: AppContext, engine: SagaEngine, urls: () => readonly string[]): MaintenanceDeps {
  const { store, clock, random, logger, registry } = context
  const deps = {
    ...{ store, clock, random, log: logger, cluster: () => context.cluster(), promises: new HostPromises(clock) },
    managers: { urls, tlsName: managerTlsName },
    hosts: {
      agent: (host: HostId) => context.agent(host),
      report: (host: HostId) => registry.report(host),
      observation: (host: HostId | null, vm: VmId) => registry.observation(host, vm),
      silentMs: (host: HostId) => registry.silentMs(host),
      steadyMs: (host: HostId) => registry.steadyMs(host),
      stateOf: (record: HostRecord) => registry.stateOf(record),
      giveUpLease: (host: HostId, silentMs: number) => registry.giveUpLease(host, silentMs),
      keepLease: (host: HostId) => registry.keepLease(host),
    },
  }
  const operations: OperationsPort = {
    leaveHost: (vm: VmId, host: HostId, startedBy: string) =>
      beginOperation(engine, { name: startedBy }, () => leaveOperation(deps, vm, host)),
    ended: async (task: TaskId, signal: AbortSignal) => (await engine.wait(task, signal)).record,
    cancel: async (task: TaskId) => {
      await engine.cancel(task)
    },
  }
  return { ...deps, operations }
}
