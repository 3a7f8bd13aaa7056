/**
 * How a machine becomes a host: a one-time token, a certificate for its own key, and a record that names the certificate
 * by its fingerprint. Only who shows that certificate speaks for the host.
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import { digestOf } from '../../contracts/digest.ts'
import { formatJoinToken, readJoinToken } from '../../contracts/join-token.ts'
import type {
  JoinRequest,
  JoinResponse,
  RenewRequest,
  RenewResponse,
  StreamCertificateResponse,
} from '../../contracts/manager-api.ts'
import type { ReplyOf } from '../../contracts/routes.ts'
import { nameClaim, nameProblem } from '../domain/names.ts'
import type { HostRecord, SecretRecord } from '../store/records.ts'
import type { Change, Stored } from '../store/store.ts'
import { fingerprintOf, type CertificateNames } from './authority.ts'
import type { AppContext } from './context.ts'
import type { Managers } from './managers.ts'
import { hashOf, newSecret } from './secrets.ts'
import { claim, need, newEvent, subjectOf, write, type Decision } from './write.ts'

const defaultValidMinutes = 60

/** What joins need of the cluster's authority; the simulation has one that signs nothing. */
export interface CertificateSigner {
  readonly ca: string
  sign(request: string, names: CertificateNames): Promise<string>
  /** 32 bytes of the authority's private key, for a purpose; absent where there is no such key: no secret can be sealed then. */
  deriveKey?(purpose: string): Promise<Uint8Array>
}

export class Joins {
  readonly #context: AppContext
  readonly #authority: CertificateSigner
  readonly #managers: Pick<Managers, 'urls'>

  constructor(context: AppContext, authority: CertificateSigner, managers: Pick<Managers, 'urls'>) {
    this.#context = context
    this.#managers = managers
    this.#authority = authority
  }

