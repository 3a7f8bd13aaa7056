/**
 * A manager's data folder:
 *
 *   manager.json   what `init` was told; written last, so its presence says that init is complete
 *   client.json    address, administrator token and CA, for the CLI of this machine's root (0600)
 *   ca/            the cluster's certificate authority (0700, its key 0600)
 *   server/        this manager's own certificate and key
 *   inventory.db   the inventory, where it is SQLite
 *   etcd/          where it is etcd, with `etcds://`: the certificates for it (0700)
 *   seen.json      how far the inventory in etcd was when this manager last looked, so that an older one is not taken for it
 *   init.json      who this manager is, while init or join is under way
 */
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { StorePlace } from '../contracts/manager-join.ts'

export const defaultDataFolder = '/var/lib/holdfast/manager'
export const defaultPort = 7443

export interface ManagerSettings {
  readonly v: 1
  readonly clusterName: string
  readonly listen: { readonly host: string; readonly port: number }
  /** Where people and agents reach it: the first is in client.json. All are names in its certificate. */
  readonly addresses: readonly string[]
  /** UUID of this manager, and what it is called. Absent from what an older version wrote. */
  readonly id?: string
  readonly name?: string
  /** UUID of the cluster, which the inventory must be of. */
  readonly cluster?: string
  /** Where the inventory is. Absent: SQLite, in this folder. */
  readonly store?: Omit<StorePlace, 'tls'> & { readonly isTls?: boolean }
}

export interface ClientFile {
  readonly url: string
  /** Of all managers, this one among them; they are asked in turn. Absent: `url` alone. */
  readonly urls?: readonly string[]
  readonly token: string
  /** PEM. */
  readonly ca: string
}

export class DataFolder {
  readonly path: string
  readonly #files: Files

  constructor(files: Files, path: string) {
    this.#files = files
    this.path = path
  }

  get inventory(): string {
    return `${this.path}/inventory.db`
  }

  get authority(): string {
    return `${this.path}/ca`
  }

  get server(): string {
    return `${this.path}/server`
  }

  async make(): Promise<void> {
    await this.#files.makeDirectory(this.path, { mode: 0o700 })
  }

  async isComplete(): Promise<boolean> {
    return (await this.#files.stat(`${this.path}/manager.json`)) !== undefined
  }

  /** Throws `not-found` where `init` has not been run to its end. */
  async settings(): Promise<ManagerSettings> {
    if (!(await this.isComplete())) {
      throw new HoldfastError('not-found', `${this.path} is not the data folder of a manager`, {
        mend: 'Run `holdfast manager init` first.',
      })
    }
    return JSON.parse(await this.#files.readText(`${this.path}/manager.json`)) as ManagerSettings
  }

  async writeSettings(settings: ManagerSettings): Promise<void> {
    await this.#files.replace(`${this.path}/manager.json`, `${JSON.stringify(settings, null, 2)}\n`, { mode: 0o644 })
  }

  /** Where the inventory is, with the certificates for it; undefined: SQLite. */
  async storePlace({ store }: ManagerSettings): Promise<StorePlace | undefined> {
    if (store === undefined) return undefined
    const { isTls, ...place } = store
    if (isTls !== true) return place
    const read = (name: string): Promise<string> => this.#files.readText(`${this.path}/etcd/${name}`)
    const hasOwn = (await this.#files.stat(`${this.path}/etcd/client.crt`)) !== undefined
    const own = hasOwn ? { cert: await read('client.crt'), key: await read('client.key') } : {}
    return { ...place, tls: { ca: await read('ca.crt'), ...own } }
  }

  /** Keeps the certificates; what goes into manager.json. */
  async keepStorePlace({ tls, ...place }: StorePlace): Promise<NonNullable<ManagerSettings['store']>> {
    if (tls === undefined) return place
    await this.#files.makeDirectory(`${this.path}/etcd`, { mode: 0o700 })
    const { ca, cert, key } = tls
    for (const [name, text] of Object.entries({ 'ca.crt': ca, 'client.crt': cert, 'client.key': key })) {
      if (text !== undefined) await this.#files.replace(`${this.path}/etcd/${name}`, text, { mode: 0o600 })
    }
    return { ...place, isTls: true }
  }

  /** The UUID of this manager before it is in manager.json: the same when what was cut short is gone on with. */
  async identity(newUuid: () => string): Promise<string> {
    const known = await this.#read<{ id: string }>('init.json')
    if (known !== undefined) return known.id
    const id = newUuid()
    await this.#files.replace(`${this.path}/init.json`, JSON.stringify({ id }), { mode: 0o600 })
    return id
  }

  /** How far the inventory was; 0 where that is not known. */
  async seenRevision(): Promise<number> {
    return (await this.#read<{ revision: number }>('seen.json'))?.revision ?? 0
  }

  async writeSeenRevision(revision: number): Promise<void> {
    await this.#files.replace(`${this.path}/seen.json`, JSON.stringify({ revision }), { mode: 0o600 })
  }

  async #read<T>(name: string): Promise<T | undefined> {
    try {
      return JSON.parse(await this.#files.readText(`${this.path}/${name}`)) as T
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  async client(): Promise<ClientFile | undefined> {
    const path = `${this.path}/client.json`
    if ((await this.#files.stat(path)) === undefined) return undefined
    return JSON.parse(await this.#files.readText(path)) as ClientFile
  }

  async writeClient(file: ClientFile): Promise<void> {
    await this.#files.replace(`${this.path}/client.json`, `${JSON.stringify(file, null, 2)}\n`, { mode: 0o600 })
  }
}

/** `https://…` of an address, which may be IPv6. */
export function urlOf(address: string, port: number): string {
  return `https://${address.includes(':') ? `[${address}]` : address}:${port}`
}
