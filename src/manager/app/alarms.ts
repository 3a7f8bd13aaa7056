/** Alarms: what there is, what people do about them, and the thresholds. */
import { HoldfastError } from '../../base/errors.ts'
import {
  alarmStates,
  defaultAlarmSettings,
  type Alarm,
  type AlarmSettings,
  type ChangeAlarmSettings,
} from '../../contracts/alarms.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { acknowledged, clearedBy } from '../domain/alarms/alarm-plan.ts'
import { alarmView, isOpen, type AlarmRecord } from '../domain/alarms/alarm-record.ts'
import { alarmCommit, type AlarmNews } from '../reconcilers/alarms/alarm-commit.ts'
import { alarmSettings } from './alarm-world.ts'
import type { AppContext, Caller } from './context.ts'
import { pageOf, type PageOf } from './pages.ts'
import { need, newEvent, notFound, subjectOf, write } from './write.ts'

const settingsId = 'alarm-settings'

export class AlarmDesk {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  /** Newest id first, which one that was raised anew keeps; without a state those that are open. Throws `invalid-request` for a state that there is not. */
  async list(query: CallOf<'listAlarms'>['query'] = {}): Promise<PageOf<Alarm>> {
    const isWanted = stateFilter(query.state)
    const mirror = await this.#context.mirror.fresh()
    const { severity, subject } = query
    const found = mirror.list('alarm').filter((alarm) => {
      if (severity !== undefined && alarm.severity !== severity) return false
      return isWanted(alarm) && (subject === undefined || alarm.subject.id === subject || alarm.place?.id === subject)
    })
    const page = pageOf(found, query, true)
    const items = page.items.map((alarm) => alarmView(alarm, mirror.revisionOf('alarm', alarm.id)))
    return { items, next: page.next, revision: mirror.revision }
  }

  async get(id: string): Promise<Alarm> {
    const mirror = await this.#context.mirror.fresh()
    const record = mirror.get('alarm', id)
    if (record === undefined) throw notFound('alarm', id)
    return alarmView(record, mirror.revisionOf('alarm', id))
  }

  /** Throws `wrong-state` for one that is cleared; one that is acknowledged already stays as it is. */
  async acknowledge(id: string, caller: Caller): Promise<Alarm> {
    return this.#change(id, caller, 'acknowledged', (record, now) => {
      if (record.state === 'acknowledged') return undefined
      const next = acknowledged(record, caller.name, now)
      if (next !== undefined) return next
      throw new HoldfastError('wrong-state', `${id} is cleared already`, {
        mend: 'There is nothing left to do about it.',
      })
    })
  }

  /** One that is cleared already stays as it is. */
  async clear(id: string, caller: Caller): Promise<Alarm> {
    return this.#change(id, caller, 'cleared', (record, now) => clearedBy(record, caller.name, now))
  }

  async #change(
    id: string,
    caller: Caller,
    what: AlarmNews,
    next: (record: AlarmRecord, nowMs: number) => AlarmRecord | undefined,
  ): Promise<Alarm> {
    const { store, clock } = this.#context
    await write(store, async () => {
      const stored = await need(store, 'alarm', id)
      const changed = next(stored.value, clock.now())
      if (changed === undefined) return { changes: [], value: undefined }
      const commit = await alarmCommit(this.#context, stored, changed, { what, by: caller.name })
      return { ...commit, value: undefined }
    })
    return this.get(id)
  }

  async settings(): Promise<AlarmSettings> {
    return alarmSettings(await this.#context.mirror.fresh())
  }

  /** Throws `invalid-request` for thresholds that contradict each other. */
  async setSettings(given: ChangeAlarmSettings, isWhole: boolean, caller: Caller): Promise<AlarmSettings> {
    const { store } = this.#context
    await write(store, async () => {
      const stored = await store.get('alarm-settings', settingsId)
      const settings = { ...(isWhole ? {} : stored?.value.settings), ...given }
      const problem = settingsProblem({ ...defaultAlarmSettings, ...settings })
      if (problem !== undefined) throw problem
      const value = { id: settingsId, v: 1, settings } as const
      const cluster = (await store.list('cluster')).items[0]?.value
      const subject = cluster === undefined ? null : subjectOf('cluster', cluster)
      const event = newEvent('alarm.settings-changed', subject, 'The thresholds of alarms were changed', {
        by: caller.name,
        settings,
      })
      return {
        changes: [
          stored === undefined
            ? { do: 'create', kind: 'alarm-settings', value }
            : { do: 'update', kind: 'alarm-settings', value, expected: stored.revision },
        ],
        events: [event],
        value: undefined,
      }
    })
    return this.settings()
  }
}

function settingsProblem({ datastoreClearPercent, datastoreFullPercent }: AlarmSettings): HoldfastError | undefined {
  if (datastoreClearPercent < datastoreFullPercent) return undefined
  const what = `a datastore would be near full from ${datastoreFullPercent} % on and no more under ${datastoreClearPercent} %`
  return new HoldfastError('invalid-request', what, {
    mend: 'Let datastoreClearPercent be some percent below datastoreFullPercent.',
    field: 'datastoreClearPercent',
  })
}

function stateFilter(text: string | undefined): (alarm: AlarmRecord) => boolean {
  if (text === undefined) return isOpen
  if (text === 'all') return () => true
  const wanted = text.split(',')
  const strange = wanted.find((each) => !alarmStates.some((state) => state === each))
  if (strange === undefined) return ({ state }) => wanted.includes(state)
  throw new HoldfastError('invalid-request', `an alarm is never ${JSON.stringify(strange)}`, {
    mend: `Ask for ${alarmStates.join(', ')}, several of them with commas, or all.`,
    field: 'state',
  })
}
