import type { Kind, Records } from './records.ts'
import type { Revision, Stored, WatchBatch } from './store.ts'
import { compareIds } from './prepared-commit.ts'

/** All records in memory, by kind; what has been acknowledged and nothing else. Values are shared and frozen. */
export class RecordCache {
  readonly #kinds = new Map<Kind, Map<string, Stored<Records[Kind]>>>()
  /** Ids in order; dropped when one comes or goes. */
  readonly #order = new Map<Kind, string[]>()

  get<K extends Kind>(kind: K, id: string): Stored<Records[K]> | undefined {
    return this.#kinds.get(kind)?.get(id) as Stored<Records[K]> | undefined
  }

  /** 0 where there is none. */
  revisionOf(kind: Kind, id: string): Revision {
    return this.#kinds.get(kind)?.get(id)?.revision ?? 0
  }

  list<K extends Kind>(kind: K): Stored<Records[K]>[] {
    const records = this.#kinds.get(kind)
    if (records === undefined) return []
    let order = this.#order.get(kind)
    if (order === undefined) {
      order = [...records.keys()].sort(compareIds)
      this.#order.set(kind, order)
    }
    return order.map((id) => records.get(id) as Stored<Records[K]>)
  }

  set(kind: Kind, id: string, value: Records[Kind] | undefined, revision: Revision): void {
    const records = this.#kinds.get(kind) ?? new Map<string, Stored<Records[Kind]>>()
    this.#kinds.set(kind, records)
    if (value === undefined) {
      records.delete(id)
      this.#order.delete(kind)
      return
    }
    if (!records.has(id)) this.#order.delete(kind)
    records.set(id, { value, revision })
  }

  apply(batch: WatchBatch): void {
    for (const change of batch.changes) this.set(change.kind, change.id, change.value, batch.revision)
  }
}
