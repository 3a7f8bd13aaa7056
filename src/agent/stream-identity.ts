/**
 * What this host's QEMUs show one another in migration streams: a key and a certificate of their own, which open no door.
 * A QEMU that was taken over by its guest can read them, and must not be able to speak as the host with them.
 */
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { Logger } from '../base/log.ts'
import type { Processes } from '../base/processes.ts'
import type { ManagerApi } from '../contracts/manager-api.ts'
import { IdentityFiles, wantsRenewal } from './identity.ts'

export interface StreamIdentity {
  /** PEM. */
  readonly ca: string
  readonly cert: string
  readonly key: string
  /** The name that the certificate bears. */
  readonly tlsName: string
}

const lookEveryMs = 3_600_000
const retryMs = 2000

/** DATA/stream.json, with its key beside it (0600). */
export class StreamIdentityFiles {
  readonly #files: Files
  readonly #keys: IdentityFiles
  readonly #path: string

  constructor(ports: { files: Files; processes: Processes }, dataDirectory: string) {
    this.#files = ports.files
    this.#keys = new IdentityFiles(ports, dataDirectory, 'stream-key.pem')
    this.#path = join(dataDirectory, 'stream.json')
  }

  /** Undefined until a manager has signed one. */
  async read(): Promise<StreamIdentity | undefined> {
    try {
      const kept = JSON.parse(await this.#files.readText(this.#path)) as Omit<StreamIdentity, 'key'>
      return { ...kept, key: await this.#keys.readKey() }
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  /** A request for a certificate; the key is made when there is none. */
  request(): Promise<string> {
    return this.#keys.request()
  }

  async write(kept: Omit<StreamIdentity, 'key'>): Promise<StreamIdentity> {
    await this.#files.replace(this.#path, JSON.stringify(kept), { mode: 0o600 })
    return { ...kept, key: await this.#keys.readKey() }
  }
}

export interface StreamIdentityDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly store: StreamIdentityFiles
  readonly manager: Pick<ManagerApi, 'streamCertificate'>
  /** The host's own: what streams show while the manager is older and signs no other. */
  readonly ofHost: () => StreamIdentity
  /** Streams that begin from now on show this one. */
  readonly use: (identity: StreamIdentity) => Promise<void>
}

/** Has one signed, and renewed in time, until aborted. Never rejects. */
export async function keepStreamIdentity(
  deps: StreamIdentityDeps,
  first: StreamIdentity | undefined,
  signal: AbortSignal,
): Promise<void> {
  let identity = first
  while (!signal.aborted) {
    let pauseMs = lookEveryMs
    try {
      if (identity === undefined || wantsRenewal(identity.cert, deps.clock.now())) {
        const { certificate, ca, tlsName } = await deps.manager.streamCertificate({
          certificateRequest: await deps.store.request(),
        })
        identity = await deps.store.write({ cert: certificate, ca, tlsName })
        await deps.use(identity)
      }
    } catch (err) {
      if (identity === undefined && err instanceof HoldfastError && err.code === 'not-found') {
        await deps
          .use(deps.ofHost())
          .catch((cause: unknown) => deps.log.warn({ err: cause }, 'streams have no certificate'))
      } else {
        deps.log.warn({ err }, 'the certificate of migration streams could not be had yet')
        pauseMs = retryMs
      }
    }
    await deps.clock.sleep(pauseMs, signal).catch(() => undefined)
  }
}
