/** Past events, and the live stream of them. */
import { HoldfastError } from '../../base/errors.ts'
import type { Event } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import type { AppContext } from './context.ts'
import type { PageOf } from './pages.ts'

export interface EventPlace {
  readonly revision: number
  readonly sequence: number
}

const defaultLimit = 1000

export class Events {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  /** Throws `not-found` with `details.oldest` unknown when the place is no longer kept. */
  async list(query: CallOf<'listEvents'>['query'] = {}): Promise<PageOf<Event>> {
    const { store } = this.#context
    const limit = query.limit ?? defaultLimit
    const after = placeOf(query)
    const revision = await store.revision()
    let found = await store.events(after, limit + 1)
    // Without a place the list begins with the oldest event that is kept, wherever that is.
    if (found === 'relist' && query.after === undefined && query.afterRevision === undefined) {
      found = await store.events({ revision: await this.#oldestKept(), sequence: Number.MAX_SAFE_INTEGER }, limit + 1)
    }
    if (found === 'relist') {
      throw new HoldfastError('not-found', 'events before this place are no longer kept', {
        mend: 'Read the lists anew and go on from their revision.',
      })
    }
    const items = found.slice(0, limit)
    const last = items.at(-1)
    return { items, next: found.length > limit && last !== undefined ? placeText(last) : null, revision }
  }

  /** The place of "now": what has happened so far is before it. */
  async now(): Promise<EventPlace> {
    return { revision: await this.#context.store.revision(), sequence: Number.MAX_SAFE_INTEGER }
  }

  /** Events after a place as they happen. Ends when aborted. `relist`: the place is not kept; the stream goes on from now. */
  async *follow(after: EventPlace, signal: AbortSignal): AsyncGenerator<readonly Event[] | 'relist'> {
    let place = after
    while (!signal.aborted) {
      for await (const batch of this.#after(place, signal)) {
        yield batch
        const last = batch === 'relist' ? undefined : batch.at(-1)
        place = last ?? (await this.now())
      }
    }
  }

  async *#after(place: EventPlace, signal: AbortSignal): AsyncGenerator<readonly Event[] | 'relist'> {
    const { store } = this.#context
    // The place may be in the middle of a commit: watching begins before it, and what was seen is left out.
    const isWhole = place.sequence === Number.MAX_SAFE_INTEGER
    const from = isWhole ? place.revision : Math.max(0, place.revision - 1)
    for await (const batch of store.watch(from, signal)) {
      if (batch === 'relist') {
        yield 'relist'
        return
      }
      const news = batch.events.filter((event) => isAfter(event, place))
      if (news.length > 0) yield news
    }
  }

  async #oldestKept(): Promise<number> {
    return (await this.#context.store.oldestKept()) - 1
  }
}

function isAfter(event: Event, place: EventPlace): boolean {
  return event.revision > place.revision || (event.revision === place.revision && event.sequence > place.sequence)
}

function placeOf(query: NonNullable<CallOf<'listEvents'>['query']>): EventPlace {
  if (query.after !== undefined) {
    const place = readPlace(query.after)
    if (place !== undefined) return place
    throw new HoldfastError('invalid-request', '`after` is not the `next` of a page', { field: 'after' })
  }
  return {
    revision: query.afterRevision ?? 0,
    sequence: query.afterRevision === undefined ? 0 : Number.MAX_SAFE_INTEGER,
  }
}

export function placeText(place: EventPlace): string {
  return `${place.revision}.${place.sequence}`
}

/** Reads `REVISION.SEQUENCE` (or `REVISION`, which means all of that commit); undefined where it is neither. */
export function readPlace(text: string): EventPlace | undefined {
  const match = /^([0-9]{1,15})(?:\.([0-9]{1,15}))?$/.exec(text)
  if (match === null) return undefined
  return { revision: Number(match[1]), sequence: match[2] === undefined ? Number.MAX_SAFE_INTEGER : Number(match[2]) }
}
