/**
 * The cluster's certificate authority: EC P-256 keys, kept in one folder (0700, keys 0600), made by the `openssl` program.
 *
 * Every certificate that it signs is good as server and as client. keyEncipherment is named although EC keys have no use
 * for it: QEMU 10 refuses a certificate without it. Certificates begin an hour in the past, so that a host whose clock
 * lags can use them at once. A certificate's names are ours to say: those in a request are ignored.
 */
import { createPrivateKey, hkdfSync, X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { deadline, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Processes, RunOptions, RunResult } from '../../base/processes.ts'
import type { Random } from '../../base/random.ts'

export interface AuthorityPorts {
  readonly files: Files
  readonly processes: Processes
  readonly clock: Clock
  readonly random: Random
}

export interface CertificateNames {
  readonly commonName: string
  /** DNS names and addresses. */
  readonly subjects: readonly string[]
}

export interface KeyPair {
  readonly cert: string
  readonly key: string
}

const dayMs = 24 * 60 * 60 * 1000
const backdateMs = 60 * 60 * 1000
export const authorityDays = 3650
export const certificateDays = 365
/** Also the least validity that is left when a certificate is made anew. */
export const renewBeforeDays = 120
const opensslMs = 30_000

export class Authority {
  /** The CA's certificate, PEM: what everybody in the cluster pins. */
  readonly ca: string
  readonly #directory: string
  readonly #ports: AuthorityPorts

  private constructor(directory: string, ca: string, ports: AuthorityPorts) {
    this.#directory = directory
    this.ca = ca
    this.#ports = ports
  }

  /** Makes a new authority. Throws `wrong-state` when the folder has one already. */
  static async create(directory: string, clusterName: string, ports: AuthorityPorts): Promise<Authority> {
    if ((await ports.files.stat(`${directory}/ca.crt`)) !== undefined) {
      throw new HoldfastError('wrong-state', `${directory} has a certificate authority already`)
    }
    await ports.files.makeDirectory(directory, { mode: 0o700 })
    const maker = new Authority(directory, '', ports)
    const key = await maker.#newKey()
    const ca = await maker.#issue({
      days: authorityDays,
      subject: `/O=Holdfast/CN=${subjectText(clusterName)} CA`,
      extensions: [
        'basicConstraints=critical,CA:TRUE,pathlen:0',
        'keyUsage=critical,keyCertSign,cRLSign',
        'subjectKeyIdentifier=hash',
      ],
      request: await maker.#requestFor(key),
      signer: { key },
    })
    // The certificate comes last: a folder with a key alone is one whose making was cut short, and is made again.
    await ports.files.replace(`${directory}/ca.key`, key, { mode: 0o600 })
    await ports.files.replace(`${directory}/ca.crt`, ca, { mode: 0o644 })
    return new Authority(directory, ca, ports)
  }

  /** Opens the authority in a folder. Throws `not-found` when there is none. */
  static async open(directory: string, ports: AuthorityPorts): Promise<Authority> {
    if ((await ports.files.stat(`${directory}/ca.crt`)) === undefined) {
      throw new HoldfastError('not-found', `${directory} has no certificate authority`, {
        mend: 'Run `holdfast manager init` with this data folder first.',
      })
    }
    return new Authority(directory, await ports.files.readText(`${directory}/ca.crt`), ports)
  }

  /** Signs a PKCS#10 request for these names, whatever names it bears. Throws `invalid-request` for one that is not sound. */
  async sign(request: string, names: CertificateNames): Promise<string> {
    await this.#checkRequest(request)
    return this.#issue({
      days: certificateDays,
      subject: `/O=Holdfast/CN=${subjectText(names.commonName)}`,
      extensions: leafExtensions(names.subjects),
      request,
      signer: { key: await this.#ports.files.readText(`${this.#directory}/ca.key`), cert: this.ca },
    })
  }

  /** Certificate and key, for one more manager. Whoever has them is the cluster. */
  async handOver(): Promise<{ ca: string; key: string }> {
    return { ca: this.ca, key: await this.#ports.files.readText(`${this.#directory}/ca.key`) }
  }

  /** The same authority in a folder of another manager. */
  static async adopt(
    directory: string,
    { ca, key }: { readonly ca: string; readonly key: string },
    { files }: Pick<AuthorityPorts, 'files'>,
  ): Promise<void> {
    if (!new X509Certificate(ca).checkPrivateKey(createPrivateKey(key)))
      throw new HoldfastError('host-error', 'the key that the manager handed over is not that of its authority')
    await files.makeDirectory(directory, { mode: 0o700 })
    await files.replace(`${directory}/ca.key`, key, { mode: 0o600 })
    await files.replace(`${directory}/ca.crt`, ca, { mode: 0o644 })
  }

  /**
   * 32 bytes that only who has the authority's private key can know, another for each purpose. Of the key's own number, so
   * that they are the same however its file is written.
   */
  async deriveKey(purpose: string): Promise<Uint8Array> {
    const key = createPrivateKey(await this.#ports.files.readText(`${this.#directory}/ca.key`))
    const { d } = key.export({ format: 'jwk' })
    if (d === undefined) throw new HoldfastError('internal', 'the key of the authority is no EC key')
    return new Uint8Array(hkdfSync('sha256', Buffer.from(d, 'base64url'), 'holdfast', purpose, 32))
  }

  /** A new key and a certificate for it. */
  async issue(names: CertificateNames): Promise<KeyPair> {
    const key = await this.#newKey()
    return { key, cert: await this.sign(await this.#requestFor(key), names) }
  }

  /**
   * The key pair in `directory`, made anew when it is not there, lacks a name, or ends within `renewBeforeDays`.
   */
  async serverPair(directory: string, names: CertificateNames): Promise<KeyPair> {
    const { files } = this.#ports
    const [certPath, keyPath] = [`${directory}/server.crt`, `${directory}/server.key`]
    if ((await files.stat(certPath)) !== undefined && (await files.stat(keyPath)) !== undefined) {
      const pair = { cert: await files.readText(certPath), key: await files.readText(keyPath) }
      if (this.#isGood(pair, names)) return pair
    }
    const pair = await this.issue(names)
    await files.makeDirectory(directory, { mode: 0o700 })
    // Key and certificate are replaced one after the other: a crash between is seen by the check of their match.
    await files.replace(keyPath, pair.key, { mode: 0o600 })
    await files.replace(certPath, pair.cert, { mode: 0o644 })
    return pair
  }

  #isGood(pair: KeyPair, names: CertificateNames): boolean {
    const parsed = new X509Certificate(pair.cert)
    const authority = new X509Certificate(this.ca)
    const isLong = Date.parse(parsed.validTo) - this.#ports.clock.now() > renewBeforeDays * dayMs
    const bears = (name: string): boolean =>
      (isIP(name) === 0 ? parsed.checkHost(name, { subject: 'never' }) : parsed.checkIP(name)) !== undefined
    const isPair = parsed.checkPrivateKey(createPrivateKey(pair.key))
    return isLong && isPair && parsed.verify(authority.publicKey) && names.subjects.every(bears)
  }

  async #newKey(): Promise<string> {
    return this.#openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'])
  }

  /** A request whose subject says nothing; ours is put in when it is signed. */
  async #requestFor(key: string): Promise<string> {
    return this.#withFolder(async (folder) => {
      await this.#ports.files.write(`${folder}/key`, key, { mode: 0o600 })
      return this.#openssl(['req', '-new', '-key', `${folder}/key`, '-subj', '/CN=holdfast', '-config', '/dev/null'])
    })
  }

  async #checkRequest(request: string): Promise<void> {
    const result = await this.#run(['req', '-noout', '-verify', '-text'], { input: request })
    // openssl 3.0 ends with 0 even where the signature is wrong, and says so in words alone.
    const isSound = result.code === 0 && /verify OK/i.test(result.stdout + result.stderr)
    if (!isSound || !/(prime256v1|P-256)/.test(result.stdout)) {
      throw new HoldfastError('invalid-request', 'the certificate request is not a sound PKCS#10 request', {
        mend: 'It must be PEM, for an EC P-256 key, and signed by that key.',
      })
    }
  }

  /** `openssl ca`, because it alone takes the time of validity from us: `openssl x509` asks the machine's clock. */
  async #issue(order: {
    readonly days: number
    readonly subject: string
    readonly extensions: readonly string[]
    readonly request: string
    readonly signer: { readonly key: string; readonly cert?: string }
  }): Promise<string> {
    const { files, clock, random } = this.#ports
    return this.#withFolder(async (folder) => {
      // A positive number of 127 bits that begins with a one, so that it has neither sign nor leading zeros.
      const serial = Buffer.from(random.bytes(16))
      serial[0] = ((serial[0] ?? 0) & 0x3f) | 0x40
      await files.write(`${folder}/serial`, `${serial.toString('hex').toUpperCase()}\n`)
      await files.write(`${folder}/index`, '')
      await files.write(`${folder}/request`, order.request)
      await files.write(`${folder}/signer.key`, order.signer.key, { mode: 0o600 })
      if (order.signer.cert !== undefined) await files.write(`${folder}/signer.crt`, order.signer.cert)
      await files.write(`${folder}/config`, caConfiguration(folder, order.extensions))
      const now = clock.now()
      const signer = order.signer.cert === undefined ? ['-selfsign'] : ['-cert', `${folder}/signer.crt`]
      await this.#openssl([
        ...['ca', '-batch', '-notext', '-config', `${folder}/config`, '-in', `${folder}/request`],
        ...['-keyfile', `${folder}/signer.key`, ...signer, '-subj', order.subject, '-out', `${folder}/certificate`],
        ...['-startdate', opensslTime(now - backdateMs), '-enddate', opensslTime(now + order.days * dayMs)],
      ])
      return files.readText(`${folder}/certificate`)
    })
  }

  async #withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
    const { files, random } = this.#ports
    const folder = `${this.#directory}/work-${random.uuid()}`
    await files.makeDirectory(folder, { mode: 0o700 })
    try {
      return await use(folder)
    } finally {
      await files.remove(folder)
    }
  }

  async #run(args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
    const late = new HoldfastError('timeout', `openssl ${args[0] ?? ''} did not end in ${opensslMs / 1000} s`)
    using limit = deadline(this.#ports.clock, opensslMs, late)
    return await this.#ports.processes.run('openssl', args, { ...options, signal: limit.signal })
  }

  async #openssl(args: readonly string[]): Promise<string> {
    const result = await this.#run(args)
    if (result.code === 0) return result.stdout
    // Keys go by file or by standard output, never by arguments or standard error: this text holds no secret.
    throw new HoldfastError('internal', `openssl ${args[0] ?? ''} failed: ${result.stderr.trim().slice(-500)}`, {
      mend: 'Check that the package openssl (3.0 or newer) is installed.',
    })
  }
}

