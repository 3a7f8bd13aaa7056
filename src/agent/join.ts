/**
 * A machine becomes a host. The token carries the cluster's CA, which alone is believed from the first connection on. The
 * key and the machine's UUID are durable before the request is sent, so a join whose answer was lost is repeated as the
 * same request, and answered as the first.
 */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { Network } from '../base/network.ts'
import type { Processes } from '../base/processes.ts'
import type { Random } from '../base/random.ts'
import type { HostFacts } from '../contracts/host.ts'
import { readJoinToken } from '../contracts/join-token.ts'
import { hasEnded, IdentityFiles, type Identity } from './identity.ts'
import { ManagersFile } from './managers-file.ts'
import { sendJoin } from './manager-client.ts'

export interface JoinPorts {
  readonly files: Files
  readonly processes: Processes
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
}

export interface JoinOptions {
  /** `https://MANAGER:7443`. */
  readonly managerUrl: string
  readonly token: string
  /** SHA-256 of the cluster's CA, as a person was told it by another way; checked when given. */
  readonly caFingerprint?: string
  readonly name: string
  readonly addresses: HostFacts['addresses']
  readonly agentPort: number
  readonly dataDirectory: string
}

/**
 * Joins, and keeps what the host is from now on. A machine that is a member of that very cluster already is left as it
 * is (`isNew` false), but for one whose certificate has ended: it gets a new one, as the host that it was. Throws `not-allowed` for a token that is wrong, used or too old, `wrong-state` for a member of
 * another cluster, `unreachable`.
 */
export async function joinCluster(
  ports: JoinPorts,
  options: JoinOptions,
): Promise<{ identity: Identity; isNew: boolean }> {
  const token = readJoinToken(options.token)
  if (token === undefined) {
    throw new HoldfastError('not-allowed', 'this is no whole join token', {
      mend: 'Copy the whole text that `holdfast manager token` printed, beginning with hfj.',
    })
  }
  checkFingerprint(token.ca, options.caFingerprint)
  await ports.files.makeDirectory(options.dataDirectory, { mode: 0o711 })
  const store = new IdentityFiles(ports, options.dataDirectory)
  const known = await store.read()
  if (known !== undefined) {
    const isSame = fingerprintOf(known.ca) === fingerprintOf(token.ca)
    if (isSame && !hasEnded(known.certificate, ports.clock.now())) return { identity: known, isNew: false }
    if (!isSame)
      throw new HoldfastError('wrong-state', 'this machine is a member of another cluster', {
        mend: `Remove it there, end its VMs, and move ${options.dataDirectory}/identity.json away.`,
      })
  }
  const { uuid, certificateRequest } = await durableRequest(ports, store, options.dataDirectory)
  const { name, addresses, agentPort, managerUrl } = options
  const request = { token: options.token.trim(), name, uuid, certificateRequest, addresses, agentPort }
  const answer = await sendJoin(ports, managerUrl, token.ca, request)
  const identity: Identity = {
    v: 1,
    host: answer.host,
    uuid,
    name,
    cluster: answer.cluster,
    tlsName: answer.tlsName,
    ca: answer.ca,
    certificate: answer.certificate,
    managers: [managerUrl.replace(/\/+$/, '')],
    addresses,
    agentPort,
  }
  const managers = await ManagersFile.open(ports.files, options.dataDirectory, identity.managers)
  await managers.keep(answer.managers ?? [])
  await store.write(identity)
  return { identity, isNew: true }
}

interface DurableRequest {
  readonly uuid: string
  readonly certificateRequest: string
}

async function durableRequest(ports: JoinPorts, store: IdentityFiles, dataDirectory: string): Promise<DurableRequest> {
  const path = join(dataDirectory, 'join.json')
  try {
    return JSON.parse(await ports.files.readText(path)) as DurableRequest
  } catch (thrown) {
    if (fileErrorCode(thrown) !== 'ENOENT') throw thrown
  }
  const made: DurableRequest = { uuid: ports.random.uuid(), certificateRequest: await store.request() }
  await ports.files.replace(path, JSON.stringify(made), { mode: 0o600 })
  return made
}

function fingerprintOf(certificate: string): string {
  return new X509Certificate(certificate).fingerprint256.replaceAll(':', '').toLowerCase()
}

function checkFingerprint(ca: string, expected: string | undefined): void {
  if (expected === undefined) return
  if (fingerprintOf(ca) === expected.replaceAll(':', '').toLowerCase()) return
  throw new HoldfastError('not-allowed', 'the token is of another cluster than the fingerprint names', {
    mend: 'Take both from the same manager.',
  })
}