  async createToken(validMinutes = defaultValidMinutes, caller = 'the console'): Promise<ReplyOf<'createJoinToken'>> {
    const { store, clock, random } = this.#context
    const secret = newSecret(random)
    const expires = isoTime(clock.now() + validMinutes * 60_000)
    const id = hashOf(secret)
    const record: SecretRecord = {
      ...{ id, v: 1, kind: 'join', role: 'operator', expires },
      ...{ usedBy: null, madeBy: caller },
    }
    const event = newEvent('host.join-token', null, 'A token for joining a host was made', { by: caller })
    await write(store, async () => ({
      changes: [{ do: 'create', kind: 'secret', value: record }],
      events: [event],
      value: undefined,
    }))
    return { token: formatJoinToken({ secret, ca: this.#authority.ca }), expires }
  }

  /**
   * Takes a machine in. The same request again (a lost reply) is answered with a certificate for the same host; a machine
   * that is known by its UUID and comes with a new token gets its old id, and its former certificate is worthless.
   * Throws `not-allowed` for a bad token, `name-taken`, `invalid-request`.
   */
  async join(request: JoinRequest): Promise<JoinResponse> {
    const problem = nameProblem(request.name)
    if (problem !== undefined) throw new HoldfastError('invalid-request', problem, { field: 'name' })
    const { store } = this.#context
    const secretId = hashOf(readJoinToken(request.token)?.secret ?? request.token)
    const use = digestOf({ ...request, token: '' })
    await this.#usableToken(secretId, use)
    const known = (await store.list('host')).items.find((host) => host.value.uuid === request.uuid)
    const id = known?.value.id ?? ((await store.nextId('host')) as HostId)
    const names = namesOf(id, request)
    const certificate = await this.#authority.sign(request.certificateRequest, names)
    const record = await write(store, () => this.#decide(request, { id, certificate, secretId, use }))
    const cluster = this.#context.mirror.list('cluster')[0]
    if (cluster === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
    return {
      ...{ host: record.id, cluster: cluster.uuid, certificate, ca: this.#authority.ca, tlsName: names.commonName },
      managers: this.#managers.urls(),
    }
  }

  async #decide(
    request: JoinRequest,
    order: { id: HostId; certificate: string; secretId: string; use: string },
  ): Promise<Decision<HostRecord>> {
    const { store, clock } = this.#context
    const token = await this.#usableToken(order.secretId, order.use)
    const known = await store.get('host', order.id)
    const cluster = this.#context.mirror.list('cluster')[0]
    if (cluster === undefined) throw new HoldfastError('internal', 'the inventory has no cluster')
    const record: HostRecord = {
      ...(known?.value ?? { created: isoTime(clock.now()), maintenance: 'off', facts: null }),
      ...{ id: order.id, v: 1, uuid: request.uuid, name: request.name, cluster: cluster.id },
      ...{ addresses: request.addresses, agentPort: request.agentPort, confirmedOff: false },
      tlsName: namesOf(order.id, request).commonName,
      certificateFingerprint: fingerprintOf(order.certificate),
      nextFingerprint: null,
    }
    const verb = known === undefined ? 'joined' : 'joined again'
    return {
      changes: [
        { do: 'update', kind: 'secret', value: { ...token.value, usedBy: order.use }, expected: token.revision },
        known === undefined
          ? { do: 'create', kind: 'host', value: record }
          : { do: 'update', kind: 'host', value: record, expected: known.revision },
        ...(await this.#nameChanges(known?.value, record)),
      ],
      events: [newEvent('host.joined', subjectOf('host', record), `${record.name} ${verb}`)],
      value: record,
    }
  }

  async #nameChanges(before: HostRecord | undefined, record: HostRecord): Promise<Change[]> {
    const { store } = this.#context
    const key = nameClaim('host', record.cluster, record.name)
    const oldKey = before === undefined ? undefined : nameClaim('host', before.cluster, before.name)
    if (oldKey === key) return []
    const taken = (): HoldfastError =>
      new HoldfastError('name-taken', `there is a host ${record.name} already`, {
        mend: 'Join under another name, or remove the old host first.',
      })
    const changes: Change[] = [await claim(store, key, record.id, taken)]
    const old = oldKey === undefined ? undefined : await store.get('claim', oldKey)
    if (old !== undefined) {
      changes.push({ do: 'remove', kind: 'claim', id: old.value.id, expected: old.revision })
    }
    return changes
  }

  /** Throws `not-allowed` for a token that is unknown, too old, or used by another request. */
  async #usableToken(id: string, use: string): Promise<Stored<SecretRecord>> {
    const stored = await this.#context.store.get('secret', id)
    const found = stored?.value
    const isTimely = found !== undefined && Date.parse(found.expires) > this.#context.clock.now()
    const isFree = found?.usedBy === null || found?.usedBy === use
    if (stored !== undefined && found?.kind === 'join' && isTimely && isFree) return stored
    const why = found?.kind !== 'join' ? 'unknown' : isTimely ? 'used already' : 'too old'
    throw new HoldfastError('not-allowed', `the join token is ${why}`, {
      mend: 'Make a new one with `holdfast manager token` or `POST /v1/join-tokens`; each works once.',
    })
  }

  /** A new certificate for a host that has shown its present one. */
  async renew(host: HostId, request: RenewRequest): Promise<RenewResponse> {
    const { store } = this.#context
    const { value } = await need(store, 'host', host)
    const certificate = await this.#authority.sign(request.certificateRequest, namesOf(host, value))
    await write(store, async () => {
      const { value: record, revision } = await need(store, 'host', host)
      const next = { ...record, nextFingerprint: fingerprintOf(certificate) }
      return { changes: [{ do: 'update', kind: 'host', value: next, expected: revision }], value: undefined }
    })
    return { certificate, ca: this.#authority.ca }
  }

  /**
   * A certificate that the host's QEMUs show one another, for a key of its own. It is in no host's record, so that no door
   * takes it, and bears another name than the host, so that nobody is taken for the host by it.
   */
  async streamCertificate(host: HostId, request: RenewRequest): Promise<StreamCertificateResponse> {
    const { store } = this.#context
    const tlsName = `stream.${host}.holdfast`
    const names = { commonName: tlsName, subjects: [tlsName] }
    const certificate = await this.#authority.sign(request.certificateRequest, names)
    await write(store, async () => {
      const { value: record, revision } = await need(store, 'host', host)
      if (record.streamTlsName === tlsName) return { changes: [], value: undefined }
      const value = { ...record, streamTlsName: tlsName }
      return { changes: [{ do: 'update', kind: 'host', value, expected: revision }], value: undefined }
    })
    return { certificate, ca: this.#authority.ca, tlsName }
  }

  /** The host that a client certificate speaks for; undefined when it speaks for none (removed, joined again). */
  async hostOf(fingerprint: string): Promise<HostRecord | undefined> {
    const { mirror, store } = this.#context
    const bears = (host: HostRecord): boolean =>
      host.certificateFingerprint === fingerprint || host.nextFingerprint === fingerprint
    const found = mirror.list('host').find(bears) ?? (await mirror.fresh()).list('host').find(bears)
    if (found?.nextFingerprint !== fingerprint) return found
    // The renewed certificate has arrived: from now on it is the only one.
    return write(store, async () => {
      const stored = await need(store, 'host', found.id)
      if (stored.value.nextFingerprint !== fingerprint) return { changes: [], value: stored.value }
      const value = { ...stored.value, certificateFingerprint: fingerprint, nextFingerprint: null }
      return { changes: [{ do: 'update', kind: 'host', value, expected: stored.revision }], value }
    })
  }
}

/** `host-3.holdfast` and the host's addresses. */
function namesOf(id: HostId, host: Pick<HostRecord, 'addresses'>): CertificateNames {
  const name = `${id}.holdfast`
  const { management, storage, guests } = host.addresses
  const addresses = [management, storage, guests].filter((address) => address !== '')
  return { commonName: name, subjects: [name, ...new Set(addresses)] }
}
