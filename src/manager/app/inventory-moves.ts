/**
 * Moving an inventory from SQLite to etcd, and backups of one in etcd.
 *
 * The order of a move makes it safe to be cut short anywhere. When every record of the copy in etcd was compared, the file is
 * marked as moved, which nobody opens any more; only then is the copy marked as whole; only then is manager.json switched. So at
 * every moment exactly one of the two can be opened by a manager, or none, and running the command again goes on.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Logger } from '../../base/log.ts'
import { EtcdClient, type Condition } from '../store/etcd/etcd-client.ts'
import { Keys } from '../store/etcd/keys.ts'
import { readWholeEtcd, writeWholeEtcd } from '../store/etcd/whole.ts'
import { openSqliteStore, restoreSqliteStore } from '../store/sqlite/sqlite-store.ts'
import { isMoved, markMoved, readWholeFile, writeWholeFile } from '../store/sqlite/whole.ts'
import { mustBeSame, type WholeInventory } from '../store/whole-inventory.ts'
import { beginMaking, etcdOptions, ownMaking, remakeInventory, type InventoryPlace } from './inventory-mark.ts'

export interface MoveDeps extends InventoryPlace {
  readonly files: Files
  readonly logger: Logger
}

/** Copies a SQLite file's inventory into etcd, and gives the cluster's UUID. `by`: UUID of the manager whose it is. */
export async function moveToEtcd(
  deps: MoveDeps,
  path: string,
  by: string,
): Promise<{ cluster: string; records: number }> {
  if (isMoved(path)) return endMove(deps, path, by)
  // Held until the end: no manager can begin on the file meanwhile.
  await using _held = await openSqliteStore({ path, ...deps })
  const whole = readWholeFile(path)
  const cluster = clusterOf(whole)
  const making = await beginMaking(deps, by)
  await writeWholeEtcd((part) => making.write(part), new Keys(deps.place.prefix), whole)
  mustBeSame(whole, await readEtcd(deps))
  // In this order: whole, with a file that a manager may still open, it never is.
  markMoved(path)
  await making.end(cluster)
  return { cluster, records: whole.records.length }
}

/** Cut short at the very end: the copy was found right, and neither can have changed since. */
async function endMove(deps: MoveDeps, path: string, by: string): Promise<{ cluster: string; records: number }> {
  const making = await ownMaking(deps, by)
  const whole = readWholeFile(path)
  const cluster = clusterOf(whole)
  mustBeSame(whole, await readEtcd(deps))
  await making?.end(cluster)
  return { cluster, records: whole.records.length }
}

/** A whole copy, as it is at one moment, in a new SQLite file, as backups have. Managers may run. */
export async function backupEtcd(deps: MoveDeps, path: string): Promise<void> {
  const whole = await readEtcd(deps)
  clusterOf(whole)
  await writeFile(deps, path, whole)
}

/**
 * A backup as a new life of the inventory in etcd, in place of what is there. `scratch`: a folder for this alone. No manager may
 * run; hold the lead, which `lead` demands of every write.
 */
export async function restoreIntoEtcd(
  deps: MoveDeps,
  from: string,
  scratch: string,
  { by, lead }: { readonly by: string; readonly lead: Condition },
): Promise<{ incarnation: number }> {
  const path = `${scratch}/inventory.db`
  // What is there says above which revisions, ids and incarnation the new life must be.
  await writeFile(deps, path, await readEtcd(deps))
  const { incarnation } = await restoreSqliteStore({ from, path, ...deps })
  const whole = readWholeFile(path)
  const making = await remakeInventory(deps, by, lead)
  await writeWholeEtcd((part) => making.write(part), new Keys(deps.place.prefix), whole)
  mustBeSame(whole, await readEtcd(deps))
  await making.end(clusterOf(whole))
  return { incarnation }
}

async function writeFile(deps: MoveDeps, path: string, whole: WholeInventory): Promise<void> {
  {
    await using _made = await openSqliteStore({ path, ...deps })
  }
  writeWholeFile(path, whole)
  await deps.files.remove(`${path}.lock`)
}

function readEtcd(deps: MoveDeps): Promise<WholeInventory> {
  return readWholeEtcd(new EtcdClient(etcdOptions(deps)), new Keys(deps.place.prefix))
}

function clusterOf({ records }: WholeInventory): string {
  const found = records.find(({ kind }) => kind === 'cluster')
  if (found !== undefined) return (JSON.parse(found.json) as { uuid: string }).uuid
  throw new HoldfastError('wrong-state', 'there is no inventory to copy', {
    mend: 'Run `holdfast manager init` first.',
  })
}
