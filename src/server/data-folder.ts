/**
 * A manager's data folder:
 *
 *   manager.json   what `init` was told; written last, so its presence says that init is complete
 *   client.json    address, administrator token and CA, for the CLI of this machine's root (0600)
 *   ca/            the cluster's certificate authority (0700, its key 0600)
 *   server/        this manager's own certificate and key
 *   inventory.db   the store
 */
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'

export const defaultDataFolder = '/var/lib/holdfast/manager'
export const defaultPort = 7443

export interface ManagerSettings {
  readonly v: 1
  readonly clusterName: string
  readonly listen: { readonly host: string; readonly port: number }
  /** Where people and agents reach it: the first is in client.json. All are names in its certificate. */
  readonly addresses: readonly string[]
}

export interface ClientFile {
  readonly url: string
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
