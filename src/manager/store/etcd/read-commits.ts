/** Commits of the past, as etcd keeps them. */
import type { Event } from '../../../contracts/inventory.ts'
import { parseEvent } from '../prepared-commit.ts'
import type { Revision, WatchBatch } from '../store.ts'
import { endOf, type EtcdClient } from './etcd-client.ts'
import { batchOfEntry, parseEntry, type Keys } from './keys.ts'

export interface PastCommit {
  readonly revision: Revision
  events(): Event[]
  /** With the records as it wrote them. Throws `not-found` where etcd keeps those no more. */
  batch(): Promise<WatchBatch>
}

/** At most `limit` from this revision on, oldest first. */
export async function readCommits(
  client: EtcdClient,
  keys: Keys,
  from: Revision,
  limit: number,
): Promise<readonly PastCommit[]> {
  const { items } = await client.range(keys.commit(from), { end: endOf(keys.commits), limit })
  return items.map(({ key, value, modRevision }) => {
    const revision = keys.revisionOf(key) ?? 0
    const entry = parseEntry(value)
    return {
      revision,
      events: () => entry.events.map((json, index) => parseEvent(json, revision, index + 1)),
      batch: async () => {
        const texts = new Map<string, string | undefined>()
        for (const { kind, id, isRemoved } of entry.changes) {
          if (isRemoved) continue
          const record = keys.record(kind, id)
          texts.set(record, (await client.range(record, { revision: modRevision })).items[0]?.value)
        }
        return batchOfEntry(revision, entry, (kind, id) => texts.get(keys.record(kind, id)))
      },
    }
  })
}
