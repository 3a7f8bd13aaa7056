import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../../base/log.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import { anAlarmHost, aWorld } from '../../domain/alarms/alarm-fixture.ts'
import type { Commit } from '../../store/store.ts'
import { Alarms, type AlarmDeps } from './alarms.ts'

test('an alarm that cannot be written holds up none that comes after it', async () => {
  const clock = new VirtualClock()
  const hosts = [1, 2, 3].map((n) => anAlarmHost(n, { fenceProblem: 'wrong password' }))
  const written: string[] = []
  const deps = {
    ...{ clock, log: silentLogger, alarms: () => [], world: () => aWorld({ hosts }) },
    store: {
      get: async () => undefined,
      list: async () => ({ items: [] }),
      nextId: async () => 'alarm-1',
      commit: async ({ events }: Commit) => {
        const host = events[0]?.subject?.id ?? ''
        if (host === 'host-1') throw new Error('no quorum')
        written.push(host)
        return { ok: true }
      },
    },
  }
  const alarms = new Alarms(deps as unknown as AlarmDeps)
  for (let look = 0; look < 10 && written.length < 2; look++) {
    await alarms.look()
    await clock.advance(2000)
  }
  assert.deepEqual(written.slice(0, 2), ['host-2', 'host-3'])
})
