/** Reads a text/event-stream of events (the form of `GET /v1/events/stream`). */
import type { Readable } from 'node:stream'
import { HoldfastError } from '../base/errors.ts'
import type { Event } from './inventory.ts'

/** One message must fit in this much text; a stream that sends more is broken. */
const maxMessageChars = 4 * 1024 * 1024

/** Yields events until the stream ends or the signal aborts (both quietly); throws `unreachable` when it breaks. */
export async function* readEventStream(body: Readable, signal: AbortSignal): AsyncGenerator<Event | 'relist'> {
  const onAbort = (): void => void body.destroy()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    for await (const message of messages(body)) {
      const event = parseMessage(message)
      if (event !== undefined) yield event
    }
  } catch (thrown) {
    if (signal.aborted) return
    if (thrown instanceof HoldfastError) throw thrown
    throw new HoldfastError(
      'unreachable',
      'the event stream broke',
      { mend: 'Open it again from the place of the last event.' },
      { cause: thrown },
    )
  } finally {
    signal.removeEventListener('abort', onAbort)
    body.destroy()
  }
}

async function* messages(body: Readable): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let held = ''
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    held += decoder.decode(chunk, { stream: true })
    const parts = held.split('\n\n')
    held = parts.pop() ?? ''
    if (held.length > maxMessageChars) throw new HoldfastError('too-large', 'a message of the event stream has no end')
    yield* parts
  }
}

/** The event in a message; undefined for heartbeats and for names that a newer manager may send. */
function parseMessage(message: string): Event | 'relist' | undefined {
  let name = 'message'
  const data: string[] = []
  for (const line of message.split('\n')) {
    if (line.startsWith('event:')) name = line.slice(6).trim()
    else if (line.startsWith('data:')) data.push(line.slice(line.startsWith('data: ') ? 6 : 5))
  }
  if (name === 'relist') return 'relist'
  return name === 'message' && data.length > 0 ? (JSON.parse(data.join('\n')) as Event) : undefined
}
