/** The HTTPS server: REST, events, consoles, the agents' door, documentation and the web page on one port. */
import Fastify, { type FastifyInstance } from 'fastify'
import { createServer as createHttpServer } from 'node:http'
import type { Clock } from '../../base/clock.ts'
import type { Logger } from '../../base/log.ts'
import type { KeyPair } from '../../manager/app/authority.ts'
import type { Manager } from '../../manager/app/manager.ts'
import { installAgentDoor } from '../agents/agent-door.ts'
import { Callers } from '../auth/callers.ts'
import { FailureLimit } from '../auth/failure-limit.ts'
import { ConsoleSockets } from '../console/console-sockets.ts'
import { EventStreams } from '../events/event-streams.ts'
import { installWebPage, type WebFiles } from '../web/web-page.ts'
import { installDocs, type DocsFiles } from './docs.ts'
import { installProblems } from './problems.ts'
import { installRoutes } from './routes.ts'
import { installSecurityHeaders } from './security-headers.ts'
import { Validation } from './validation.ts'

export interface ServerOptions {
  readonly manager: Manager
  readonly clock: Clock
  readonly logger: Logger
  /** Our certificate and the only authority that client certificates may come from. Absent: plain HTTP, for tests. */
  readonly tls?: KeyPair & { readonly ca: string }
  /** It listens nowhere: requests come from the front door of a manager that is one of several. */
  readonly isBehindDoor?: boolean
  readonly web: WebFiles & DocsFiles
}

const bodyLimitBytes = 1024 * 1024

/** Built, not listening. Its `close` ends streams and consoles, lets requests that run come to their end, and stops. */
export async function createServer(options: ServerOptions): Promise<FastifyInstance> {
  const { manager, clock, logger, tls } = options
  const server = newFastify(tls, options.isBehindDoor === true)
  const validation = new Validation()
  const failures = new FailureLimit(clock)
  const callers = new Callers(manager.access, failures)
  const streams = new EventStreams({ manager, callers, clock, logger })
  const consoles = new ConsoleSockets({ manager, clock, logger })
  server.decorateRequest('caller', undefined)
  installSecurityHeaders(server)
  installProblems(server, logger)
  server.get('/healthz', async () => ({ status: 'ok', revision: manager.revision }))
  installRoutes(server, { manager, callers, failures, validation })
  installAgentDoor(server, { manager, failures, validation, logger })
  streams.install(server)
  consoles.install(server)
  installDocs(server, options.web)
  installWebPage(server, options.web)
  server.addHook('preClose', async () => {
    streams.closeAll()
    consoles.closeAll()
  })
  await server.ready()
  return server
}

function newFastify(tls: ServerOptions['tls'], isBehindDoor: boolean): FastifyInstance {
  const common = {
    bodyLimit: bodyLimitBytes,
    logger: false,
    // Errors of our own handlers tell people what to do; so do those of the router.
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 200 },
    return503OnClosing: true,
    forceCloseConnections: 'idle' as const,
  }
  if (isBehindDoor) {
    // The door lets through for whom a request is passed on from managers alone.
    return Fastify({ ...common, trustProxy: true, serverFactory: (handle) => createHttpServer(handle) })
  }
  if (tls === undefined) return Fastify(common)
  const https = {
    ...{ cert: tls.cert, key: tls.key, ca: tls.ca, minVersion: 'TLSv1.3' as const },
    // Agents show certificates, people show none: who must is decided by route.
    ...{ requestCert: true, rejectUnauthorized: false },
  }
  return Fastify({ ...common, https })
}
