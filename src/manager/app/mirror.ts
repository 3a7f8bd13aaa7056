/**
 * The inventory in memory, kept up by the store's watch, so that reading a thousand VMs parses nothing. `fresh` waits
 * until it holds everything that was committed before the call: readers never miss what they wrote themselves.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import { idNumber } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Kind, Records } from '../store/records.ts'
import type { Revision, Store, Stored, WatchBatch } from '../store/store.ts'

export const mirroredKinds = [
  'cluster',
  'datacenter',
  'project',
  'pool',
  'folder',
  'host',
  'vm',
  'run',
  'datastore',
  'network',
  'image',
  'disk',
  'task',
  'token',
  'claim',
  'manager',
  'promise',
  'alarm',
  'alarm-settings',
  'target',
  'delivery',
  'rule',
] as const satisfies readonly Kind[]
export type MirroredKind = (typeof mirroredKinds)[number]

interface Shelf<T> {
  readonly items: Map<string, Stored<T>>
  /** In order of id; undefined after an item came or went. */
  ordered: T[] | undefined
}

interface Waiter {
  readonly revision: Revision
  readonly wake: () => void
}

const retryMs = 500

export class Mirror implements AsyncDisposable {
  readonly #store: Store
  readonly #clock: Clock
  readonly #logger: Logger
  readonly #closing = new AbortController()
  readonly #shelves = new Map<Kind, Shelf<Records[MirroredKind]>>()
  readonly #listeners = new Set<(batch: WatchBatch | 'relist') => void>()
  #waiters: Waiter[] = []
  #revision: Revision = 0
  #following: Promise<void> = Promise.resolve()

  private constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store
    this.#clock = clock
    this.#logger = logger
  }

  static async open(options: { store: Store; clock: Clock; logger: Logger }): Promise<Mirror> {
    const mirror = new Mirror(options.store, options.clock, options.logger)
    await mirror.#load()
    mirror.#following = mirror.#follow()
    return mirror
  }

  /** The newest commit that is in here. */
  get revision(): Revision {
    return this.#revision
  }

  get<K extends MirroredKind>(kind: K, id: string | null): Records[K] | undefined {
    return id === null ? undefined : this.#shelf(kind).items.get(id)?.value
  }

  stored<K extends MirroredKind>(kind: K, id: string): Stored<Records[K]> | undefined {
    return this.#shelf(kind).items.get(id)
  }

  /** The ids of a kind, in no order. */
  ids(kind: MirroredKind): Iterable<string> {
    return this.#shelf(kind).items.keys()
  }

  /** The commit that wrote a record last; 0 when it is not there. */
  revisionOf(kind: MirroredKind, id: string): Revision {
    return this.#shelf(kind).items.get(id)?.revision ?? 0
  }

  /** All of a kind in order of id. The array is the mirror's own: never change it. */
  list<K extends MirroredKind>(kind: K): readonly Records[K][] {
    const shelf = this.#shelf(kind)
    shelf.ordered ??= [...shelf.items.values()].map((stored) => stored.value).sort(byId)
    return shelf.ordered
  }

  /** Resolves when all that was committed before the call is in here. */
  async fresh(): Promise<this> {
    await this.reach(await this.#store.revision())
    return this
  }

  async reach(revision: Revision): Promise<void> {
    if (this.#revision >= revision) return
    this.#throwIfClosed()
    await new Promise<void>((resolve) => this.#waiters.push({ revision, wake: resolve }))
    this.#throwIfClosed()
  }

  #throwIfClosed(): void {
    if (this.#closing.signal.aborted) throw new HoldfastError('unreachable', 'the manager is closing')
  }

  /** Calls back with each batch after it is in here, and with `relist` when all was read anew. */
  onBatch(listener: (batch: WatchBatch | 'relist') => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort()
    await this.#following
    for (const waiter of this.#waiters.splice(0)) waiter.wake()
  }

  #shelf<K extends MirroredKind>(kind: K): Shelf<Records[K]> {
    let shelf = this.#shelves.get(kind)
    if (shelf === undefined) {
      shelf = { items: new Map(), ordered: undefined }
      this.#shelves.set(kind, shelf)
    }
    return shelf as unknown as Shelf<Records[K]>
  }

  /** Reads everything. The lists are of different revisions; following from the oldest puts later ones right. */
  async #load(): Promise<void> {
    const lists = await Promise.all(mirroredKinds.map(async (kind) => ({ kind, list: await this.#store.list(kind) })))
    for (const { kind, list } of lists) {
      const items = new Map<string, Stored<Records[MirroredKind]>>()
      for (const item of list.items) items.set(item.value.id, item)
      this.#shelves.set(kind, { items, ordered: undefined })
    }
    this.#arrive(Math.min(...lists.map(({ list }) => list.revision)))
  }

  async #follow(): Promise<void> {
    const { signal } = this.#closing
    for (;;) {
      if (signal.aborted) return
      try {
        for await (const batch of this.#store.watch(this.#revision, signal)) await this.#take(batch)
      } catch (thrown) {
        if (this.#closing.signal.aborted) return
        this.#logger.warn({ err: thrown }, 'following the store failed; trying again')
        await this.#clock.sleep(retryMs, signal).catch(() => undefined)
      }
    }
  }

  async #take(batch: WatchBatch | 'relist'): Promise<void> {
    if (batch === 'relist') await this.#load()
    else this.#apply(batch)
    for (const listener of this.#listeners) listener(batch)
  }

  #apply(batch: WatchBatch): void {
    for (const change of batch.changes) {
      const shelf = this.#shelves.get(change.kind)
      const held = shelf?.items.get(change.id)
      if (shelf === undefined || (held !== undefined && held.revision > change.revision)) continue
      shelf.ordered = undefined
      if (change.value === undefined) shelf.items.delete(change.id)
      else {
        const value = change.value as Records[MirroredKind]
        shelf.items.set(change.id, { value, revision: change.revision })
      }
    }
    this.#arrive(batch.revision)
  }

  #arrive(revision: Revision): void {
    this.#revision = revision
    const due = this.#waiters.filter((waiter) => waiter.revision <= revision)
    if (due.length === 0) return
    this.#waiters = this.#waiters.filter((waiter) => waiter.revision > revision)
    for (const waiter of due) waiter.wake()
  }
}

function byId(a: { readonly id: string }, b: { readonly id: string }): number {
  return idNumber(a.id) - idNumber(b.id)
}
