/** From the word that a person writes to an object: by name first, then as an id. */
import { HoldfastError } from '../../base/errors.ts'
import { isShortId } from '../../base/ids.ts'
import type { ItemOf, ListRoute, Session } from './session.ts'

export const namedKinds = {
  vm: { route: 'listVms', say: 'VM', list: 'holdfast vm list' },
  host: { route: 'listHosts', say: 'host', list: 'holdfast host list' },
  datastore: { route: 'listDatastores', say: 'datastore', list: 'holdfast datastore list' },
  network: { route: 'listNetworks', say: 'network', list: 'holdfast network list' },
  image: { route: 'listImages', say: 'image', list: 'holdfast image list' },
  manager: { route: 'listManagers', say: 'manager', list: 'holdfast manager list' },
  rule: { route: 'listRules', say: 'rule', list: 'holdfast rule list' },
  token: { route: 'listTokens', say: 'token', list: 'holdfast token list' },
  target: { route: 'listNotificationTargets', say: 'notification target', list: 'holdfast notification list' },
} as const satisfies Record<string, { route: ListRoute; say: string; list: string }>

export type NamedKind = keyof typeof namedKinds
type ItemOfKind<K extends NamedKind> = ItemOf<(typeof namedKinds)[K]['route']>

/**
 * The object that a word names. A word of the form of an id is one (no object may bear such a name). Throws `not-found`;
 * `conflict` where several bear the name.
 */
export async function resolveObject<K extends NamedKind>(
  session: Session,
  kind: K,
  word: string,
): Promise<ItemOfKind<K>> {
  const { route, say, list } = namedKinds[kind]
  const isId = isShortId(kind, word)
  // Tokens cannot be asked for by name, and a list by id does not exist: those few lists are read whole.
  const query = isId || kind === 'token' ? {} : { name: word }
  const items = (await session.list(route, query)) as { id: string; name: string }[]
  const found = items.filter((item) => (isId ? item.id === word : item.name === word))
  if (found.length === 1) return found[0] as ItemOfKind<K>
  if (found.length === 0) {
    throw new HoldfastError('not-found', `there is no ${say} ${word}`, { mend: `\`${list}\` shows what there is.` })
  }
  throw new HoldfastError('conflict', `${found.length} ${say}s are named ${word}`, {
    mend: `Name one by its id: ${found.map((item) => item.id).join(', ')}.`,
  })
}

/** The id that a word stands for, without asking where the word is an id already. */
export async function resolveId(session: Session, kind: NamedKind, word: string): Promise<string> {
  if (isShortId(kind, word)) return word
  const found = (await resolveObject(session, kind, word)) as { id: string }
  return found.id
}
