/**
 * Who this host is: DATA/identity.json with its certificate, its key beside it (0600). Written last when the host joins,
 * so its presence says that the join is complete.
 */
import { join } from 'node:path'
import { X509Certificate } from 'node:crypto'
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { Processes } from '../base/processes.ts'
import type { HostFacts } from '../contracts/host.ts'
import type { JoinResponse } from '../contracts/manager-api.ts'

export interface Identity {
  readonly v: 1
  readonly host: JoinResponse['host']
  readonly uuid: string
  readonly name: string
  /** UUID of the cluster. */
  readonly cluster: string
  readonly tlsName: string
  /** PEM. */
  readonly ca: string
  readonly certificate: string
  readonly managers: readonly string[]
  readonly addresses: HostFacts['addresses']
  readonly agentPort: number
}

export class IdentityFiles {
  readonly #files: Files
  readonly #processes: Processes
  readonly #directory: string
  readonly #keyName: string

  constructor(ports: { files: Files; processes: Processes }, dataDirectory: string, keyName = 'key.pem') {
    this.#files = ports.files
    this.#processes = ports.processes
    this.#directory = dataDirectory
    this.#keyName = keyName
  }

  /** Undefined for a machine that has not joined. */
  async read(): Promise<Identity | undefined> {
    try {
      return JSON.parse(await this.#files.readText(join(this.#directory, 'identity.json'))) as Identity
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  async write(identity: Identity): Promise<void> {
    await this.#files.replace(join(this.#directory, 'identity.json'), JSON.stringify(identity, null, 2), {
      mode: 0o600,
    })
  }

  /** The private key, PEM. Never leaves the host. */
  readKey(): Promise<string> {
    return this.#files.readText(this.#keyPath)
  }

  /** This host's key, made when there is none, and a request for a certificate of it. */
  async request(): Promise<string> {
    if ((await this.#files.stat(this.#keyPath)) === undefined) {
      const key = await this.#openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'])
      await this.#files.replace(this.#keyPath, key, { mode: 0o600 })
    }
    return this.#openssl(['req', '-new', '-key', this.#keyPath, '-subj', '/CN=holdfast', '-config', '/dev/null'])
  }

  get #keyPath(): string {
    return join(this.#directory, this.#keyName)
  }

  async #openssl(args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.#processes.run('openssl', args)
    if (code === 0) return stdout
    throw new HoldfastError('host-error', `openssl says: ${stderr.trim()}`, { mend: 'Install the package openssl.' })
  }
}

/** Whether less than a third of the certificate's time is left. */
export function wantsRenewal(certificate: string, nowMs: number): boolean {
  const { validFrom, validTo } = new X509Certificate(certificate)
  const [from, to] = [Date.parse(validFrom), Date.parse(validTo)]
  return to - nowMs < (to - from) / 3
}

/** Whether nobody believes the certificate any more. */
export function hasEnded(certificate: string, nowMs: number): boolean {
  return Date.parse(new X509Certificate(certificate).validTo) < nowMs
}
