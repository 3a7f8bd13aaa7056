/**
 * What is kept of a guest from before it is reset: its screen and the end of its serial log, in the store, so that a manager
 * that takes over has it too. Each VM has a few places, and the oldest evidence gives way.
 */
import { isoTime } from '../../base/clock.ts'
import { describeError } from '../../base/errors.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { Evidence, EvidencePart, ResetReason } from '../../contracts/monitoring.ts'
import type { EvidenceRecord } from '../store/records.ts'
import type { Store, Stored } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { commitChanges } from './vm-records.ts'

const places = [1, 2, 3] as const

/** As base64 both together are 256 KiB at the most. */
const [mostScreenBytes, mostSerialBytes] = [128 * 1024, 64 * 1024]

/** Ids of the records that may hold evidence of this VM. */
export function evidencePlaces(vm: VmId): string[] {
  return places.map((place) => `${vm}/${place}`)
}

/** What is kept of this VM, the newest first. */
export async function evidenceOf({ store }: { readonly store: Store }, vm: VmId): Promise<Stored<EvidenceRecord>[]> {
  const found = await Promise.all(evidencePlaces(vm).map((place) => store.get('evidence', place)))
  return found
    .filter((one) => one !== undefined)
    .sort((a, b) => (a.value.at < b.value.at ? 1 : a.value.at > b.value.at ? -1 : b.revision - a.revision))
}

export interface EvidenceOrder {
  readonly vm: VmId
  readonly task: TaskId
  readonly why: ResetReason
  readonly detail: string
}

/** Takes it and keeps it, once for a task. A part that cannot be had is missing, and no reason to leave a guest hung. */
export async function keepEvidence(deps: SagaDeps, host: HostId, order: EvidenceOrder): Promise<void> {
  const isKept = async (): Promise<boolean> =>
    (await evidenceOf(deps, order.vm)).some(({ value }) => value.task === order.task)
  if (await isKept()) return
  const evidence = await takeEvidence(deps, host, order)
  await commitChanges(deps, async () => {
    if (await isKept()) return undefined
    const kept = await evidenceOf(deps, order.vm)
    const taken = new Set(kept.map(({ value }) => value.id))
    const free = evidencePlaces(order.vm).find((place) => !taken.has(place))
    const oldest = kept.at(-1)
    if (free === undefined && oldest !== undefined) {
      const value: EvidenceRecord = { ...evidence, id: oldest.value.id, v: 1 }
      return [{ do: 'update', kind: 'evidence', value, expected: oldest.revision }]
    }
    return [{ do: 'create', kind: 'evidence', value: { ...evidence, id: free ?? `${order.vm}/1`, v: 1 } }]
  })
}

async function takeEvidence(deps: SagaDeps, host: HostId, order: EvidenceOrder): Promise<Evidence> {
  const agent = deps.hosts.agent(host)
  const vm = await deps.store.get('vm', order.vm)
  const hasScreen = vm !== undefined && vm.value.spec.video !== 'none'
  const missing: string[] = []
  const partOf = async (what: string, mediaType: string, take: () => Promise<Uint8Array>, most: number) => {
    try {
      const bytes = await take()
      if (bytes.length <= most) return part(mediaType, bytes)
      missing.push(`${what} is too large to be kept (${bytes.length} bytes)`)
    } catch (thrown) {
      missing.push(`${what} could not be had: ${describeError(thrown)}`)
    }
    return null
  }
  const takeSerial = async (): Promise<Uint8Array> => Buffer.from((await agent.serialTail(order.vm)).base64, 'base64')
  const [screen, serial] = await Promise.all([
    hasScreen ? partOf('the screen', 'image/png', () => agent.screenshot(order.vm), mostScreenBytes) : null,
    partOf('the serial log', 'text/plain', takeSerial, mostSerialBytes),
  ])
  const at = isoTime(deps.clock.now())
  return { ...order, at, screen, serial, missing: missing.length === 0 ? null : missing.join('; ') }
}

function part(mediaType: string, bytes: Uint8Array): EvidencePart {
  return { mediaType, sizeBytes: bytes.length, base64: Buffer.from(bytes).toString('base64') }
}
