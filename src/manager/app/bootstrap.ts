/** The objects that every inventory has from its first commit on. */
import { isoTime, type Clock } from '../../base/clock.ts'
import type { ClusterId, DatacenterId, FolderId, PoolId, ProjectId } from '../../base/ids.ts'
import type { Random } from '../../base/random.ts'
import type { ClusterRecord } from '../store/records.ts'
import type { Change, Store } from '../store/store.ts'
import { defaultCpuBaseline } from '../domain/cpu-baseline.ts'
import { nameClaim } from '../domain/names.ts'
import { newEvent, subjectOf } from './write.ts'

/** Makes cluster, datacenter, root folder, root pool and default project where the store has none yet. */
export async function bootstrap(
  store: Store,
  ports: { readonly clock: Clock; readonly random: Random },
  clusterName: string,
): Promise<ClusterRecord> {
  const existing = (await store.list('cluster')).items[0]
  if (existing !== undefined) return existing.value
  const base = { created: isoTime(ports.clock.now()), v: 1 as const }
  const ids = {
    cluster: (await store.nextId('cluster')) as ClusterId,
    datacenter: (await store.nextId('datacenter')) as DatacenterId,
    folder: (await store.nextId('folder')) as FolderId,
    pool: (await store.nextId('pool')) as PoolId,
    project: (await store.nextId('project')) as ProjectId,
  }
  const uuid = (): string => ports.random.uuid()
  const cluster: ClusterRecord = {
    ...base,
    id: ids.cluster,
    uuid: uuid(),
    name: clusterName,
    datacenter: ids.datacenter,
    cpuBaseline: defaultCpuBaseline,
    incarnation: 1,
  }
  const changes: Change[] = [
    // Two managers that start on one empty store: the claim lets one of them through.
    { do: 'create', kind: 'claim', value: { id: nameClaim('cluster', '', 'root'), v: 1, owner: ids.cluster } },
    { do: 'create', kind: 'cluster', value: cluster },
    {
      do: 'create',
      kind: 'datacenter',
      value: { ...base, id: ids.datacenter, uuid: uuid(), name: 'datacenter', folder: ids.folder },
    },
    { do: 'create', kind: 'folder', value: { ...base, id: ids.folder, uuid: uuid(), name: 'vms', parent: null } },
    {
      do: 'create',
      kind: 'pool',
      value: { ...base, id: ids.pool, uuid: uuid(), name: 'root', cluster: ids.cluster, parent: null },
    },
    {
      do: 'create',
      kind: 'project',
      value: { ...base, id: ids.project, uuid: uuid(), name: 'default', description: '' },
    },
  ]
  const events = [newEvent('cluster.created', subjectOf('cluster', cluster), `The cluster ${clusterName} was made`)]
  const result = await store.commit({ changes, events })
  return result.ok ? cluster : bootstrap(store, ports, clusterName)
}
