import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../../base/log.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import type { Commit } from '../../store/store.ts'
import { Deliveries, type DeliveryDeps } from './deliveries.ts'

test('a store that fails after a target was told is no failure of the target', async () => {
  const clock = new VirtualClock()
  const owed = { id: 'delivery-1', target: 'target-1', notice: { delivery: 'x' }, attempts: 0 }
  const record = { ...owed, created: new Date(clock.now()).toISOString(), nextAt: new Date(clock.now()).toISOString() }
  const commits: Commit[] = []
  let isDown = true
  let told = 0
  const deps = {
    ...{ clock, log: silentLogger },
    inventory: { list: (kind: string) => (kind === 'target' ? [{ id: 'target-1', name: 'pager' }] : [record]) },
    store: {
      get: async () => ({ value: record, revision: 1 }),
      commit: async (commit: Commit) => {
        commits.push(commit)
        if (isDown) throw new Error('no quorum')
        return { ok: true }
      },
    },
    tell: async () => `${++told}`,
  }
  const deliveries = new Deliveries(deps as unknown as DeliveryDeps)
  await deliveries.look()
  await clock.advance(100)
  isDown = false
  await deliveries.look()
  await clock.advance(100)
  assert.equal(told, 2, 'at least once, and again as it was not written down')
  assert.deepEqual(
    commits.flatMap(({ changes }) => changes.map((change) => change.do)),
    ['remove', 'remove'],
  )
})
