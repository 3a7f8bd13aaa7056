/** An inventory as a whole, as it goes from one store into another: for moving it, for backups, and for coming back from one. */
import { HoldfastError } from '../../base/errors.ts'
import { compareIds } from './prepared-commit.ts'

export interface WholeInventory {
  readonly revision: number
  /** The oldest revision whose events are kept. */
  readonly oldest: number
  readonly incarnation: number
  /** The last short id of each kind. */
  readonly counters: readonly { readonly kind: string; readonly last: number }[]
  readonly records: readonly WholeRecord[]
  readonly events: readonly WholeEvent[]
}

export interface WholeRecord {
  readonly kind: string
  readonly id: string
  readonly revision: number
  readonly json: string
}

export interface WholeEvent {
  readonly revision: number
  readonly sequence: number
  /** Without its revision and sequence. */
  readonly json: string
}

/** Throws `store-error` with the first thing that is in one of them only, or other there. */
export function mustBeSame(expected: WholeInventory, found: WholeInventory): void {
  const [wanted, there] = [linesOf(expected), linesOf(found)]
  const at = wanted.findIndex((line, index) => line !== there[index])
  if (at < 0 && wanted.length === there.length) return
  const [name] = (wanted[at] ?? there[wanted.length] ?? '').split('\n')
  throw new HoldfastError('store-error', `what was written is not what was read: ${name ?? ''}`, {
    mend: 'Nothing was switched over. Run the same command again.',
  })
}

function linesOf({ revision, oldest, incarnation, counters, records, events }: WholeInventory): string[] {
  return [
    ...[`revision ${revision}`, `oldest ${oldest}`, `incarnation ${incarnation}`],
    ...counters.map(({ kind, last }) => `counter ${kind}\n${last}`).sort(),
    ...[...records]
      .sort((a, b) => (a.kind === b.kind ? compareIds(a.id, b.id) : a.kind < b.kind ? -1 : 1))
      .map(({ kind, id, revision: at, json }) => `record ${kind}/${id}\n${at}\n${json}`),
    ...[...events]
      .sort((a, b) => a.revision - b.revision || a.sequence - b.sequence)
      .map((event) => `event ${event.revision}.${event.sequence}\n${event.json}`),
  ]
}
