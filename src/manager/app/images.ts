/** Images: what disks, CD-ROMs and kernels are made from. */
import { HoldfastError } from '../../base/errors.ts'
import type { DatacenterId, DatastoreId, HostId, TaskId } from '../../base/ids.ts'
import type { Image, ImportImage } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { hostsReaching, imagesOf, type ClusterView } from '../domain/cluster-view.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import { forgetImage, importImageOperation, type ImportImageParams } from '../sagas/image-import.ts'
import { beginOperation } from '../sagas/operation.ts'
import type { AppContext, Caller } from './context.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import { resolve } from './references.ts'
import type { Uploads } from './uploads.ts'
import { imageView } from './views/storage-views.ts'
import { need, newEvent, subjectOf, write } from './write.ts'

type Place = Pick<ImportImageParams, 'datastore' | 'host' | 'source'>

export class Images {
  readonly #context: AppContext
  readonly #engine: SagaEngine
  readonly #uploads: Uploads

  constructor(context: AppContext, engine: SagaEngine, uploads: Uploads) {
    this.#context = context
    this.#engine = engine
    this.#uploads = uploads
  }

  async list(query: CallOf<'listImages'>['query'] = {}): Promise<PageOf<Image>> {
    const mirror = await this.#context.mirror.fresh()
    const page = namedPageOf(mirror.list('image'), query)
    const items = page.items.map((record) => imageView(record, mirror.revisionOf('image', record.id)))
    return { items, next: page.next, revision: mirror.revision }
  }

  /** Throws `invalid-request`, `name-taken`, `not-found`, `wrong-state` (an upload that is not complete), `unreachable`. */
  async import(body: ImportImage, caller: Caller): Promise<TaskId> {
    const problem = sourceProblem(body)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
    const place = await this.#placeOf(body)
    const wish = {
      ...{ name: body.name, datacenter: this.#datacenter(), ...place },
      ...{ expectFormat: body.format ?? null, sha256: body.sha256 ?? null },
    }
    return beginOperation(this.#engine, caller, () => importImageOperation(this.#context, wish))
  }

  /** Images have one name space: people name them without saying where they are. */
  #datacenter(): DatacenterId {
    const datacenter = this.#context.mirror.list('datacenter')[0]
    if (datacenter === undefined) throw new HoldfastError('internal', 'the inventory has no datacenter')
    return datacenter.id
  }

  /** Deletes the file, then the record. Refused with `wrong-state` while a VM has it at hand or it is being imported. */
  async delete(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    const { value } = await need(store, 'image', id)
    const cluster = await this.#context.cluster()
    if (value.state === 'importing') {
      throw new HoldfastError('wrong-state', `${value.name} is being imported`, { mend: 'Cancel that task instead.' })
    }
    const users = cluster.vms.filter((vm) => imagesOf(vm.spec).includes(value.id))
    if (users.length > 0) {
      const names = users.slice(0, 5).map((vm) => vm.name)
      throw new HoldfastError('wrong-state', `VMs have ${value.name} at hand: ${names.join(', ')}`, {
        mend: 'Delete them first, or take it out of their drives.',
        vms: users.map((vm) => vm.id),
      })
    }
    const host = hostFor(cluster, value.datastore)
    await this.#context.agent(host).deleteImage(value.id, value.datastore)
    await forgetImage(this.#context, { image: value.id, datacenter: this.#datacenter(), name: value.name })
    await write(store, async () => ({
      changes: [],
      events: [
        newEvent('image.deleted', subjectOf('image', value), `The image ${value.name} was deleted`, {
          by: caller.name,
        }),
      ],
      value: undefined,
    }))
    return null
  }

  async #placeOf(body: ImportImage): Promise<Place> {
    if (body.upload !== undefined) {
      const { value } = await this.#uploads.need(body.upload)
      const { offset } = await this.#uploads.get(body.upload)
      if (offset !== value.sizeBytes) {
        throw new HoldfastError('wrong-state', `the upload has ${offset} of ${value.sizeBytes} bytes`, {
          mend: `Send the rest from offset ${offset} on.`,
          offset,
        })
      }
      return { datastore: value.datastore, host: value.host, source: { kind: 'upload', path: value.id } }
    }
    const cluster = await this.#context.cluster()
    const datastore = datastoreFor(cluster, body.datastore)
    const source = { kind: 'path' as const, path: body.path ?? '' }
    if (body.host === undefined) return { datastore, host: hostFor(cluster, datastore), source }
    const host = resolve('host', cluster.hosts, body.host)
    if (hostsReaching(cluster, datastore).some((each) => each.id === host.id)) {
      return { datastore, host: host.id, source }
    }
    throw new HoldfastError('refused', `${host.name} cannot use the datastore that the image is to be on`, {
      mend: 'Name a datastore of that host.',
    })
  }
}

function sourceProblem(body: ImportImage): string | undefined {
  if ((body.path === undefined) === (body.upload === undefined)) return 'an import needs either `path` or `upload`'
  if (body.path?.split('/').includes('..') === true) return 'the path must not contain ..'
  return body.upload !== undefined && body.datastore !== undefined
    ? 'the datastore of an upload was chosen when it began'
    : undefined
}

function datastoreFor(cluster: ClusterView, ref: string | undefined): DatastoreId {
  if (ref !== undefined) return resolve('datastore', cluster.datastores, ref).id
  const reached = cluster.datastores.filter((each) => hostsReaching(cluster, each.id).length > 0)
  const best = reached.find((each) => each.isShared) ?? reached[0]
  if (best !== undefined) return best.id
  throw new HoldfastError('wrong-state', 'no datastore can be used now', {
    mend: 'Add one with `holdfast datastore create`, or see `holdfast datastore list`.',
  })
}

function hostFor(cluster: ClusterView, datastore: DatastoreId): HostId {
  const [host] = hostsReaching(cluster, datastore)
  if (host !== undefined) return host.id
  throw new HoldfastError('unreachable', 'no connected host has this datastore', {
    mend: 'See `holdfast datastore list` for what is wrong with it.',
  })
}
