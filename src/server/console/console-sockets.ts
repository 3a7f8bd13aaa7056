/** Console WebSockets: `GET /v1/consoles?ticket=…`. The ticket is the permission; it works once. */
import type { FastifyInstance } from 'fastify'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { Clock } from '../../base/clock.ts'
import { toHoldfastError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { problemMediaType, toProblem } from '../../contracts/problem.ts'
import { consolePath } from '../../contracts/routes.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Manager } from '../../manager/app/manager.ts'
import { ConsoleSession } from './console-session.ts'

export interface ConsoleParts {
  readonly manager: Manager
  readonly clock: Clock
  readonly logger: Logger
}

/** A message of a client: keystrokes, clipboard. */
const maxMessageBytes = 1024 * 1024
const goingAway = 1001

export class ConsoleSockets {
  readonly #parts: ConsoleParts
  readonly #sessions = new Set<ConsoleSession>()
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: maxMessageBytes,
    perMessageDeflate: false,
    handleProtocols: (protocols) => (protocols.has('binary') ? 'binary' : false),
  })

  constructor(parts: ConsoleParts) {
    this.#parts = parts
  }

  install(server: FastifyInstance): void {
    server.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => socket.destroy())
      this.#upgrade(request, socket, head).catch((thrown: unknown) => refuse(socket, thrown))
    })
  }

  closeAll(): void {
    for (const session of this.#sessions) session.end(goingAway, 'the manager is stopping')
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const url = new URL(request.url ?? '/', 'https://manager.holdfast')
    if (url.pathname !== consolePath) throw new HoldfastError('not-found', `no WebSocket is at ${url.pathname}`)
    const { consoles } = this.#parts.manager
    const ticket = consoles.redeem(url.searchParams.get('ticket') ?? '')
    const host = await consoles.whereabouts(ticket.vm)
    const upstream = await consoles.connect(host, ticket.vm, ticket.kind)
    if (socket.destroyed) {
      upstream.destroy()
      return
    }
    this.#server.handleUpgrade(request, socket, head, (client) => {
      const session = new ConsoleSession({ ...this.#parts, client, vm: ticket.vm, kind: ticket.kind })
      this.#sessions.add(session)
      client.once('close', () => this.#sessions.delete(session))
      session.begin(host, upstream)
    })
  }
}

function refuse(socket: Duplex, thrown: unknown): void {
  const problem = toProblem(toHoldfastError(thrown))
  const body = JSON.stringify(problem)
  socket.end(
    `HTTP/1.1 ${problem.status} ${problem.code}\r\nContent-Type: ${problemMediaType}\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
