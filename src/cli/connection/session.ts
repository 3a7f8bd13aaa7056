/**
 * A client of the manager as commands use it: reads go through as they are, changes bear an idempotency key and are sent
 * again when no answer came, lists are read page by page.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Random } from '../../base/random.ts'
import type { CallInput, Client } from '../../contracts/client.ts'
import type { ReplyOf, RouteName } from '../../contracts/routes.ts'
import type { Settings } from './settings.ts'

/** The routes that answer with a page of a list. */
export type ListRoute = {
  [N in RouteName]: ReplyOf<N> extends { items: unknown[]; next: string | null } ? N : never
}[RouteName]
export type ItemOf<N extends ListRoute> = ReplyOf<N> extends { items: (infer Item)[] } ? Item : never

export interface Session {
  readonly settings: Settings
  readonly client: Client
  /** A call that changes something: repeated with the same key for as long as the manager gives no answer (three times). */
  change<N extends RouteName>(name: N, input: CallInput<N>): Promise<ReplyOf<N>>
  /** Every item of a list. */
  list<N extends ListRoute>(name: N, query?: Record<string, unknown>): Promise<ItemOf<N>[]>
}

const pausesMs = [250, 1000]

export function makeSession(client: Client, settings: Settings, ports: { clock: Clock; random: Random }): Session {
  return {
    settings,
    client,
    async change(name, input) {
      const idempotencyKey = ports.random.uuid()
      for (let attempt = 0; ; attempt += 1) {
        try {
          return await callAny(client, name, input, idempotencyKey)
        } catch (thrown) {
          const pauseMs = pausesMs[attempt]
          if (!(thrown instanceof HoldfastError && thrown.code === 'unreachable') || pauseMs === undefined) throw thrown
          await ports.clock.sleep(pauseMs)
        }
      }
    },
    list: (name, query = {}) => listAll(client, name, query),
  }
}

/** TypeScript cannot see that a generic route's input is what its call takes; the types of `Client.call` hold for callers. */
type AnyCall = (name: string, input: unknown, options?: { idempotencyKey: string }) => Promise<unknown>

function callAny<N extends RouteName>(
  client: Client,
  name: N,
  input: unknown,
  idempotencyKey?: string,
): Promise<ReplyOf<N>> {
  const call = client.call.bind(client) as unknown as AnyCall
  const options = idempotencyKey === undefined ? undefined : { idempotencyKey }
  return call(name, input, options) as Promise<ReplyOf<N>>
}

async function listAll<N extends ListRoute>(
  client: Client,
  name: N,
  query: Record<string, unknown>,
): Promise<ItemOf<N>[]> {
  const items: ItemOf<N>[] = []
  let after: string | undefined
  do {
    const input = { query: { ...query, ...(after === undefined ? {} : { after }) } }
    const page = (await callAny(client, name, input)) as { items: ItemOf<N>[]; next?: string | null }
    items.push(...page.items)
    after = page.next ?? undefined
  } while (after !== undefined)
  return items
}
