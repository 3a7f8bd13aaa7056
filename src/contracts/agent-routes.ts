/**
 * The two wires between manager and agent as tables. Both speak JSON over mutual TLS; errors are problem documents.
 *
 * Manager → agent: `POST /v1/METHOD-IN-KEBAB-CASE`, the body an object of the arguments, named as in `AgentApi`; where
 * the only argument is `request`, the body is the request itself. A method that returns nothing answers 204. What is not
 * JSON has its own paths: see `agentStreams`.
 *
 * Agent → manager: `POST /agent/v1/…`, see `managerCalls`.
 */
import {
  ChangeArbiterRequest,
  DiscardResponse,
  HostConfiguration,
  JobRequest,
  JobStatus,
  PrepareIncomingRequest,
  PrepareIncomingResponse,
  PrepareSecondRequest,
  SettleRequest,
  SignalRequest,
  StartRequest,
  StopRequest,
  UnprotectRequest,
  type AgentApi,
  type NeighbourApi,
} from './agent-api.ts'
import { HostReport, VmObservation } from './host.ts'
import { StartUpgradeRequest, UpgradeReport } from './host-upgrade.ts'
import { HostPromise, VouchAnswer, VouchRequest } from './host-lease.ts'
import { DatastoreIdSchema, DiskIdSchema, ImageIdSchema, TaskIdSchema, VmIdSchema } from './ids.ts'
import { JoinManagerRequest, JoinManagerResponse } from './manager-join.ts'
import {
  JoinRequest,
  JoinResponse,
  RenewRequest,
  RenewResponse,
  StreamCertificateResponse,
  ReportResponse,
  TransitionRequest,
  TransitionResponse,
} from './manager-api.ts'
import { ProbeRequest, ProbeResult } from './probe.ts'
import {
  ArbiterAskRequest,
  ArbiterOpenRequest,
  ArbiterSupersedeRequest,
  RegisterAnswer,
  SecondEndpoint,
} from './protection.ts'
import { RunRecord } from './run-record.ts'
import { Count, Open, Type, type TSchema } from './schema.ts'

export interface WireCall {
  readonly path: string
  readonly body: TSchema
  /** Null: 204. */
  readonly reply: TSchema | null
}

const vm = VmIdSchema
const Generation = Type.Integer({ minimum: 0 })
const UploadOffset = Open({ offset: Count })
const jobId = Type.String({ maxLength: 128 })

/** The arbiter's calls, the same on an agent and on a manager but for where they begin. Hosts of the cluster make them too. */
function arbiterCalls<const Root extends string>(root: Root) {
  return {
    arbiterLife: { path: `${root}/arbiter-life`, body: Open({}), reply: Open({ life: Type.String() }) },
    arbiterOpen: { path: `${root}/arbiter-open`, body: ArbiterOpenRequest, reply: null },
    arbiterClaim: { path: `${root}/arbiter-claim`, body: ArbiterAskRequest, reply: RegisterAnswer },
    arbiterLook: { path: `${root}/arbiter-look`, body: ArbiterAskRequest, reply: RegisterAnswer },
    arbiterSupersede: { path: `${root}/arbiter-supersede`, body: ArbiterSupersedeRequest, reply: RegisterAnswer },
  } as const
}

type JsonMethod = Exclude<keyof AgentApi, 'upload' | 'screenshot' | 'console'>