/** SHA-256 of a certificate's DER form, hex in lower case: what a host record keeps. */
export function fingerprintOf(certificate: string | Uint8Array): string {
  return new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase()
}

function leafExtensions(subjects: readonly string[]): string[] {
  const names = subjects.map((name) => {
    if (!/^[A-Za-z0-9.:-]{1,253}$/.test(name)) {
      throw new HoldfastError('invalid-request', `${JSON.stringify(name)} is neither a host name nor an address`)
    }
    return `${isIP(name) === 0 ? 'DNS' : 'IP'}:${name}`
  })
  return [
    'basicConstraints=critical,CA:FALSE',
    'keyUsage=critical,digitalSignature,keyEncipherment',
    'extendedKeyUsage=serverAuth,clientAuth',
    'subjectKeyIdentifier=hash',
    'authorityKeyIdentifier=keyid',
    `subjectAltName=${[...new Set(names)].join(',')}`,
  ]
}

function caConfiguration(folder: string, extensions: readonly string[]): string {
  return [
    '[ca]\ndefault_ca=this\n[this]',
    `database=${folder}/index\nserial=${folder}/serial\nnew_certs_dir=${folder}`,
    'default_md=sha256\npolicy=any\nx509_extensions=ours\ncopy_extensions=none\nunique_subject=no',
    '[any]\norganizationName=optional\ncommonName=supplied',
    `[ours]\n${extensions.join('\n')}\n`,
  ].join('\n')
}

/** A name within a subject, without what openssl would read as syntax. */
function subjectText(text: string): string {
  return text.replace(/[^A-Za-z0-9 ._-]/g, '').slice(0, 60)
}

function opensslTime(ms: number): string {
  return `${new Date(ms)
    .toISOString()
    .replace(/[-:T]/g, '')
    .replace(/\.\d+Z$/, '')}Z`
}
