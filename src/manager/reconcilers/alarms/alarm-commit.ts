/** What is written with a change of an alarm, in one commit: its record, the event, and what its targets are owed. */
import { isoTime, type Clock } from '../../../base/clock.ts'
import type { AlarmId, DeliveryId } from '../../../base/ids.ts'
import type { Random } from '../../../base/random.ts'
import { alarmKey, alarmFacts, type AlarmRecord } from '../../domain/alarms/alarm-record.ts'
import { isTold, type DeliveryRecord, type Notice } from '../../domain/alarms/notification.ts'
import type { Change, Commit, NewEvent, Store, Stored } from '../../store/store.ts'

export interface AlarmWriting {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
}

export type AlarmNews = 'raised' | 'acknowledged' | 'cleared'

/** The alarm with this key as the store has it. */
export async function findAlarm(
  { store }: Pick<AlarmWriting, 'store'>,
  key: string,
): Promise<Stored<AlarmRecord> | undefined> {
  const claim = await store.get('claim', key)
  return claim === undefined ? undefined : store.get('alarm', claim.value.owner)
}

/** The commit that puts `next` in the place of what was read; `news`: what people and targets are told. */
export async function alarmCommit(
  deps: AlarmWriting,
  before: Stored<AlarmRecord> | undefined,
  next: AlarmRecord,
  news: { readonly what: AlarmNews; readonly by: string | null } | null,
): Promise<Commit> {
  const claim = { id: alarmKey(next.type, next.subject, next.place), v: 1 as const, owner: next.id }
  const changes: Change[] =
    before === undefined
      ? [
          { do: 'create', kind: 'claim', value: claim },
          { do: 'create', kind: 'alarm', value: next },
        ]
      : [{ do: 'update', kind: 'alarm', value: next, expected: before.revision }]
  if (news === null) return { changes, events: [] }
  const { what, by } = news
  const owed = what === 'acknowledged' ? [] : await deliveries(deps, next, what)
  return { changes: [...changes, ...owed], events: [alarmEvent(next, what, by)] }
}

function alarmEvent(record: AlarmRecord, what: AlarmNews, by: string | null): NewEvent {
  const { id, type, severity, subject, place, count, message } = record
  const words = {
    raised: `${severity}: ${message}`,
    acknowledged: `${by ?? ''} takes care of ${id} (${type} of ${subject.name})`,
    cleared: `${id} (${type} of ${subject.name}) is over${by === null ? '' : `: ${by} cleared it`}`,
  }
  const data = { alarm: id, type, severity, count, place: place?.id ?? null, by }
  return { type: `alarm.${what}`, subject, message: words[what], task: null, data }
}

async function deliveries(deps: AlarmWriting, record: AlarmRecord, change: 'raised' | 'cleared'): Promise<Change[]> {
  const { store, clock, random } = deps
  const told = (await store.list('target')).items.filter(({ value }) => isTold(value, change, record.severity))
  const cluster = (await store.list('cluster')).items[0]?.value
  const now = isoTime(clock.now())
  const changes: Change[] = []
  for (const { value: target, revision } of told) {
    const notice: Notice = {
      ...{ version: 1, delivery: random.uuid(), change, alarm: alarmFacts(record) },
      cluster: { id: cluster?.id ?? '', name: cluster?.name ?? '' },
    }
    const delivery: DeliveryRecord = {
      ...{ id: (await store.nextId('delivery')) as DeliveryId, v: 1, target: target.id, alarm: record.id },
      ...{ notice, created: now, attempts: 0, nextAt: now, problem: null },
    }
    changes.push(
      // A target that is removed at this moment leaves nothing behind that is owed to it.
      { do: 'check', kind: 'target', id: target.id, expected: revision },
      { do: 'create', kind: 'delivery', value: delivery },
    )
  }
  return changes
}

export async function newAlarmId({ store }: Pick<AlarmWriting, 'store'>): Promise<AlarmId> {
  return (await store.nextId('alarm')) as AlarmId
}
