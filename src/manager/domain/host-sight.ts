/** Whether a host that the managers do not hear is cut off or dead, by what the other hosts see of it. Pure. */
import type { HostId } from '../../base/ids.ts'
import type { NeighbourLook } from '../../contracts/host-lease.ts'

export interface Sighting {
  /** Who looked. */
  readonly by: HostId
  readonly look: NeighbourLook
}

/**
 * - `isolated`: somebody sees that it lives: its agent answers, or its marks on a shared datastore change.
 * - `silent`: those who looked see nothing of it. That is no proof that it is off.
 * - `unseen`: nobody has looked yet.
 */
export type Sight = 'isolated' | 'silent' | 'unseen'

/** What is known of a host by the looks of those that are heard. */
export function sightOf(
  host: HostId,
  sightings: readonly Sighting[],
): { readonly sight: Sight; readonly by: readonly Sighting[] } {
  const by = sightings.filter(({ look }) => look.host === host)
  const isSeen = by.some(({ look }) => look.network || look.storage === true)
  return { sight: isSeen ? 'isolated' : by.length > 0 ? 'silent' : 'unseen', by }
}

/** For people: who sees what. Names come by `nameOf`. */
export function describeSight(by: readonly Sighting[], nameOf: (host: HostId) => string): string {
  return by.map(({ by: who, look }) => `${nameOf(who)}: ${describeLook(look)}`).join('; ')
}

function describeLook({ network, storage }: NeighbourLook): string {
  const agent = network ? 'its agent answers' : 'its agent does not answer'
  if (storage === null) return agent
  return `${agent}, ${storage ? 'its marks on storage change' : 'it leaves no marks on storage'}`
}
