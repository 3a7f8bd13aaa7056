/** What is done with a manager's inventory as a whole: backups, coming back from one, moving it to etcd. */
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { HoldfastError } from '../base/errors.ts'
import { backupEtcd, moveToEtcd, restoreIntoEtcd, type MoveDeps } from '../manager/app/inventory-moves.ts'
import { openSqliteStore, restoreSqliteStore } from '../manager/store/sqlite/sqlite-store.ts'
import { EtcdInventory } from '../manager/app/etcd-inventory.ts'
import { ownIdentity } from './etcd-wiring.ts'
import { folderOf, ownName, quietLogger, realPorts, storePlace, type ManagerPlace, type StoreOptions } from './main.ts'
import type { DataFolder, ManagerSettings } from './data-folder.ts'

const kept = ['ca/ca.key', 'ca/ca.crt', 'manager.json', 'client.json']

/** Undefined: the inventory is in SQLite. */
async function movesOf(folder: DataFolder): Promise<MoveDeps | undefined> {
  const place = await folder.storePlace(await folder.settings())
  return place === undefined ? undefined : { ...realPorts(), logger: quietLogger(), place }
}

/** Copies inventory and authority into a new folder. With SQLite the manager must not run. */
export async function backupManager(options: ManagerPlace & { to: string }): Promise<void> {
  const folder = folderOf(options)
  const { files, clock } = realPorts()
  const moves = await movesOf(folder)
  const to = resolve(options.to)
  if ((await files.stat(to)) !== undefined) {
    throw new HoldfastError('wrong-state', `${to} exists already`, { mend: 'Name a folder that is not there yet.' })
  }
  const logger = quietLogger()
  await using store = moves === undefined ? await openSqliteStore({ path: folder.inventory, clock, logger }) : undefined
  await files.makeDirectory(`${to}/ca`, { mode: 0o700 })
  await files.changeMode(to, 0o700)
  if (store !== undefined) await store.backup(`${to}/inventory.db`)
  else if (moves !== undefined) await backupEtcd(moves, `${to}/inventory.db`)
  await files.changeMode(`${to}/inventory.db`, 0o600)
  for (const name of kept) {
    await files.replace(`${to}/${name}`, await files.read(`${folder.path}/${name}`), { mode: 0o600 })
  }
}

/** Puts a backup into a data folder: a new life, in which nothing starts until the hosts have said what they run. */
export async function restoreManager(options: ManagerPlace & { from: string }): Promise<{ incarnation: number }> {
  const folder = folderOf(options)
  const { files, clock } = realPorts()
  const from = resolve(options.from)
  if ((await files.stat(`${from}/inventory.db`)) === undefined) {
    throw new HoldfastError('not-found', `${from} is not a backup of a manager`)
  }
  await folder.make()
  await files.makeDirectory(folder.authority, { mode: 0o700 })
  const isComplete = await folder.isComplete()
  if (isComplete && (await folder.settings()).store !== undefined) return restoreEtcd(folder, from)
  const logger = quietLogger()
  const restored = await restoreSqliteStore({ from: `${from}/inventory.db`, path: folder.inventory, clock, logger })
  for (const name of kept) {
    if ((await files.stat(`${folder.path}/${name}`)) !== undefined) continue
    const bytes = await files.read(`${from}/${name}`)
    // A backup of managers on etcd, in a folder that has no settings yet: a manager alone, until it is moved to etcd again.
    const text = name === 'manager.json' ? withoutStore(bytes) : bytes
    await files.replace(`${folder.path}/${name}`, text, { mode: 0o600 })
  }
  return { incarnation: restored.incarnation }
}

function withoutStore(settings: Uint8Array): string {
  const all = JSON.parse(Buffer.from(settings).toString('utf8')) as ManagerSettings
  // With the inventory goes who it was there: the managers that are left of that cluster may run on.
  const gone = all.store === undefined ? [] : ['store', 'id']
  const rest = Object.entries(all).filter(([name]) => !gone.includes(name))
  return `${JSON.stringify(Object.fromEntries(rest), null, 2)}\n`
}

async function restoreEtcd(folder: DataFolder, from: string): Promise<{ incarnation: number }> {
  const settings = await folder.settings()
  const moves = await movesOf(folder)
  if (moves === undefined) throw new HoldfastError('internal', 'no etcd is named')
  const { files } = moves
  const scratch = `${folder.path}/restore`
  const self = ownIdentity(settings, hostname())
  await using inventory = await EtcdInventory.open({ ...moves, self: () => self })
  await using _lead = await inventory.takeLead()
  const { condition: lead } = inventory.lead
  if (lead === undefined) throw new HoldfastError('internal', 'the lead was not taken')
  await files.remove(scratch)
  await files.makeDirectory(scratch, { mode: 0o700 })
  try {
    return await restoreIntoEtcd(moves, `${from}/inventory.db`, scratch, { by: self.manager, lead })
  } finally {
    await files.remove(scratch)
  }
}

/** Moves the inventory to etcd; the manager must not run. Cut short, it is run again. */
export async function migrateStore(options: ManagerPlace & { to: StoreOptions }): Promise<{ records: number }> {
  const folder = folderOf(options)
  const settings = await folder.settings()
  if (settings.store !== undefined) {
    throw new HoldfastError('wrong-state', 'the inventory of this manager is in etcd already')
  }
  const place = await storePlace(options.to)
  if (place === undefined) {
    throw new HoldfastError('invalid-request', 'an inventory is moved to etcd, not to SQLite', {
      mend: 'To come back to SQLite: holdfast manager backup, then restore into a new data folder.',
    })
  }
  const ports = realPorts()
  const id = settings.id ?? (await folder.identity(() => ports.random.uuid()))
  const deps = { ...ports, logger: quietLogger(), place }
  const { cluster, records } = await moveToEtcd(deps, folder.inventory, id)
  const store = await folder.keepStorePlace(place)
  await folder.writeSettings({ ...settings, id, name: settings.name ?? ownName(), cluster, store })
  return { records }
}
