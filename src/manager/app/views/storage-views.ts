/** Datastores and images as the API shows them. */
import type { Datastore, Image } from '../../../contracts/inventory.ts'
import type { DatastoreObservation } from '../../../contracts/host.ts'
import { isMountedOn } from '../../domain/cluster-view.ts'
import type { DatastoreRecord, HostRecord, ImageRecord } from '../../store/records.ts'
import type { HostRegistry } from '../host-registry.ts'
import { objectView } from './object-view.ts'

export function datastoreView(
  record: DatastoreRecord,
  revision: number,
  world: { readonly registry: HostRegistry; readonly hosts: readonly HostRecord[] },
): Datastore {
  const mounts = world.hosts.filter((host) => isMountedOn(record, host.id))
  const seen = mounts.flatMap((host) => {
    if (!world.registry.isConnected(host.id)) return []
    const found = world.registry.report(host.id)?.datastores.find((each) => each.datastore === record.id)
    return found === undefined ? [] : [{ host, found }]
  })
  const usable = seen.find(({ found }) => found.isUsable)?.found
  const broken = seen.find(({ found }) => !found.isUsable)
  return {
    ...objectView(record, revision),
    datacenter: record.datacenter,
    kind: record.kind,
    isShared: record.isShared,
    mounts: mounts.map((host) => ({ host: host.id, hostName: host.name, path: record.path })),
    totalBytes: usable?.totalBytes ?? null,
    freeBytes: usable?.freeBytes ?? null,
    isUsable: usable !== undefined,
    problem: broken === undefined ? silence(usable) : `${broken.host.name}: ${broken.found.problem ?? 'not usable'}`,
  }
}

function silence(usable: DatastoreObservation | undefined): string | null {
  return usable === undefined ? 'no connected host has reported it yet' : null
}

export function imageView(record: ImageRecord, revision: number): Image {
  return {
    ...objectView(record, revision),
    datastore: record.datastore,
    format: record.format,
    virtualBytes: record.virtualBytes,
    fileBytes: record.fileBytes,
    sha256: record.sha256,
    state: record.state,
  }
}
