/** How use cases write: read, decide, commit; and again from the start when another writer was faster. */
import { HoldfastError } from '../../base/errors.ts'
import type { MadeObject, Records } from '../store/records.ts'
import type { Caller } from './context.ts'
import type { Change, NewEvent, Store, Stored } from '../store/store.ts'

export interface Decision<T> {
  readonly changes: readonly Change[]
  readonly events?: readonly NewEvent[]
  readonly value: T
}

/** A writer that loses this often has met more than bad luck. */
const maxAttempts = 20

/**
 * Commits what `decide` says. `decide` reads for itself and may run several times: everything it concludes must come from
 * what it has read, and it throws the refusals. A decision without changes and events commits nothing.
 */
export async function write<T>(store: Store, decide: () => Promise<Decision<T>>): Promise<T> {
  for (let attempt = 0; attempt < maxAttempts; attempt++) {
    const decision = await decide()
    const events = decision.events ?? []
    if (decision.changes.length === 0 && events.length === 0) return decision.value
    const result = await store.commit({ changes: decision.changes, events })
    if (result.ok) return decision.value
    // The same key was faster elsewhere: deciding anew cannot help, its answer is there.
    if (result.kind === 'idempotency') break
  }
  throw new HoldfastError('conflict', 'others kept changing the same object', { mend: 'Try again in a moment.' })
}

/** What is committed with an object that a request makes, when the request bears an idempotency key. */
export function pledged(caller: Caller, made: MadeObject): Change[] {
  return caller.pledge === undefined ? [] : [caller.pledge.changeFor(made)]
}

type NamedKind =
  | 'cluster'
  | 'manager'
  | 'host'
  | 'vm'
  | 'datastore'
  | 'network'
  | 'image'
  | 'task'
  | 'token'
  | 'run'
  | 'rule'
  | 'alarm'
  | 'target'

const wordOf: Record<NamedKind, string> = {
  manager: 'manager',
  host: 'host',
  vm: 'VM',
  datastore: 'datastore',
  network: 'network',
  image: 'image',
  task: 'task',
  token: 'token',
  run: 'VM',
  alarm: 'alarm',
  target: 'notification target',
  rule: 'rule',
  cluster: 'cluster',
}

/** The record with this id. Throws `not-found`. */
export async function need<K extends NamedKind>(store: Store, kind: K, id: string): Promise<Stored<Records[K]>> {
  const stored = await store.get(kind, id)
  if (stored === undefined) throw notFound(kind, id)
  return stored
}

export function notFound(kind: NamedKind, id: string): HoldfastError {
  const word = wordOf[kind]
  return new HoldfastError('not-found', `there is no ${word} ${id}`, {
    mend: `List them to see which there are; a ${word} is named by its id here.`,
  })
}

/** What an event is about. */
export function subjectOf(kind: string, record: { id: string; name: string }): NewEvent['subject'] {
  return { kind, id: record.id, name: record.name }
}

/** An event that no task brought about. */
export function newEvent(
  type: string,
  subject: NewEvent['subject'],
  message: string,
  data: Record<string, unknown> = {},
): NewEvent {
  return { type, subject, message, task: null, data }
}

/**
 * Refuses a name that cannot be one or that a sibling has; the change that takes it otherwise. It must be committed with
 * its owner.
 */
export async function claim(store: Store, id: string, owner: string, taken: () => HoldfastError): Promise<Change> {
  const existing = await store.get('claim', id)
  if (existing !== undefined) throw taken()
  return { do: 'create', kind: 'claim', value: { id, v: 1, owner } }
}

/** The change that gives a claim back; none when it is gone already. */
export async function unclaim(store: Store, id: string, owner: string): Promise<Change[]> {
  const existing = await store.get('claim', id)
  if (existing?.value.owner !== owner) return []
  return [{ do: 'remove', kind: 'claim', id, expected: existing.revision }]
}
