/**
 * Raises an alarm where a condition holds, and clears it where that is over. What is decided on the inventory of a moment ago
 * is decided again on the records as they are when it is written, so that two managers raise no alarm twice.
 */
import type { Logger } from '../../../base/log.ts'
import { decideAlarm } from '../../domain/alarms/alarm-plan.ts'
import { AlarmWatch, type DueVerdict } from '../../domain/alarms/alarm-watch.ts'
import type { AlarmRecord } from '../../domain/alarms/alarm-record.ts'
import type { AlarmWorld } from '../../domain/alarms/condition.ts'
import { conditions } from '../../domain/alarms/conditions.ts'
import { commitChanges } from '../../sagas/vm-records.ts'
import type { Reconciler } from '../deps.ts'
import { RepeatLimit } from '../repeat-limit.ts'
import { alarmCommit, findAlarm, newAlarmId, type AlarmWriting } from './alarm-commit.ts'

export interface AlarmDeps extends AlarmWriting {
  readonly log: Logger
  /** What is known now. */
  world(): AlarmWorld
  /** Every alarm that is kept, as of a moment ago. */
  alarms(): readonly AlarmRecord[]
}

/** Words change with every look; they are written this often. */
const wordsEveryMs = 10 * 60_000

export class Alarms implements Reconciler {
  readonly name = 'alarms'
  readonly everyMs = 2000
  readonly #deps: AlarmDeps
  readonly #watch = new AlarmWatch(conditions)
  readonly #words: RepeatLimit<string>

  constructor(deps: AlarmDeps) {
    this.#deps = deps
    this.#words = new RepeatLimit(deps.clock, wordsEveryMs)
  }

  async look(): Promise<void> {
    const { clock } = this.#deps
    const due = this.#watch.look(this.#deps.world(), this.#deps.alarms(), clock.monotonic())
    for (const each of due) {
      // One that cannot be written keeps none of the others from being told of.
      await this.#follow(each).catch((err: unknown) =>
        this.#deps.log.warn({ err, alarm: each.key }, 'an alarm could not be written; it is tried again'),
      )
    }
  }

  async #follow({ key, verdict, record }: DueVerdict): Promise<void> {
    const deps = this.#deps
    // The id of one that would be new is handed out only when it is written.
    const planned = decideAlarm(record, verdict, deps.clock.now(), 'alarm-0' as AlarmRecord['id'])
    if (planned === undefined) return
    if (planned.news === null && verdict.is === 'holds' && !this.#words.take(key)) return
    await commitChanges(deps, async () => {
      const stored = await findAlarm(deps, key)
      const newId = stored === undefined && verdict.is === 'holds' ? await newAlarmId(deps) : null
      const decision = decideAlarm(stored?.value, verdict, deps.clock.now(), newId)
      if (decision === undefined) return undefined
      const news = decision.news === null ? null : { what: decision.news, by: null }
      return alarmCommit(deps, stored, decision.record, news)
    })
  }
}
