/** A manager on etcd, put together from ports and what is in its data folder. */
import type { Clock } from '../base/clock.ts'
import type { Logger } from '../base/log.ts'
import type { Network } from '../base/network.ts'
import type { Random } from '../base/random.ts'
import type { StorePlace } from '../contracts/manager-join.ts'
import type { Authority } from '../manager/app/authority.ts'
import { EtcdInventory } from '../manager/app/etcd-inventory.ts'
import { beginInventory, endInventory } from '../manager/app/inventory-mark.ts'
import { urlOf, type DataFolder, type ManagerSettings } from './data-folder.ts'
import { ClusteredManager, type ClusteredOptions } from './lead/clustered-manager.ts'
import type { SetUpPorts } from './set-up.ts'

export interface EtcdPorts {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
}

export interface OwnIdentity {
  readonly manager: string
  readonly name: string
  readonly urls: readonly string[]
}

/** Who this manager is to the others. `hostname`: for folders of an older version, which have no name. */
export function ownIdentity(settings: ManagerSettings, hostname: string): OwnIdentity {
  return {
    manager: settings.id ?? '',
    name: settings.name ?? hostname,
    urls: settings.addresses.map((address) => urlOf(address, settings.listen.port)),
  }
}

/** The inventory, and the lead of its cluster for as long as it is open. Throws `wrong-state` while another manager leads. */
export async function openLed(
  ports: EtcdPorts,
  place: StorePlace,
  self: OwnIdentity,
): Promise<AsyncDisposable & Pick<EtcdInventory, 'store'>> {
  await using made = new AsyncDisposableStack()
  const inventory = made.use(await EtcdInventory.open({ ...ports, place, self: () => self }))
  made.use(await inventory.takeLead())
  const held = made.move()
  return { store: inventory.store, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

export function inventoryMarks(ports: EtcdPorts, place: StorePlace): NonNullable<SetUpPorts['inventory']> {
  const where = { ...ports, place }
  return {
    begin: (by) => beginInventory(where, by),
    end: (by, cluster) => endInventory(where, by, cluster),
  }
}

/** Throws unless that cluster's whole inventory is there. */
export async function checkInventory(ports: EtcdPorts, place: StorePlace, cluster: string): Promise<void> {
  const self = { manager: '', name: '', urls: [] }
  await using inventory = await EtcdInventory.open({ ...ports, place, self: () => self })
  await inventory.mustBe(cluster)
}

export interface ClusteredWiring {
  readonly ports: Omit<ClusteredOptions, 'self' | 'openInventory' | 'cluster' | 'handOver' | 'seen' | 'onManagers'>
  readonly folder: DataFolder
  readonly settings: ManagerSettings
  readonly place: StorePlace
  readonly authority: Authority
  readonly hostname: string
}

export function openClustered(wiring: ClusteredWiring): Promise<ClusteredManager> {
  const { ports, folder, settings, place, authority, hostname } = wiring
  const self = ownIdentity(settings, hostname)
  return ClusteredManager.open({
    ...ports,
    self: () => ({ ...self, version: ports.version }),
    openInventory: () => EtcdInventory.open({ ...ports, place, self: () => self }),
    cluster: settings.cluster,
    handOver: { authority: () => authority.handOver(), store: async () => place },
    seen: { read: () => folder.seenRevision(), write: (revision) => folder.writeSeenRevision(revision) },
    onManagers: (urls) => keepUrls(folder, urls),
  })
}

/** The CLI of this machine's root asks the others too. */
async function keepUrls(folder: DataFolder, urls: readonly string[]): Promise<void> {
  const client = await folder.client()
  if (client === undefined || client.urls?.join() === urls.join()) return
  await folder.writeClient({ ...client, urls })
}
