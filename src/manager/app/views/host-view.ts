/** A host as the API shows it. */
import type { HostId } from '../../../base/ids.ts'
import type { HostFence } from '../../../contracts/fence.ts'
import type { LeaseState } from '../../../contracts/host-lease.ts'
import type { Host } from '../../../contracts/inventory.ts'
import { sightOf } from '../../domain/host-sight.ts'
import type { HostFenceRecord, HostPromiseRecord, HostRecord } from '../../store/records.ts'
import { hostsHeldBy, type VmView } from '../../domain/cluster-view.ts'
import { committedMiB } from '../../domain/host-load.ts'
import type { HostRegistry } from '../host-registry.ts'
import type { Mirror } from '../mirror.ts'
import { objectView } from './object-view.ts'

export interface HostWorld {
  readonly registry: HostRegistry
  readonly mirror: Pick<Mirror, 'get' | 'list'>
  readonly vms: readonly VmView[]
}

/** Reports make `vms` and `load`; what is promised comes from the records. */
export function hostView(record: HostRecord, revision: number, world: HostWorld): Host {
  const known = world.registry.known(record.id)
  return {
    ...objectView(record, revision),
    cluster: record.cluster,
    state: world.registry.stateOf(record),
    maintenance: record.maintenance,
    lastSeen: known?.lastSeen ?? null,
    addresses: record.addresses,
    facts: known?.report.facts ?? record.facts,
    load: known?.report.load ?? null,
    datastores: known?.report.datastores ?? [],
    networks: known?.report.networks ?? [],
    vmCount: vmCountOf(world.vms, record.id),
    committedMiB: committedMiB({ vms: world.vms }, record.id),
    clockSkewMs: known?.clockSkewMs ?? null,
    lease: leaseView(world.mirror.get('promise', record.id), known?.report.lease?.state),
    seenBy: seenBy(record, world),
    upgraded: record.upgraded ?? null,
    fence: fenceView(record.fence ?? null),
  }
}

/** Of secrets only the names. */
function fenceView(fence: HostFenceRecord | null): HostFence | null {
  if (fence === null) return null
  const { test } = fence
  const lie = fence.lied == null ? null : `said at ${fence.lied.at} that it was off, while it went on reporting`
  const problem = lie ?? test?.problem ?? null
  return {
    levels: fence.levels.map((level) =>
      level.map(({ agent, options, secrets }) => ({ agent, options, secrets: Object.keys(secrets) })),
    ),
    then: fence.then,
    state: problem !== null ? 'failing' : test === null ? 'untested' : 'ok',
    problem,
    testedAt: test?.testedAt ?? null,
  }
}

function leaseView(promise: HostPromiseRecord | undefined, state: LeaseState | 'unheard' = 'unheard'): Host['lease'] {
  if (promise === undefined) return null
  const { round, armed, watchdogMs } = promise.promise
  return { state: promise.isClosed ? 'over' : state, round, armed, watchdogMs }
}

function seenBy(record: HostRecord, { registry, mirror }: HostWorld): Host['seenBy'] {
  if (registry.stateOf(record) !== 'unreachable') return []
  const { by } = sightOf(record.id, registry.sightings(mirror.list('host')))
  return by.map(({ by: who, look: { network, storage } }) => ({
    ...{ host: mirror.get('host', who)?.name ?? who, network, storage },
  }))
}

/** VMs that run, arrive or start on a host. */
export function vmCountOf(vms: readonly VmView[], host: HostId): number {
  return vms.filter((vm) => hostsHeldBy(vm).includes(host)).length
}
