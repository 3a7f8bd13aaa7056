/** Capabilities and parameters of both ends of a migration. */
import type { Qmp } from './qmp.ts'

export interface MigrationSettings {
  readonly capabilities: Readonly<Record<string, boolean>>
  readonly parameters: Readonly<Record<string, unknown>>
}

/** Every capability that we ever set, so that an earlier try leaves nothing behind. */
const offByDefault = {
  'auto-converge': false,
  'postcopy-ram': false,
  'return-path': false,
  'pause-before-switchover': false,
  'late-block-activate': false,
  multifd: false,
}

/** Pages are only sent to the guest that they belong to, and both ends tell how they stand. */
const always = { events: true, 'validate-uuid': true }

export async function applySettings(qmp: Qmp, settings: MigrationSettings): Promise<void> {
  const capabilities = { ...offByDefault, ...always, ...settings.capabilities }
  const list = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }))
  await qmp.execute('migrate-set-capabilities', { capabilities: list })
  await qmp.execute('migrate-set-parameters', settings.parameters)
}

/** IPv6 addresses stand in brackets in a URI. */
export function tcpUri(host: string, port: number): string {
  return `tcp:${host.includes(':') ? `[${host}]` : host}:${port}`
}

export const tlsServerId = 'tls-server'
export const tlsClientId = 'tls-client'
const tlsPeerId = 'tls-peer'

/** Reads this host's certificate anew: it may have been renewed since QEMU started. */
export async function addTlsServer(
  qmp: Qmp,
  directory: string,
  peerName: string,
): Promise<{ creds: string; authz: string }> {
  await removeObjects(qmp, [tlsServerId, tlsPeerId])
  await qmp.execute('object-add', {
    'qom-type': 'tls-creds-x509',
    id: tlsServerId,
    dir: directory,
    endpoint: 'server',
    'verify-peer': true,
  })
  const rules = distinguishedNames(peerName).map((match) => ({
    match,
    policy: 'allow',
    format: match.includes('*') ? 'glob' : 'exact',
  }))
  await qmp.execute('object-add', { 'qom-type': 'authz-list', id: tlsPeerId, policy: 'deny', rules })
  return { creds: tlsServerId, authz: tlsPeerId }
}

export async function addTlsClient(qmp: Qmp, directory: string): Promise<string> {
  await removeObjects(qmp, [tlsClientId])
  await qmp.execute('object-add', {
    'qom-type': 'tls-creds-x509',
    id: tlsClientId,
    dir: directory,
    endpoint: 'client',
    'verify-peer': true,
  })
  return tlsClientId
}

export async function removeTls(qmp: Qmp): Promise<void> {
  await removeObjects(qmp, [tlsServerId, tlsPeerId, tlsClientId])
}

async function removeObjects(qmp: Qmp, ids: readonly string[]): Promise<void> {
  for (const id of ids) await qmp.execute('object-del', { id }).catch(() => undefined)
}

/** A name with `=` is a whole distinguished name; any other is a common name, wherever it stands in one. */
export function distinguishedNames(peerName: string): string[] {
  const plain = peerName.replaceAll(/[*?[\]\\]/g, '')
  if (plain.includes('=')) return [plain]
  return [`CN=${plain}`, `CN=${plain},*`, `*,CN=${plain}`, `*,CN=${plain},*`]
}
