/**
 * `GET /v1/events/stream`: events as they happen, as text/event-stream. A message's id is the event's place, from which
 * a stream can be resumed. A reader that is too slow is cut off, not buffered for: it comes back with its last id.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { ServerResponse } from 'node:http'
import type { Clock } from '../../base/clock.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import { eventStreamPath } from '../../contracts/routes.ts'
import type { Event } from '../../contracts/inventory.ts'
import { placeText, readPlace, type EventPlace } from '../../manager/app/events.ts'
import type { Manager } from '../../manager/app/manager.ts'
import type { Callers } from '../auth/callers.ts'

const heartbeatMs = 15_000
const maxStreams = 500
/** What may wait for a reader in memory. */
const maxWaitingBytes = 1024 * 1024

export interface EventStreamParts {
  readonly manager: Manager
  readonly callers: Callers
  readonly clock: Clock
  readonly logger: Logger
}

export class EventStreams {
  readonly #parts: EventStreamParts
  readonly #open = new Set<AbortController>()

  constructor(parts: EventStreamParts) {
    this.#parts = parts
  }

  install(server: FastifyInstance): void {
    server.get(eventStreamPath, async (request, reply) => {
      await this.#parts.callers.need(request, 'reader')
      if (this.#open.size >= maxStreams) {
        throw new HoldfastError('too-many-requests', 'too many event streams are open')
      }
      const place = placeOf(request) ?? (await this.#parts.manager.events.now())
      this.#start(request, reply, place)
      return reply
    })
  }

  closeAll(): void {
    for (const controller of this.#open) controller.abort()
  }

  #start(request: FastifyRequest, reply: FastifyReply, place: EventPlace): void {
    const controller = new AbortController()
    this.#open.add(controller)
    reply.hijack()
    const out = reply.raw
    out.writeHead(200, {
      ...(reply.getHeaders() as Record<string, string>),
      'content-type': 'text/event-stream; charset=utf-8',
      'x-accel-buffering': 'no',
    })
    out.once('close', () => controller.abort())
    out.on('error', () => controller.abort())
    // Says at once that the stream stands, and where it begins.
    out.write(`retry: 2000\n: from ${placeText(place)}\n\n`)
    void this.#beat(request, out, controller)
    void this.#pump(out, place, controller).finally(() => {
      this.#open.delete(controller)
      controller.abort()
      out.end()
    })
  }

  async #pump(out: ServerResponse, place: EventPlace, controller: AbortController): Promise<void> {
    try {
      for await (const batch of this.#parts.manager.events.follow(place, controller.signal)) {
        const text = batch === 'relist' ? 'event: relist\ndata: {}\n\n' : batch.map(messageOf).join('')
        if (!write(out, text)) return
      }
    } catch (thrown) {
      this.#parts.logger.warn({ err: thrown }, `an event stream ended: ${describeError(thrown)}`)
    }
  }

  /** Keeps proxies from closing the stream, and ends it when its token or session is no longer good. */
  async #beat(request: FastifyRequest, out: ServerResponse, controller: AbortController): Promise<void> {
    const { signal } = controller
    try {
      for (;;) {
        await this.#parts.clock.sleep(heartbeatMs, signal)
        await this.#parts.callers.need(request, 'reader')
        if (!write(out, ': still here\n\n')) return
      }
    } catch {
      controller.abort()
    }
  }
}

/** False when the reader has been cut off. */
function write(out: ServerResponse, text: string): boolean {
  if (out.destroyed) return false
  out.write(text)
  if (out.writableLength <= maxWaitingBytes) return true
  out.destroy()
  return false
}

function messageOf(event: Event): string {
  return `id: ${placeText(event)}\ndata: ${JSON.stringify(event)}\n\n`
}

function placeOf(request: FastifyRequest): EventPlace | undefined {
  const query = request.query as { after?: unknown }
  const header = request.headers['last-event-id']
  const text = typeof header === 'string' && header !== '' ? header : query.after
  if (text === undefined) return undefined
  const place = typeof text === 'string' ? readPlace(text) : undefined
  if (place !== undefined) return place
  throw new HoldfastError('invalid-request', 'a place in the stream is written REVISION.SEQUENCE', { field: 'after' })
}
