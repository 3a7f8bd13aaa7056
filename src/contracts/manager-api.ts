/** What an agent asks of a manager (`/agent/v1/…`), over mutual TLS but for `join`, which a one-time token opens. */
import { HoldfastError } from '../base/errors.ts'
import type { HostId } from '../base/ids.ts'
import { HostConfiguration } from './agent-api.ts'
import { HostFacts, HostReport } from './host.ts'
import { HostPromise, LeaseAnswer, Witness } from './host-lease.ts'
import { HostIdSchema, VmIdSchema } from './ids.ts'
import { ArbiterId, ProtectionConfig, type ArbiterApi } from './protection.ts'
import { agentEvents, RunRecord, stopCauses, type RunTransition } from './run-record.ts'
import { Name, Nullable, OneOf, Open, Strict, Time, Type, Uuid, type Static } from './schema.ts'

export const JoinRequest = Strict({
  /** The whole join token (`join-token.ts`), or its secret alone. */
  token: Type.String({ maxLength: 8192 }),
  name: Name,
  uuid: Uuid,
  /** PKCS#10, PEM. The key never leaves the host. */
  certificateRequest: Type.String({ maxLength: 16384 }),
  addresses: HostFacts.properties.addresses,
  agentPort: Type.Integer({ minimum: 1, maximum: 65535 }),
})
export type JoinRequest = Static<typeof JoinRequest>

export const JoinResponse = Open({
  host: HostIdSchema,
  cluster: Uuid,
  certificate: Type.String(),
  ca: Type.String(),
  /** Names that the certificate bears: `host-3.holdfast` and the addresses. */
  tlsName: Type.String(),
  /** Where the managers of the cluster are asked, the leader first. Absent from an older manager: where this was asked. */
  managers: Type.Optional(Type.Array(Type.String())),
})
export type JoinResponse = Static<typeof JoinResponse>

/** A new certificate for the same host and names; the old one works until the new one is first shown. */
export const RenewRequest = Open({ certificateRequest: Type.String({ maxLength: 16384 }) })
export type RenewRequest = Static<typeof RenewRequest>

export const RenewResponse = Open({ certificate: Type.String(), ca: Type.String() })
export type RenewResponse = Static<typeof RenewResponse>

/**
 * A certificate for migration streams alone. QEMU holds its key, so it bears a name of its own: it opens no door of a
 * manager's or an agent's, and nobody takes who shows it for the host.
 */
export const StreamCertificateResponse = Open({
  certificate: Type.String(),
  ca: Type.String(),
  /** The name that it bears, which the other end of a stream demands. */
  tlsName: Type.String(),
})
export type StreamCertificateResponse = Static<typeof StreamCertificateResponse>

export const ReportResponse = Open({
  /** Which life of the store the manager serves. */
  incarnation: Type.Integer(),
  /** Present when the host's configuration differs from what it reported. */
  configuration: Nullable(HostConfiguration),
  managerTime: Time,
  /** How long until the next report, milliseconds. */
  nextReportMs: Type.Integer(),
  /** Of the VMs that were reported as not running, those that there are no more: the host asks once more and forgets them. */
  unknownVms: Type.Optional(Type.Array(VmIdSchema)),
  /** As in `JoinResponse`. */
  managers: Type.Optional(Type.Array(Type.String())),
  /** Null or absent: this cluster grants no leases (one manager alone, or an older one). */
  lease: Type.Optional(Nullable(LeaseAnswer)),
  /** Hosts that are silent to the managers: look whether they are seen from here. */
  silent: Type.Optional(Type.Array(Witness)),
})
export type ReportResponse = Static<typeof ReportResponse>

export const TransitionRequest = Open({
  vm: VmIdSchema,
  /** The generation that this host knows; the record moves only when it is still that. */
  generation: Type.Integer({ minimum: 0 }),
  event: OneOf(agentEvents),
  /** With `stopped`. */
  cause: Nullable(OneOf(stopCauses)),
  /** With `new-arbiter`. */
  decides: Type.Optional(Open({ n: ProtectionConfig.properties.n, arbiter: ArbiterId })),
  /** One per attempt: the same attempt again (a lost reply) is answered as the first time. */
  attempt: Type.String({ maxLength: 64 }),
})
export type TransitionRequest = Static<typeof TransitionRequest>

/** The transition that a host asks for. Throws `invalid-request` where something that belongs to it is missing. */
export function transitionBy(by: HostId, { event, cause, decides }: TransitionRequest): RunTransition {
  switch (event) {
    case 'stopped':
      if (cause === null) throw new HoldfastError('invalid-request', 'A stop needs its cause')
      return { event, by, cause }
    case 'new-arbiter':
      if (decides === undefined) throw new HoldfastError('invalid-request', 'Who decides now must be said')
      return { event, by, ...decides }
    default:
      return { event, by }
  }
}

/** The record as it is now, whether this transition made it so or was refused. */
export const TransitionResponse = Open({
  isAccepted: Type.Boolean(),
  reason: Nullable(Type.String()),
  record: RunRecord,
})
export type TransitionResponse = Static<typeof TransitionResponse>

/** The typed client that an agent has. Every call may throw `unreachable`: the outcome is then unknown. */
export interface ManagerApi extends ArbiterApi {
  report(report: HostReport): Promise<ReportResponse>
  transition(request: TransitionRequest): Promise<TransitionResponse>
  record(vm: Static<typeof VmIdSchema>): Promise<RunRecord>
  /** What this host promises about its armed VMs. Throws `stale-generation` for a round that is closed or over. */
  promise(promise: HostPromise): Promise<void>
  /** To be asked when a third of the certificate's time is left. */
  renew(request: RenewRequest): Promise<RenewResponse>
  /** For a key of its own. Throws `not-found` where the manager is older and has no such call. */
  streamCertificate(request: RenewRequest): Promise<StreamCertificateResponse>
}
