/**
 * Remembers since when each condition holds or is over, and says when that has lasted long enough to count. What it knows is
 * of one manager's life, and of one time in which that looked without a gap: a manager that has just begun, or was frozen,
 * knows nothing of its hosts yet, and waits for their words.
 */
import { alarmKey, isOpen, type AlarmRecord } from './alarm-record.ts'
import { clearDelayMs, type Verdict } from './alarm-plan.ts'
import { isUnknown, type AlarmWorld, type Condition, type Sight } from './condition.ts'

/** Every host that is there has reported by then. */
const graceMs = 10_000
/** Looks that are further apart: it stood still meanwhile. */
const gapMs = 6_000

interface Since {
  readonly is: 'holds' | 'over'
  readonly at: number
}

export interface DueVerdict {
  readonly key: string
  readonly verdict: Verdict
  readonly record: AlarmRecord | undefined
}

export class AlarmWatch {
  readonly #conditions: readonly Condition[]
  #since = new Map<string, Since>()
  #beganAt = -Infinity
  #lookedAt = -Infinity

  constructor(conditions: readonly Condition[]) {
    this.#conditions = conditions
  }

  /** What is settled by now, of every condition and every alarm. `nowMs`: by the clock that does not jump. */
  look(world: AlarmWorld, records: readonly AlarmRecord[], nowMs: number): DueVerdict[] {
    if (nowMs - this.#lookedAt > gapMs) {
      this.#beganAt = nowMs
      this.#since.clear()
    }
    this.#lookedAt = nowMs
    if (nowMs - this.#beganAt < graceMs) return []
    const before = this.#since
    this.#since = new Map()
    const ofType = Map.groupBy(records, ({ type }) => type)
    return this.#conditions.flatMap((condition) => {
      const own = ofType.get(condition.type) ?? []
      if (!world.settings.disabledTypes.includes(condition.type))
        return this.#judge(condition, world, own, before, nowMs)
      return own.map((record) => ({ key: keyOf(record), verdict: { is: 'over' }, record }) satisfies DueVerdict)
    })
  }

  #judge(
    condition: Condition,
    world: AlarmWorld,
    records: readonly AlarmRecord[],
    before: ReadonlyMap<string, Since>,
    nowMs: number,
  ): DueVerdict[] {
    const { type } = condition
    const known = new Map(records.map((record) => [keyOf(record), record]))
    const sights = condition.look(world, (subject, place) => {
      const record = known.get(alarmKey(type, subject, place ?? null))
      return record !== undefined && isOpen(record)
    })
    const due: DueVerdict[] = []
    const seen = new Set<string>()
    for (const sight of sights) {
      const key = alarmKey(type, sight.subject, sight.place ?? null)
      seen.add(key)
      const verdict = this.#holding(condition, key, sight, before, nowMs)
      if (verdict !== undefined) due.push({ key, verdict, record: known.get(key) })
    }
    for (const [key, record] of known) {
      if (seen.has(key) || (!isOpen(record) && record.mutedUntil === null)) continue
      const since = this.#stay(key, 'over', before, nowMs)
      if (nowMs - since >= clearDelayMs(record, condition.clearAfterMs))
        due.push({ key, verdict: { is: 'over' }, record })
    }
    return due
  }

  #holding(
    { type, raiseAfterMs }: Condition,
    key: string,
    sight: Sight,
    before: ReadonlyMap<string, Since>,
    nowMs: number,
  ): Verdict | undefined {
    if (isUnknown(sight)) return undefined
    const since = this.#stay(key, 'holds', before, nowMs)
    return nowMs - since >= raiseAfterMs ? { is: 'holds', type, finding: sight } : undefined
  }

  #stay(key: string, is: Since['is'], before: ReadonlyMap<string, Since>, nowMs: number): number {
    const known = before.get(key)
    const since = known?.is === is ? known : { is, at: nowMs }
    this.#since.set(key, since)
    return since.at
  }
}

function keyOf({ type, subject, place }: AlarmRecord): string {
  return alarmKey(type, subject, place)
}
