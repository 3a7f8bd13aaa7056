/** Datastores: folders on one host, or shared by several. */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, HostId } from '../../base/ids.ts'
import type { CreateDatastore, Datastore } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { DatastoreRecord } from '../store/records.ts'
import type { AppContext, Caller } from './context.ts'
import type { Mirror } from './mirror.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import { resolve } from './references.ts'
import { datastoreView } from './views/storage-views.ts'
import { claim, need, newEvent, notFound, pledged, subjectOf, unclaim, write } from './write.ts'

export class Datastores {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  async list(query: CallOf<'listDatastores'>['query'] = {}): Promise<PageOf<Datastore>> {
    const mirror = await this.#context.mirror.fresh()
    const page = namedPageOf(mirror.list('datastore'), query)
    const items = page.items.map((record) => this.#view(mirror, record))
    return { items, next: page.next, revision: mirror.revision }
  }

  /** Throws `invalid-request`, `not-found` (a host), `name-taken`. The hosts make the folder when they next report. */
  async create(body: CreateDatastore, caller: Caller): Promise<Datastore> {
    const problem = nameProblem(body.name) ?? pathProblem(body.path)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem)
    const { store, clock, random } = this.#context
    const mirror = await this.#context.mirror.fresh()
    const datacenter = mirror.list('datacenter')[0]
    if (datacenter === undefined) throw new HoldfastError('internal', 'the inventory has no datacenter')
    const record: DatastoreRecord = {
      ...{ id: (await store.nextId('datastore')) as DatastoreId, uuid: random.uuid(), name: body.name, v: 1 },
      ...{ created: isoTime(clock.now()), datacenter: datacenter.id, kind: 'folder', path: trimmed(body.path) },
      isShared: body.isShared ?? false,
      hosts: hostsOf(mirror, body),
    }
    const key = nameClaim('datastore', datacenter.id, body.name)
    await write(store, async () => {
      mustBeAlone(
        (await store.list('datastore')).items.map(({ value }) => value),
        record,
      )
      return {
        changes: [
          await claim(store, key, record.id, () => nameTaken(body.name)),
          { do: 'create', kind: 'datastore', value: record },
          ...pledged(caller, { kind: 'datastore', id: record.id }),
        ],
        events: [
          newEvent('datastore.created', subjectOf('datastore', record), `The datastore ${body.name} was added`, {
            by: caller.name,
          }),
        ],
        value: undefined,
      }
    })
    return this.get(record.id)
  }

  async get(id: string): Promise<Datastore> {
    const mirror = await this.#context.mirror.fresh()
    const record = mirror.get('datastore', id)
    if (record === undefined) throw notFound('datastore', id)
    return this.#view(mirror, record)
  }

  /** Forgets a datastore that holds nothing of ours; the folder stays. */
  async remove(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    return write(store, async () => {
      const { value, revision } = await need(store, 'datastore', id)
      await this.#mustBeEmpty(value)
      const key = nameClaim('datastore', value.datacenter, value.name)
      return {
        changes: [{ do: 'remove', kind: 'datastore', id, expected: revision }, ...(await unclaim(store, key, id))],
        events: [
          newEvent('datastore.removed', subjectOf('datastore', value), `The datastore ${value.name} was removed`, {
            by: caller.name,
          }),
        ],
        value: null,
      }
    })
  }

  async #mustBeEmpty(record: DatastoreRecord): Promise<void> {
    const mirror = await this.#context.mirror.fresh()
    const isOn = (disk: { datastore: DatastoreId; alsoAt?: readonly DatastoreId[] }): boolean =>
      disk.datastore === record.id || (disk.alsoAt ?? []).includes(record.id)
    const disks = mirror.list('disk').filter(isOn).length
    const images = mirror.list('image').filter((image) => image.datastore === record.id).length
    if (disks + images === 0) return
    throw new HoldfastError('wrong-state', `${record.name} still holds ${disks} disks and ${images} images`, {
      mend: 'Delete or move them first.',
      disks,
      images,
    })
  }

  #view(mirror: Mirror, record: DatastoreRecord): Datastore {
    const world = { registry: this.#context.registry, hosts: mirror.list('host') }
    return datastoreView(record, mirror.revisionOf('datastore', record.id), world)
  }
}

function hostsOf(mirror: Mirror, body: CreateDatastore): HostId[] {
  const all = mirror.list('host')
  if (body.hosts !== undefined) {
    const named = [...new Set(body.hosts.map((ref) => resolve('host', all, ref).id))]
    if (body.isShared === true || named.length === 1) return named
    throw notShared()
  }
  if (body.isShared === true) return []
  const only = all.length === 1 ? all[0] : undefined
  if (only === undefined) throw notShared()
  return [only.id]
}

function notShared(): HoldfastError {
  return new HoldfastError('invalid-request', 'a datastore that is not shared is on exactly one host', {
    mend: 'Name one host in `hosts`, or say `isShared: true` where the folder is the same storage on all of them.',
    field: 'hosts',
  })
}

/** Two datastores in one folder would see each other's files. */
function mustBeAlone(existing: readonly DatastoreRecord[], wanted: DatastoreRecord): void {
  const meets = (a: readonly HostId[], b: readonly HostId[]): boolean =>
    a.length === 0 || b.length === 0 || a.some((host) => b.includes(host))
  const isWithin = (a: string, b: string): boolean => a === b || a.startsWith(`${b}/`) || b.startsWith(`${a}/`)
  const other = existing.find((each) => isWithin(each.path, wanted.path) && meets(each.hosts, wanted.hosts))
  if (other === undefined) return
  throw new HoldfastError('wrong-state', `the datastore ${other.name} is in ${other.path} on the same host`, {
    mend: 'Choose a folder that is neither inside another datastore nor around it.',
  })
}

function pathProblem(path: string): string | undefined {
  const parts = path.split('/').slice(1)
  if (parts.includes('..') || parts.includes('.')) return 'the path must be absolute and without . or ..'
  return trimmed(path) === '' ? 'the root folder cannot be a datastore' : undefined
}

function trimmed(path: string): string {
  return path.replace(/\/{2,}/g, '/').replace(/\/$/, '')
}

function nameTaken(name: string): HoldfastError {
  return new HoldfastError('name-taken', `there is a datastore ${name} already`, { mend: 'Choose another name.' })
}