export const agentCalls = {
  report: { path: '/v1/report', body: Open({}), reply: HostReport },
  configure: { path: '/v1/configure', body: Open({ configuration: HostConfiguration }), reply: null },
  observe: { path: '/v1/observe', body: Open({ vm }), reply: VmObservation },
  start: { path: '/v1/start', body: StartRequest, reply: VmObservation },
  stop: { path: '/v1/stop', body: Open({ vm, request: StopRequest }), reply: VmObservation },
  signal: { path: '/v1/signal', body: Open({ vm, request: SignalRequest }), reply: VmObservation },
  prepareIncoming: { path: '/v1/prepare-incoming', body: PrepareIncomingRequest, reply: PrepareIncomingResponse },
  discardIncoming: { path: '/v1/discard-incoming', body: Open({ vm, generation: Generation }), reply: DiscardResponse },
  releaseIncoming: { path: '/v1/release-incoming', body: Open({ vm, generation: Generation }), reply: VmObservation },
  settle: { path: '/v1/settle', body: Open({ vm, request: SettleRequest }), reply: VmObservation },
  prepareSecond: { path: '/v1/prepare-second', body: PrepareSecondRequest, reply: SecondEndpoint },
  discardSecond: { path: '/v1/discard-second', body: Open({ vm, n: Count }), reply: VmObservation },
  unprotect: { path: '/v1/unprotect', body: Open({ vm, request: UnprotectRequest }), reply: VmObservation },
  changeArbiter: {
    path: '/v1/change-arbiter',
    body: Open({ vm, request: ChangeArbiterRequest }),
    reply: VmObservation,
  },
  ...arbiterCalls('/v1'),
  probe: { path: '/v1/probe', body: Open({ vm, request: ProbeRequest }), reply: ProbeResult },
  serialTail: { path: '/v1/serial-tail', body: Open({ vm }), reply: Open({ base64: Type.String() }) },
  startJob: { path: '/v1/start-job', body: JobRequest, reply: JobStatus },
  job: { path: '/v1/job', body: Open({ id: jobId }), reply: JobStatus },
  cancelJob: { path: '/v1/cancel-job', body: Open({ id: jobId }), reply: JobStatus },
  uploadStatus: {
    path: '/v1/upload-status',
    body: Open({ id: Type.String(), datastore: DatastoreIdSchema }),
    reply: UploadOffset,
  },
  deleteDisk: {
    path: '/v1/delete-disk',
    body: Open({ disk: DiskIdSchema, datastore: DatastoreIdSchema, task: Type.Optional(TaskIdSchema) }),
    reply: null,
  },
  deleteImage: {
    path: '/v1/delete-image',
    body: Open({ image: ImageIdSchema, datastore: DatastoreIdSchema }),
    reply: null,
  },
  startUpgrade: { path: '/v1/start-upgrade', body: StartUpgradeRequest, reply: UpgradeReport },
  vouch: { path: '/v1/vouch', body: VouchRequest, reply: VouchAnswer },
  tellRecord: { path: '/v1/tell-record', body: Open({ record: RunRecord }), reply: null },
} as const satisfies Record<JsonMethod | keyof NeighbourApi, WireCall>

/** Paths on the agent that carry something other than JSON. */
export const agentStreams = {
  /** `PUT /v1/uploads/{id}?datastore=DS&offset=N`, a raw body; answers `{offset}`. */
  upload: '/v1/uploads/{id}',
  /** `GET`; answers image/png. */
  screenshot: '/v1/vms/{vm}/screenshot',
  /** WebSocket of binary messages; `{kind}` is `serial` or `vnc`. */
  console: '/v1/vms/{vm}/console/{kind}',
} as const

/** What a manager answers to agents. `join` alone needs no client certificate: a one-time token opens it. */
export const managerCalls = {
  join: { path: '/agent/v1/join', body: JoinRequest, reply: JoinResponse },
  /** No agent's, but a machine's that becomes a manager; opened by a one-time token likewise. */
  joinManager: { path: '/agent/v1/join-manager', body: JoinManagerRequest, reply: JoinManagerResponse },
  report: { path: '/agent/v1/report', body: HostReport, reply: ReportResponse },
  transition: { path: '/agent/v1/transition', body: TransitionRequest, reply: TransitionResponse },
  record: { path: '/agent/v1/record', body: Open({ vm }), reply: RunRecord },
  promise: { path: '/agent/v1/promise', body: HostPromise, reply: null },
  renew: { path: '/agent/v1/renew', body: RenewRequest, reply: RenewResponse },
  streamCertificate: { path: '/agent/v1/stream-certificate', body: RenewRequest, reply: StreamCertificateResponse },
  ...arbiterCalls('/agent/v1'),
} as const satisfies Record<string, WireCall>
