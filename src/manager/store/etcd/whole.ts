/** A whole inventory out of etcd, as it is at one moment, and into a prefix that has none. */
import type { Kind } from '../records.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { maxCommitBytes } from '../store.ts'
import type { WholeEvent, WholeInventory, WholeRecord } from '../whole-inventory.ts'
import { endOf, type EtcdClient, type KeyValue, type Operation } from './etcd-client.ts'
import { parseEntry, type CommitEntry, type Keys } from './keys.ts'

const [keysPerRead, operationsPerWrite] = [500, 100]

/** Carries out all operations, or throws. */
export type WritePart = (operations: readonly Operation[]) => Promise<void>

export async function readWholeEtcd(client: EtcdClient, keys: Keys): Promise<WholeInventory> {
  const first = await client.range(keys.head)
  const at = first.revision
  const read = (from: string): Promise<KeyValue[]> => readAll(client, from, at)
  const records = (await read(keys.records)).map((item) => recordOf(keys, item))
  const events: WholeEvent[] = []
  for (const { key, value } of await read(keys.commits)) {
    const revision = keys.revisionOf(key) ?? 0
    events.push(...parseEntry(value).events.map((json, index) => ({ revision, sequence: index + 1, json })))
  }
  const cluster = records.find(({ kind }) => kind === 'cluster')
  return {
    revision: Number(first.items[0]?.value ?? 0),
    oldest: Number((await client.range(keys.oldest, { revision: at })).items[0]?.value ?? 1),
    incarnation: cluster === undefined ? 1 : (JSON.parse(cluster.json) as { incarnation: number }).incarnation,
    counters: (await read(keys.counter(''))).map(({ key, value }) => ({
      kind: key.slice(keys.counter('').length),
      last: Number(value),
    })),
    records,
    events,
  }
}

async function readAll(client: EtcdClient, prefix: string, revision: number): Promise<KeyValue[]> {
  const all: KeyValue[] = []
  for (let from = prefix; ;) {
    const { items, isMore } = await client.range(from, { end: endOf(prefix), limit: keysPerRead, revision })
    all.push(...items)
    const last = items.at(-1)
    if (last === undefined || !isMore) return all
    from = `${last.key}\0`
  }
}

function recordOf(keys: Keys, { key, value }: KeyValue): WholeRecord {
  const name = keys.recordOf(key)
  const lineBreak = value.indexOf('\n')
  if (name === undefined || lineBreak < 1)
    throw new HoldfastError('store-error', `etcd holds ${key}, which is no record`)
  return { ...name, revision: Number(value.slice(0, lineBreak)), json: value.slice(lineBreak + 1) }
}

/**
 * Whatever was there before goes. Not at one moment: whoever calls has marked the inventory as half made meanwhile, and writes
 * each part under a condition that holds once (app/inventory-mark.ts). Of past commits the events are kept, not how records
 * were: nobody who follows records begins in the past.
 */
export async function writeWholeEtcd(write: WritePart, keys: Keys, whole: WholeInventory): Promise<void> {
  await write([keys.watched, keys.counter('')].map((key) => ({ do: 'delete', key, end: endOf(key) })))
  const put = (key: string, value: string): Operation => ({ do: 'put', key, value })
  const entries = Map.groupBy(whole.events, ({ revision }) => revision)
  // The newest commit is looked for by those who follow.
  if (whole.revision > 0 && !entries.has(whole.revision)) entries.set(whole.revision, [])
  const entryText = (events: readonly WholeEvent[]): string => {
    const texts = [...events].sort((a, b) => a.sequence - b.sequence).map(({ json }) => json)
    return JSON.stringify({ by: 'moved', changes: [], events: texts } satisfies CommitEntry)
  }
  await writeAll(write, [
    ...whole.counters.map(({ kind, last }) => put(keys.counter(kind), String(last))),
    ...whole.records.map(({ kind, id, revision, json }) => put(keys.record(kind as Kind, id), `${revision}\n${json}`)),
    ...[...entries].map(([revision, events]) => put(keys.commit(revision), entryText(events))),
    put(keys.oldest, String(whole.oldest)),
    put(keys.head, String(whole.revision)),
  ])
}

async function writeAll(write: WritePart, operations: readonly Operation[]): Promise<void> {
  let part: Operation[] = []
  let bytes = 0
  for (const each of operations) {
    const size = each.do === 'put' ? Buffer.byteLength(each.value) + each.key.length : 0
    if (part.length > 0 && (part.length >= operationsPerWrite || bytes + size > maxCommitBytes)) {
      await write(part)
      part = []
      bytes = 0
    }
    part.push(each)
    bytes += size
  }
  if (part.length > 0) await write(part)
}
