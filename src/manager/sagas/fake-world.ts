/** Test code: an inventory with three hosts, a shared and three local datastores, one network, and VMs as a test needs them. */
import type { DatastoreId, DiskId, HostId, NetworkId, TaskId, VmId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import type { HostFacts, HostReport } from '../../contracts/host.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { MachineSpec } from '../../contracts/machine-spec.ts'
import { aFacts, aNetwork, aSpec } from '../domain/cluster-fixture.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import { nameClaim } from '../domain/names.ts'
import type { HostRecord, Records, VmRecord } from '../store/records.ts'
import type { Change, Store } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { FakeAgents } from './fake-agents.ts'
import { HostPromises } from './host-promises.ts'
import { startingOn } from './starting-on.ts'
import { neverStarted } from './vm-create.ts'

export const hostIds = ['host-1', 'host-2', 'host-3'] as HostId[]
export const [host1, host2, host3] = hostIds as [HostId, HostId, HostId]
export const shared = 'ds-1' as DatastoreId
/** Local to host-1, host-2, host-3. */
export const locals = ['ds-2', 'ds-3', 'ds-4'] as [DatastoreId, DatastoreId, DatastoreId]
export const net = 'net-1' as NetworkId
export const vm1 = 'vm-1' as VmId
export const disk1 = 'disk-1' as DiskId
const time = '2030-01-01T00:00:00.000Z'
const base = { created: time, v: 1 as const, uuid: '00000000-0000-4000-8000-000000000000' }

export const facts: HostFacts = {
  ...aFacts,
  cpu: { ...aFacts.cpu, flags: ['sse4_1', 'sse4_2', 'ssse3', 'popcnt', 'cx16', 'lahf_lm', 'aes'] },
}

export interface FakeWorld {
  readonly agents: FakeAgents
  readonly deps: SagaDeps
  /** Hosts that a person has confirmed off. */
  readonly off: Set<HostId>
}

export interface Ports {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
}

/** Fills an empty store with hosts, datastores and a network. */
export async function fakeWorld({ store, clock, random }: Ports): Promise<FakeWorld> {
  const agents = new FakeAgents(store, clock)
  for (const host of hostIds) agents.agent(host)
  await fillInventory(store)
  const off = new Set<HostId>()
  const stateOf = (record: HostRecord): Host['state'] => {
    if (agents.agent(record.id).isUp) return 'connected'
    return record.confirmedOff || off.has(record.id) ? 'confirmed-off' : 'unreachable'
  }
  const hosts: SagaDeps['hosts'] = {
    agent: (host) => agents.agent(host).asApi(),
    report: (host) => ({ ...reportOf(host), vms: agents.agent(host).observations }),
    observation: (host, vm) =>
      host !== null && agents.agent(host).isUp
        ? agents.agent(host).observations.find((each) => each.vm === vm)
        : undefined,
    silentMs: () => 0,
    steadyMs: () => 600_000,
    stateOf,
    giveUpLease: () => false,
    keepLease: () => undefined,
  }
  const promises = new HostPromises(clock)
  const deps: SagaDeps = {
    store,
    hosts,
    promises,
    managers: { urls: () => ['https://10.0.0.9:7443'], tlsName: 'manager.holdfast' },
    clock,
    random,
    log: silentLogger,
    cluster: () => readCluster(store, hosts),
  }
  return { agents, deps, off }
}

async function fillInventory(store: Store): Promise<void> {
  const dc = { ...base, datacenter: 'dc-1' }
  const cluster = { ...dc, id: 'cluster-1', name: 'c', cpuBaseline: 'x86-64-v2', incarnation: 1 } as Records['cluster']
  const folder = { ...dc, kind: 'folder', path: '/d' }
  const local = (id: DatastoreId, at: number) =>
    ({
      ...folder,
      id,
      name: `local-${at + 1}`,
      isShared: false,
      hosts: [hostIds[at]],
    }) as unknown as Records['datastore']
  const everywhere = {
    ...folder,
    id: shared,
    name: 'shared',
    isShared: true,
    hosts: [],
  } as unknown as Records['datastore']
  await create(store, [
    ['cluster', cluster],
    ...hostIds.map((id, at) => ['host', hostRecord(id, at)] as const),
    ['datastore', everywhere],
    ...locals.map((id, at) => ['datastore', local(id, at)] as const),
    ['network', network()],
  ])
}

async function create(
  store: Store,
  records: readonly (readonly [keyof Records, Records[keyof Records]])[],
): Promise<void> {
  const changes = records.map(([kind, value]) => ({ do: 'create', kind, value }) as Change)
  const result = await store.commit({ changes, events: [] })
  if (!result.ok) throw new Error('the fake world could not be written')
}

function hostRecord(id: HostId, at: number): HostRecord {
  const addresses = { management: `10.0.0.${at + 1}`, storage: `10.1.0.${at + 1}`, guests: `10.2.0.${at + 1}` }
  return {
    ...base,
    id,
    name: id.replace('-', ''),
    cluster: 'cluster-1' as HostRecord['cluster'],
    addresses,
    agentPort: 1,
    tlsName: `${id}.holdfast`,
    certificateFingerprint: '',
    maintenance: 'off',
    confirmedOff: false,
    facts,
  }
}

function network(): Records['network'] {
  return { ...aNetwork, ...base, datacenter: 'dc-1' as Records['network']['datacenter'], externalPeers: [] }
}

function reportOf(host: HostId): HostReport {
  const at = hostIds.indexOf(host)
  const observed = { path: '/', isUsable: true, problem: null, totalBytes: 2 ** 40, freeBytes: 2 ** 39 }
  return {
    host,
    session: 's',
    sequence: 1,
    sentAt: time,
    facts,
    load: { load1: 0, cpuUsed: 0, memoryUsedMiB: 0 },
    vms: [],
    datastores: [shared, locals[at] ?? shared].map((datastore) => ({ datastore, ...observed })),
    networks: [{ network: net, bridge: 'b', isUp: true, problem: null, mtu: 1500 }],
    configurationDigest: '',
    jobs: [],
  }
}

/** The snapshot for decisions, straight from the store. */
export async function readCluster(store: Store, hosts: SagaDeps['hosts']): Promise<ClusterView> {
  const values = async <K extends keyof Records>(kind: K): Promise<Records[K][]> =>
    (await store.list(kind)).items.map(({ value }) => value)
  const [runs, tasks] = [await values('run'), await values('task')]
  return {
    cpuBaseline: (await values('cluster'))[0]?.cpuBaseline ?? '',
    hosts: (await values('host')).map((host) => {
      const report = hosts.report(host.id)
      const { datastores = [], networks = [] } = report ?? {}
      return { ...host, state: hosts.stateOf(host), facts: report?.facts ?? null, datastores, networks, load1: 0 }
    }),
    datastores: await values('datastore'),
    networks: await values('network'),
    images: await values('image'),
    vms: (await values('vm')).flatMap((vm) => {
      const run = runs.find((each) => each.id === vm.id)?.run
      const task = tasks.find((each) => each.id === vm.operation)
      return run === undefined ? [] : [{ ...vm, run, startingOn: startingOn(task) }]
    }),
  }
}

export function machineSpec(disks: readonly { disk: DiskId; datastore: DatastoreId }[]): MachineSpec {
  return aSpec({
    memoryMiB: 256,
    disks: disks.map(({ disk, datastore }, at) => ({
      key: at + 1,
      disk,
      datastore,
      format: 'qcow2',
      bus: 'virtio',
      sizeBytes: 2 ** 30,
      slot: `0${at + 3}`,
    })),
    nextKey: disks.length + 1,
  })
}

/** A VM of this inventory with its disk's file; on a host it runs there already. */
export async function addVm(
  world: FakeWorld,
  where: { on: HostId | null; datastore: DatastoreId; name?: string },
): Promise<VmRecord> {
  const { store } = world.deps
  const disk = (await store.nextId('disk')) as DiskId
  const name = where.name ?? 'one'
  const spec = machineSpec([{ disk, datastore: where.datastore }])
  const vm = {
    ...base,
    id: (await store.nextId('vm')) as VmId,
    name,
    description: '',
    project: 'project-1',
    pool: 'pool-1',
    folder: 'folder-1',
    power: where.on === null ? 'off' : 'on',
    spec,
    policies: { allowPostCopy: false, autoConverge: true, restart: 'on-failure' },
    operation: null,
  } as unknown as VmRecord
  await create(store, [
    ['vm', vm],
    ['run', neverStarted(vm.id, time, 1)],
    ['disk', { id: disk, v: 1, datastore: where.datastore, vm: vm.id, sizeBytes: 2 ** 30, kind: 'disk' }],
    ['claim', { id: nameClaim('vm', 'project-1', name), v: 1, owner: vm.id }],
  ])
  world.agents.files.add(`${where.datastore}/${disk}`)
  if (where.on !== null) {
    const deployment = { vm: vm.id, name: vm.name, spec, generation: 0, networks: [], leases: [], images: [] }
    await world.agents.agent(where.on).start(deployment)
  }
  return vm
}

/** The id of the task that a suite begins. */
export const firstTask = 'task-1' as TaskId
