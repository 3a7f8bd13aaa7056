/** Forgets alarms that were cleared long ago, and what is owed to targets that are no more. */
import { alarmKey, isOpen } from '../domain/alarms/alarm-record.ts'
import { forgettable } from '../domain/alarms/retention.ts'
import type { AppContext } from './context.ts'
import { unclaim } from './write.ts'

export async function sweepAlarms({ store, clock, mirror }: AppContext): Promise<void> {
  for (const record of forgettable(mirror.list('alarm'), clock.now())) {
    const stored = await store.get('alarm', record.id)
    // Raised again meanwhile.
    if (stored === undefined || isOpen(stored.value)) continue
    const key = alarmKey(record.type, record.subject, record.place)
    await store.commit({
      changes: [
        { do: 'remove', kind: 'alarm', id: record.id, expected: stored.revision },
        ...(await unclaim(store, key, record.id)),
      ],
      events: [],
    })
  }
  const targets = new Set((await store.list('target')).items.map(({ value }) => value.id))
  for (const { value, revision } of (await store.list('delivery')).items) {
    if (targets.has(value.target)) continue
    await store.commit({ changes: [{ do: 'remove', kind: 'delivery', id: value.id, expected: revision }], events: [] })
  }
}
