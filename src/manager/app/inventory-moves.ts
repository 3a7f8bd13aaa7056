/**
 * Moving an inventory from SQLite to etcd, and backups of one in etcd.
 *
 * The order of a move makes it safe to be cut short anywhere. The copy in etcd is marked as half made until every record of it
 * was compared; only then is the file marked as moved, which nobody opens any more; only then is manager.json switched. So at
 * every moment exactly one of the two can be opened by a manager, or none, and running the command again goes on.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { Clock } from '../../base/clock.ts'
import type { Files } from '../../base/files.ts'
import type { Logger } from '../../base/log.ts'
import type { Network } from '../../base/network.ts'
import type { StorePlace } from '../../contracts/manager-join.ts'
import { EtcdClient } from '../store/etcd/etcd-client.ts'
import { Keys } from '../store/etcd/keys.ts'
import { readWholeEtcd, writeWholeEtcd } from '../store/etcd/whole.ts'
import { openSqliteStore, restoreSqliteStore } from '../store/sqlite/sqlite-store.ts'
import { isMoved, markMoved, readWholeFile, writeWholeFile } from '../store/sqlite/whole.ts'
import { mustBeSame, type WholeInventory } from '../store/whole-inventory.ts'
import { beginInventory, endInventory, reopenInventory } from './etcd-inventory.ts'

export interface MoveDeps {
  readonly network: Network
  readonly clock: Clock
  readonly files: Files
  readonly logger: Logger
  readonly place: StorePlace
}

/** Copies a SQLite file's inventory into etcd, and gives the cluster's UUID. `by`: UUID of the manager whose it is. */
export async function moveToEtcd(
  deps: MoveDeps,
  path: string,
  by: string,
): Promise<{ cluster: string; records: number }> {
  const { place } = deps
  await beginInventory(deps, by)
  if (isMoved(path)) {
    // Cut short at the very end: the copy was found right, and the file cannot have changed since.
    const whole = readWholeFile(path)
    mustBeSame(whole, await readEtcd(deps))
    return { cluster: clusterOf(whole), records: whole.records.length }
  }
  // Held until the end: no manager can begin on the file meanwhile.
  await using _held = await openSqliteStore({ path, ...deps })
  const whole = readWholeFile(path)
  const cluster = clusterOf(whole)
  await reopenInventory(deps, by)
  await writeWholeEtcd(clientOf(deps), new Keys(place.prefix), whole)
  mustBeSame(whole, await readEtcd(deps))
  await endInventory(deps, by, cluster)
  markMoved(path)
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
 * run; hold the lead.
 */
export async function restoreIntoEtcd(
  deps: MoveDeps,
  from: string,
  scratch: string,
  by: string,
): Promise<{ incarnation: number }> {
  const path = `${scratch}/inventory.db`
  // What is there says above which revisions, ids and incarnation the new life must be.
  await writeFile(deps, path, await readEtcd(deps))
  const { incarnation } = await restoreSqliteStore({ from, path, ...deps })
  const whole = readWholeFile(path)
  await reopenInventory(deps, by)
  await writeWholeEtcd(clientOf(deps), new Keys(deps.place.prefix), whole)
  mustBeSame(whole, await readEtcd(deps))
  await endInventory(deps, by, clusterOf(whole))
  return { incarnation }
}

async function writeFile(deps: MoveDeps, path: string, whole: WholeInventory): Promise<void> {
  {
    await using _made = await openSqliteStore({ path, ...deps })
  }
  writeWholeFile(path, whole)
  await deps.files.remove(`${path}.lock`)
}

function clientOf({ network, clock, place }: MoveDeps): EtcdClient {
  const tls = place.tls === undefined ? {} : { tls: place.tls }
  return new EtcdClient({ network, clock, endpoints: place.endpoints, ...tls })
}

function readEtcd(deps: MoveDeps): Promise<WholeInventory> {
  return readWholeEtcd(clientOf(deps), new Keys(deps.place.prefix))
}

function clusterOf({ records }: WholeInventory): string {
  const found = records.find(({ kind }) => kind === 'cluster')
  if (found !== undefined) return (JSON.parse(found.json) as { uuid: string }).uuid
  throw new HoldfastError('wrong-state', 'there is no inventory to copy', {
    mend: 'Run `holdfast manager init` first.',
  })
}
