/** What the start of a task answers: its id, or what refused it, in words. */
import type { TaskId } from '../../base/ids.ts'
import type { Revision } from '../store/store.ts'
import type { HoldRefusal } from './vm-hold.ts'

export type StartResult =
  | { readonly ok: true; readonly value: TaskId }
  | {
      readonly ok: false
      readonly reason: 'operation-in-progress'
      readonly message: string
      readonly details: { readonly task: TaskId; readonly mend: string }
    }
  /** Something was not at the revision it was read at; nothing was changed. Read it again and decide again. */
  | {
      readonly ok: false
      readonly reason: 'conflict'
      readonly message: string
      readonly details: { readonly kind: string; readonly id: string; readonly actual: Revision }
    }

export function refusalOf(vm: string, why: HoldRefusal): StartResult {
  if ('actual' in why) return conflict('vm', vm, why.actual)
  const message = `another operation, ${why.heldBy}, is working on ${vm}`
  const mend = `Wait for it (holdfast task wait ${why.heldBy}), or cancel it (holdfast task cancel ${why.heldBy}).`
  return { ok: false, reason: 'operation-in-progress', message, details: { task: why.heldBy, mend } }
}

export function conflict(kind: string, id: string, actual: Revision): StartResult {
  const message = `${kind} ${id} was changed by somebody else meanwhile`
  return { ok: false, reason: 'conflict', message, details: { kind, id, actual } }
}
