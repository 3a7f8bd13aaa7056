/** Who sends a request: a bearer token, or the session cookie of a browser on our own page. */
import type { FastifyRequest } from 'fastify'
import { HoldfastError } from '../../base/errors.ts'
import type { Role } from '../../contracts/routes.ts'
import type { Access } from '../../manager/app/access.ts'
import { hasRole, type Caller } from '../../manager/app/context.ts'
import type { FailureLimit } from './failure-limit.ts'

/** `__Host-` makes browsers insist on Secure, on path / and on this very host. */
export const sessionCookie = '__Host-holdfast'

const safeMethods = new Set(['GET', 'HEAD', 'OPTIONS'])

export class Callers {
  readonly #access: Access
  readonly #failures: FailureLimit

  constructor(access: Access, failures: FailureLimit) {
    this.#access = access
    this.#failures = failures
  }

  /** Throws `not-signed-in`, `not-allowed` (role, origin), or `too-many-requests` after many wrong secrets. */
  async need(request: FastifyRequest, role: Role): Promise<Caller> {
    const caller = await this.#identify(request)
    if (hasRole(caller.role, role)) return caller
    throw new HoldfastError('not-allowed', `this needs the role ${role}; ${caller.name} is ${caller.role}`, {
      mend: 'Use a token of an administrator, or ask one.',
    })
  }

  async #identify(request: FastifyRequest): Promise<Caller> {
    const { authorization } = request.headers
    if (authorization !== undefined) {
      const token = /^Bearer ([\x21-\x7e]{1,200})$/i.exec(authorization)?.[1]
      const caller = token === undefined ? undefined : await this.#access.callerOfToken(token)
      if (caller !== undefined) return caller
      throw this.#failures.failed(request.ip, wrong('this token is unknown, revoked or too old'))
    }
    const session = sessionOf(request)
    if (session === undefined) throw wrong('no token was sent')
    checkOrigin(request)
    const caller = await this.#access.callerOfSession(session)
    if (caller !== undefined) return caller
    throw this.#failures.failed(request.ip, wrong('this session is over'))
  }
}

/** The session in the request's cookies. */
export function sessionOf(request: FastifyRequest): string | undefined {
  for (const pair of (request.headers.cookie ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at > 0 && pair.slice(0, at).trim() === sessionCookie) return pair.slice(at + 1).trim()
  }
  return undefined
}

/** A browser sends its cookies whoever made it ask: what changes anything must come from our own page. */
export function checkOrigin(request: FastifyRequest): void {
  if (safeMethods.has(request.method)) return
  const { origin, host } = request.headers
  if (origin !== undefined && origin === `https://${host ?? ''}`) return
  throw new HoldfastError('not-allowed', 'a request with a session must come from the page of this manager')
}

function wrong(message: string): HoldfastError {
  return new HoldfastError('not-signed-in', message, {
    mend: 'Send `Authorization: Bearer TOKEN`; `holdfast token create` makes one.',
  })
}
