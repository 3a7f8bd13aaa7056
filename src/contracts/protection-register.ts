/**
 * The arbiter's register of one protected VM. Pure: whoever keeps it makes each new record durable before the answer
 * leaves (one fsync), and so
 *
 * - of each configuration `won` is answered to one side only, however often and by whomever it is asked;
 * - a configuration that was superseded is won by nobody any more;
 * - an arbiter that has lost its memory answers `unknown`, and takes no configuration up again that it may have decided:
 *   who opens one names the life of the arbiter's memory that it means (arbiter.ts).
 *
 * A side at configuration n asks the arbiter of n. Only the primary makes new configurations, and none while its second
 * may still be at the one before the last; so a question about a number below the newest comes from a copy that is out.
 */
import type { ProtectionConfig, ProtectionSide, RegisterAnswer, RegisterRecord } from './protection.ts'

export interface Decided {
  readonly answer: RegisterAnswer
  /** To be made durable before the answer leaves; null: nothing has changed. */
  readonly record: RegisterRecord | null
}

const unknown: RegisterAnswer = { is: 'unknown' }

/** The record after a configuration was opened, the same one when it was open already; undefined: refused, it is too old. */
export function opened(held: RegisterRecord | undefined, config: ProtectionConfig): RegisterRecord | undefined {
  if (held === undefined || config.n > held.config.n) return { config, winner: null, next: null }
  return isSame(held.config, config) ? held : undefined
}

/** A side asks to go on alone. The first that asks wins, for ever. */
export function claimed(held: RegisterRecord | undefined, n: number, side: ProtectionSide): Decided {
  const answer = looked(held, n, side)
  if (answer.is !== 'open' || held === undefined) return { answer, record: null }
  return { answer: { is: 'won' }, record: { ...held, winner: side } }
}

/** How it stands, from a side's point of view; decides nothing. */
export function looked(held: RegisterRecord | undefined, n: number, side: ProtectionSide): RegisterAnswer {
  if (held === undefined || held.config.n < n) return unknown
  if (held.config.n > n) return { is: 'lost' }
  if (held.next !== null) return { is: 'superseded', next: held.next }
  if (held.winner === null) return { is: 'open' }
  return { is: held.winner === side ? 'won' : 'lost' }
}

/** The primary puts `next` in the place of n, unless somebody has won n. */
export function superseded(held: RegisterRecord | undefined, n: number, next: ProtectionConfig): Decided {
  const answer = looked(held, n, 'primary')
  if (answer.is !== 'open' || held === undefined) return { answer, record: null }
  return { answer: { is: 'superseded', next }, record: { ...held, next } }
}

function isSame(a: ProtectionConfig, b: ProtectionConfig): boolean {
  return a.n === b.n && a.primary === b.primary && a.second === b.second && a.arbiter === b.arbiter
}
