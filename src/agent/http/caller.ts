/** Who asks, by the certificate that was shown: a manager, or a host of the cluster. */
import type { IncomingMessage } from 'node:http'
import { TLSSocket } from 'node:tls'
import type { X509Certificate } from 'node:crypto'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'

export type Caller = { readonly is: 'manager' } | { readonly is: 'host'; readonly host: HostId }

/** Name that a manager's certificate bears. No other certificate of the cluster may command an agent. */
const managerName = 'manager.holdfast'

/** Undefined for any other certificate: one of migration streams opens no door. */
export function callerOf(request: IncomingMessage): Caller | undefined {
  const { socket } = request
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined
  if (certificate === undefined) return undefined
  if (bears(certificate, managerName)) return { is: 'manager' }
  const host = hostIn(certificate.subjectAltName ?? '')
  return host === undefined ? undefined : { is: 'host', host }
}

export function mustBeManager(caller: Caller | undefined): void {
  if (caller?.is === 'manager') return
  throw new HoldfastError('not-allowed', 'only a manager of the cluster may command this agent')
}

/** `DNS:host-3.holdfast, IP Address:10.1.0.3` → host-3. A quoted name is none of ours. */
export function hostIn(subjectAltName: string): HostId | undefined {
  const names = subjectAltName.split(', ').flatMap((name) => /^DNS:(host-[1-9][0-9]*)\.holdfast$/.exec(name)?.[1] ?? [])
  return names.length === 1 ? (names[0] as HostId) : undefined
}

function bears(certificate: X509Certificate, name: string): boolean {
  return certificate.checkHost(name, { subject: 'never' }) === name
}
