/**
 * What agents ask of the manager. All but `join` demand a client certificate of the cluster's authority, and that its
 * fingerprint is the one in the host's record: a host that was removed, or has joined again, cannot use its old one.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { TLSSocket } from 'node:tls'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import { managerCalls } from '../../contracts/agent-routes.ts'
import type { HostPromise } from '../../contracts/host-lease.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { JoinManagerRequest } from '../../contracts/manager-join.ts'
import type { JoinRequest, RenewRequest, TransitionRequest } from '../../contracts/manager-api.ts'
import { mustTakePart, vmOf, type ArbiterAsk } from '../../contracts/arbiter-door.ts'
import type {
  ArbiterApi,
  ArbiterAskRequest,
  ArbiterOpenRequest,
  ArbiterSupersedeRequest,
} from '../../contracts/protection.ts'
import type { Manager } from '../../manager/app/manager.ts'
import type { FailureLimit } from '../auth/failure-limit.ts'
import type { Validation } from '../rest/validation.ts'

export interface AgentDoorParts {
  readonly manager: Manager
  readonly failures: FailureLimit
  readonly validation: Validation
  readonly logger: Logger
}

type CallName = keyof typeof managerCalls
type Handler = (request: FastifyRequest, body: unknown) => Promise<unknown>

/** Reports of hosts with very many VMs are larger than what people send. */
const bodyLimitBytes = 16 * 1024 * 1024

export function installAgentDoor(server: FastifyInstance, parts: AgentDoorParts): void {
  const { manager, validation, failures } = parts
  const handlers: Record<CallName, Handler> = {
    join: async (request, body) => {
      try {
        return await manager.joins.join(body as JoinRequest)
      } catch (thrown) {
        if (thrown instanceof HoldfastError && thrown.code === 'not-allowed') throw failures.failed(request.ip, thrown)
        throw thrown
      }
    },
    joinManager: async (request, body) => {
      try {
        return await manager.managerJoins.join(body as JoinManagerRequest)
      } catch (thrown) {
        if (thrown instanceof HoldfastError && thrown.code === 'not-allowed') throw failures.failed(request.ip, thrown)
        throw thrown
      }
    },
    report: async (request, body) => {
      const host = await hostOf(manager, request)
      // Last, when all of it has arrived: a manager that was frozen must not take a host for alive by what lay in its socket.
      if (!manager.holdsLead()) throw leadsNoMore()
      return manager.reports.take(host, body as HostReport)
    },
    transition: async (request, body) =>
      manager.runRecords.transition(await hostOf(manager, request), body as TransitionRequest),
    record: async (request, body) => {
      await hostOf(manager, request)
      return manager.runRecords.get((body as { vm: VmId }).vm)
    },
    promise: async (request, body) => manager.leases.promise(await hostOf(manager, request), body as HostPromise),
    renew: async (request, body) => manager.joins.renew(await hostOf(manager, request), body as RenewRequest),
    streamCertificate: async (request, body) =>
      manager.joins.streamCertificate(await hostOf(manager, request), body as RenewRequest),
    ...arbiterHandlers(manager),
  }
  for (const name of Object.keys(managerCalls) as CallName[]) {
    const call = managerCalls[name]
    server.post(call.path, { bodyLimit: bodyLimitBytes }, async (request, reply) => {
      const body = validation.check(call.body, 'body', request.body ?? {})
      const answer = await handlers[name](request, body)
      if (call.reply === null) return reply.code(204).send()
      return reply.type('application/json; charset=utf-8').send(JSON.stringify(answer))
    })
  }
}

/** What pumps ask of the managers where these are the arbiter: hosts of the cluster alone may, each for its own part. */
function arbiterHandlers(manager: Manager): Record<keyof ArbiterApi, Handler> {
  const { arbiter } = manager
  const asked =
    <Body>(toAsk: (body: Body) => ArbiterAsk, answer: (body: Body) => Promise<unknown>): Handler =>
    async (request, body) => {
      const host = await hostOf(manager, request)
      const ask = toAsk(body as Body)
      mustTakePart(host, ask, ask.ask === 'life' ? undefined : await arbiter.newest(vmOf(ask)))
      return answer(body as Body)
    }
  return {
    arbiterLife: asked(
      () => ({ ask: 'life' }),
      () => arbiter.arbiterLife(),
    ),
    arbiterOpen: asked(
      (request: ArbiterOpenRequest) => ({ ask: 'open', request }),
      (request) => arbiter.arbiterOpen(request),
    ),
    arbiterClaim: asked(
      (request: ArbiterAskRequest) => ({ ask: 'claim', request }),
      (request) => arbiter.arbiterClaim(request),
    ),
    arbiterLook: asked(
      (request: ArbiterAskRequest) => ({ ask: 'look', request }),
      (request) => arbiter.arbiterLook(request),
    ),
    arbiterSupersede: asked(
      (request: ArbiterSupersedeRequest) => ({ ask: 'supersede', request }),
      (request) => arbiter.arbiterSupersede(request),
    ),
  }
}

/** Throws `not-allowed` for a request that no host of the cluster has sent. */
async function hostOf(manager: Manager, request: FastifyRequest): Promise<HostId> {
  const { socket } = request.raw
  const refuse = (message: string): HoldfastError =>
    new HoldfastError('not-allowed', message, { mend: 'Join the host (again): `holdfast agent join`.' })
  if (!(socket instanceof TLSSocket) || !socket.authorized) {
    const hasEnded = socket instanceof TLSSocket && String(socket.authorizationError) === 'CERT_HAS_EXPIRED'
    throw refuse(hasEnded ? 'the certificate of this host has ended' : 'this needs a client certificate of the cluster')
  }
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) throw refuse('this needs a client certificate of the cluster')
  const fingerprint = certificate.fingerprint256.replaceAll(':', '').toLowerCase()
  const host = await manager.joins.hostOf(fingerprint)
  if (host === undefined) throw refuse('this certificate is of no host of the cluster (any more)')
  manager.certificateEnds.saw(host.id, Date.parse(certificate.validTo))
  return host.id
}

function leadsNoMore(): HoldfastError {
  return new HoldfastError('unreachable', 'this manager does not lead', { mend: 'Ask the manager that leads.' })
}
