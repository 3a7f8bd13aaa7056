/**
 * The inventory in SQLite and in etcd (one member, and three): changes a second, one writer and many; how soon a watcher of
 * another manager's is told; and what a read costs. All on this machine's one disk and its cores.
 *
 *   ./dev/bench stores --changes 500
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '../src/base/log.ts'
import { nodeClock, nodeNetwork, nodeRandom } from '../src/base/node/index.ts'
import { openEtcdStore } from '../src/manager/store/etcd/etcd-store.ts'
import { openSqliteStore } from '../src/manager/store/sqlite/sqlite-store.ts'
import { create, event } from '../src/manager/store/store-suite-changes.ts'
import type { Store } from '../src/manager/store/store.ts'
import { EtcdMembers } from '../test/store/etcd-members.ts'
import { numberOptions, Report } from './support/report.ts'

const { changes } = numberOptions({ changes: 500 })
const report = new Report('stores', { changes })
const writers = 32
type Measured = Record<'alone' | 'together' | 'told' | 'read', number[]>
const lanes: Record<string, Measured> = {}

/** `writer` and `reader` are of two managers, where a store can have two. */
async function measure(name: string, writer: Store, reader: Store): Promise<void> {
  const own: Measured = { alone: [], together: [], told: [], read: [] }
  lanes[name] = own
  let nth = 0
  const write = (): Promise<unknown> => {
    nth++
    return writer.commit({ changes: [create(`claim-${nth}`)], events: [event(`claim-${nth}`)] })
  }
  const perSecond = async (count: number, work: () => Promise<unknown>): Promise<number> => {
    const began = performance.now()
    await work()
    return (count * 1000) / (performance.now() - began)
  }
  await write()
  own.alone.push(
    await perSecond(changes, async () => {
      for (let n = 0; n < changes; n++) await write()
    }),
  )
  own.together.push(
    await perSecond(changes, () =>
      Promise.all(
        Array.from({ length: writers }, async (_, which) => {
          for (let n = which; n < changes; n += writers) await write()
        }),
      ),
    ),
  )
  const watching = reader.watch(await reader.revision(), AbortSignal.timeout(60_000))[Symbol.asyncIterator]()
  for (let n = 0; n < Math.min(200, changes); n++) {
    const next = watching.next()
    const began = performance.now()
    await Promise.all([write(), next])
    own.told.push(performance.now() - began)
  }
  for (let n = 0; n < changes; n++) {
    const began = performance.now()
    await reader.get('claim', `claim-${n + 1}`)
    own.read.push(performance.now() - began)
  }
}

const folder = await mkdtemp(join(tmpdir(), 'hf-stores-'))
try {
  const [clock, logger] = [nodeClock(), silentLogger]
  {
    await using store = await openSqliteStore({ path: `${folder}/inventory.db`, clock, logger })
    await measure('SQLite', store, store)
  }
  for (const count of [1, 3]) {
    await using members = await EtcdMembers.start(count)
    using network = nodeNetwork()
    const open = (endpoints: readonly string[]) =>
      openEtcdStore({ network, clock, time: clock, random: nodeRandom(), logger, endpoints, prefix: 'bench/' })
    const { endpoints } = members
    await using writer = await open(endpoints)
    await using reader = await open(endpoints.toReversed())
    await measure(count === 1 ? 'etcd, one member' : `etcd, ${count} members`, writer, reader)
  }
} finally {
  await rm(folder, { recursive: true, force: true })
}
for (const [key, title, unit] of [
  ['alone', 'changes a second, one writer', '/s'],
  ['together', `changes a second, ${writers} writers`, '/s'],
  ['told', 'a watcher is told of a change', 'ms'],
  ['read', 'one record is read', 'ms'],
] as const) {
  const rows = Object.entries(lanes).map(([name, own]) => ({ name, values: own[key] }))
  report.add({ title, unit, base: 'SQLite', rows })
}
await report.write()
