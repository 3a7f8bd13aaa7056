/** What was kept of guests from before they were reset. */
import type { VmId } from '../../base/ids.ts'
import type { Evidence, EvidencePart } from '../../contracts/monitoring.ts'
import type { ReplyOf } from '../../contracts/routes.ts'
import { evidenceOf } from '../sagas/evidence.ts'
import type { AppContext } from './context.ts'
import { need } from './write.ts'

/** The newest first. Throws `not-found` for a VM that is not there. */
export async function listEvidence(
  { store }: Pick<AppContext, 'store'>,
  vm: string,
  hasContent: boolean,
): Promise<ReplyOf<'listEvidence'>> {
  await need(store, 'vm', vm)
  const kept = await evidenceOf({ store }, vm as VmId)
  return { items: kept.map(({ value }) => (hasContent ? shown(value) : listed(shown(value)))) }
}

/** Without what is the store's own. */
function shown({ task, vm, at, why, detail, screen, serial, missing }: Evidence): Evidence {
  return { task, vm, at, why, detail, screen, serial, missing }
}

function listed(evidence: Evidence): Evidence {
  return { ...evidence, screen: sizeOf(evidence.screen), serial: sizeOf(evidence.serial) }
}

function sizeOf(part: EvidencePart | null): EvidencePart | null {
  return part === null ? null : { mediaType: part.mediaType, sizeBytes: part.sizeBytes }
}
