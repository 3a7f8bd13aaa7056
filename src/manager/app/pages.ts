/** Paging of lists: by the id of the last item of the page before, so that what is added or removed shifts nothing. */
import { HoldfastError } from '../../base/errors.ts'
import { idNumber } from '../../base/ids.ts'

export interface PageQuery {
  readonly limit?: number | undefined
  readonly after?: string | undefined
}

export interface PageOf<T> {
  items: T[]
  next: string | null
  revision: number
}

const defaultLimit = 1000

/** One page of items that are in order of id: rising, or falling where `newestFirst`. */
export function pageOf<T extends { readonly id: string }>(
  all: readonly T[],
  query: PageQuery,
  newestFirst = false,
): { items: T[]; next: string | null } {
  const limit = query.limit ?? defaultLimit
  const ordered = newestFirst ? all.toReversed() : all
  let start = 0
  if (query.after !== undefined) {
    const after = idNumber(query.after)
    if (!/^[a-z]+-[1-9][0-9]{0,15}$/.test(query.after)) {
      throw new HoldfastError('invalid-request', '`after` is not the `next` of a page', { field: 'after' })
    }
    start = firstIndex(ordered, ({ id }) => (newestFirst ? idNumber(id) < after : idNumber(id) > after))
  }
  const items = ordered.slice(start, start + limit)
  const isLast = start + limit >= ordered.length
  return { items, next: isLast ? null : (items.at(-1)?.id ?? null) }
}

/** One page of those that have the name that is asked for, or of all. */
export function namedPageOf<T extends { readonly id: string; readonly name: string }>(
  all: readonly T[],
  query: PageQuery & { readonly name?: string | undefined },
): { items: T[]; next: string | null } {
  const { name } = query
  return pageOf(name === undefined ? all : all.filter((each) => hasName(each, name)), query)
}

/** The first place from which on all are `past`, by halving: the items are in order. */
function firstIndex<T>(items: readonly T[], isPast: (item: T) => boolean): number {
  let [low, high] = [0, items.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const item = items[middle]
    if (item === undefined || isPast(item)) high = middle
    else low = middle + 1
  }
  return low
}

/** Whether a record has the name that a list is asked for. Names are one in any case of letters. */
export function hasName(record: { readonly name: string }, name: string | undefined): boolean {
  return name === undefined || record.name.toLowerCase() === name.toLowerCase()
}
