/** When certificates end: those that hosts have shown to this manager, and its own. In memory: each is seen again soon. */
import { X509Certificate } from 'node:crypto'
import type { HostId } from '../../base/ids.ts'

/** A certificate of this manager's, PEM. */
export interface OwnCertificate {
  /** `the certificate of the manager` */
  readonly what: string
  readonly pem: string
}

export class CertificateEnds {
  readonly #ofHosts = new Map<HostId, number>()
  readonly #parsed = new Map<string, number>()

  /** A host has shown a certificate that ends then. */
  saw(host: HostId, endsAt: number): void {
    this.#ofHosts.set(host, endsAt)
  }

  /** Null: it has shown none to this manager yet. */
  ofHost(host: HostId): number | null {
    return this.#ofHosts.get(host) ?? null
  }

  of({ pem }: OwnCertificate): number {
    let endsAt = this.#parsed.get(pem)
    if (endsAt === undefined) {
      endsAt = Date.parse(new X509Certificate(pem).validTo)
      // Few at a time, and renewed once in a while.
      if (this.#parsed.size > 10) this.#parsed.clear()
      this.#parsed.set(pem, endsAt)
    }
    return endsAt
  }
}
