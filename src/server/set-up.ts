/** Setting a manager up, its tokens, its backups: what is done on the manager's machine, in its data folder. */
import { HoldfastError } from '../base/errors.ts'
import type { Network } from '../base/network.ts'
import { createClient, type Client } from '../contracts/client.ts'
import type { Role } from '../contracts/routes.ts'
import { Authority, type AuthorityPorts } from '../manager/app/authority.ts'
import type { Manager } from '../manager/app/manager.ts'
import { urlOf, type DataFolder, type ManagerSettings } from './data-folder.ts'

export interface SetUpPorts extends AuthorityPorts {
  readonly network: Network
  /** The manager over the folder's store, serving nobody. Throws `wrong-state` while another process has the store. */
  readonly openManager: (authority: Authority, clusterName: string) => Promise<Manager & AsyncDisposable>
  /** Where the inventory is one that several managers share: says there whose it is. */
  readonly inventory?: {
    readonly begin: (by: string) => Promise<void>
    readonly end: (by: string, cluster: string) => Promise<void>
  }
}

const firstToken = 'administrator'

/**
 * Makes the data folder: authority, inventory, first administrator token, client.json. What was cut short is gone on
 * with. Throws `wrong-state` when it is complete already.
 */
export async function initManager(folder: DataFolder, ports: SetUpPorts, settings: ManagerSettings): Promise<void> {
  if (await folder.isComplete()) {
    throw new HoldfastError('wrong-state', `${folder.path} is a manager's data folder already`, {
      mend: 'Start it with `holdfast manager run`, or name another folder.',
    })
  }
  await folder.make()
  const id = await folder.identity(() => ports.random.uuid())
  await ports.inventory?.begin(id)
  const isMade = (await ports.files.stat(`${folder.authority}/ca.crt`)) !== undefined
  const authority = isMade
    ? await Authority.open(folder.authority, ports)
    : await Authority.create(folder.authority, settings.clusterName, ports)
  let cluster: string
  {
    await using manager = await ports.openManager(authority, settings.clusterName)
    const token = await firstAdministrator(manager)
    const url = urlOf(settings.addresses[0] ?? '127.0.0.1', settings.listen.port)
    await folder.writeClient({ url, token, ca: authority.ca })
    cluster = await manager.clusterUuid()
  }
  await ports.inventory?.end(id, cluster)
  await folder.writeSettings({ ...settings, id, cluster })
}

/** One left from an init that was cut short is worthless: nobody has its secret. */
async function firstAdministrator(manager: Manager): Promise<string> {
  const { items } = await manager.access.listTokens()
  const left = items.find((token) => token.name === firstToken)
  if (left !== undefined) await manager.access.revokeToken(left.id, 'manager init')
  const made = await manager.access.createToken({ name: firstToken, role: 'administrator' }, 'manager init')
  return made.secret
}

/** A one-time token for `holdfast agent join`: from the manager where it runs, else written into its store. */
export async function makeJoinToken(folder: DataFolder, ports: SetUpPorts, validMinutes?: number): Promise<string> {
  const body = validMinutes === undefined ? {} : { validMinutes }
  const made = await onManager(
    folder,
    ports,
    (client) => client.call('createJoinToken', { body }),
    (manager) => manager.joins.createToken(validMinutes, 'the manager’s machine'),
  )
  return made.token
}

/** A new API token, also for who has lost the last one: whoever can read the data folder is an administrator. */
export async function makeApiToken(folder: DataFolder, ports: SetUpPorts, name: string, role: Role): Promise<string> {
  const body = { name, role }
  const made = await onManager(
    folder,
    ports,
    (client) => client.call('createToken', { body }),
    (manager) => manager.access.createToken(body, 'the manager’s machine'),
  )
  return made.secret
}

/** A one-time token for `holdfast manager join`, from the manager that leads. */
export async function makeManagerToken(folder: DataFolder, ports: SetUpPorts, validMinutes?: number): Promise<string> {
  const body = validMinutes === undefined ? {} : { validMinutes }
  const refuse = async (): Promise<never> => {
    throw new HoldfastError('unreachable', 'no manager of this cluster answers', {
      mend: 'Start this one first: holdfast manager run (or: systemctl start holdfast-manager)',
    })
  }
  const made = await onManager(folder, ports, (client) => client.call('createManagerToken', { body }), refuse)
  return made.token
}

async function onManager<T>(
  folder: DataFolder,
  ports: SetUpPorts,
  online: (client: Client) => Promise<T>,
  offline: (manager: Manager) => Promise<T>,
): Promise<T> {
  const settings = await folder.settings()
  const client = await folder.client()
  if (client !== undefined) {
    try {
      return await online(createClient(ports.network, client))
    } catch (thrown) {
      if (!(thrown instanceof HoldfastError) || thrown.code !== 'unreachable') throw thrown
    }
  }
  const authority = await Authority.open(folder.authority, ports)
  await using manager = await ports.openManager(authority, settings.clusterName)
  return await offline(manager)
}
