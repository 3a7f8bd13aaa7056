/** Every error as a problem document, the framework's own included. Causes and stacks go to the log, never out. */
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { HoldfastError, type ErrorCode } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { problemMediaType, toProblem } from '../../contracts/problem.ts'

export function installProblems(server: FastifyInstance, logger: Logger): void {
  server.setErrorHandler((thrown: FastifyError | HoldfastError | Error, request, reply) =>
    sendProblem(reply, asHoldfastError(thrown), request, logger),
  )
  server.setNotFoundHandler((request, reply) => {
    const error = new HoldfastError('not-found', `there is nothing at ${request.method} ${pathOf(request)}`, {
      mend: 'See /docs/api for what there is.',
    })
    return sendProblem(reply, error, request, logger)
  })
}

/** What whoever runs the manager should see; refusals are the caller's. */
const ourFaults: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'internal',
  'store-error',
  'host-error',
  'hypervisor-error',
])

export function sendProblem(
  reply: FastifyReply,
  error: HoldfastError,
  request: FastifyRequest,
  logger: Logger,
): FastifyReply {
  const problem = toProblem(error)
  if (ourFaults.has(error.code)) {
    logger.warn({ err: error, method: request.method, path: pathOf(request) }, 'a request failed')
  }
  if (error.code === 'internal') problem.detail = 'An error of Holdfast itself; its log says more.'
  if (problem.status === 401) reply.header('www-authenticate', 'Bearer realm="holdfast"')
  if (problem.status === 429) reply.header('retry-after', '60')
  return reply.code(problem.status).type(problemMediaType).send(JSON.stringify(problem))
}

/** The framework's errors in our words. */
function asHoldfastError(thrown: FastifyError | Error): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown
  const code = 'code' in thrown ? thrown.code : ''
  const status = 'statusCode' in thrown ? (thrown.statusCode ?? 500) : 500
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new HoldfastError('too-large', 'the request is larger than 1 MiB', {
      mend: 'Files go by POST /v1/uploads.',
    })
  }
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new HoldfastError('invalid-request', 'the request has a media type that is not taken here', {
      mend: 'Send application/json.',
    })
  }
  if (status >= 400 && status < 500) return new HoldfastError('invalid-request', thrown.message)
  return new HoldfastError('internal', thrown.message, {}, { cause: thrown })
}

/** Without the query string, which may bear a ticket. */
function pathOf(request: FastifyRequest): string {
  return request.url.split('?', 1)[0] ?? ''
}
