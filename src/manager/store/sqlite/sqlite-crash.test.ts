import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { silentLogger } from '../../../base/log.ts'
import { SeededRandom } from '../../../sim/seeded-random.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import { assertNothingLost, CommitLoop } from '../../../../test/support/acknowledged.ts'
import { openSqliteStore } from './sqlite-store.ts'

test('a manager killed at any instruction loses nothing that it had acknowledged', { timeout: 120_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-crash-'))
  const path = join(folder, 'inventory.db')
  const random = new SeededRandom(20_260_101)
  const acks: CommitLoop['acks'] = []
  try {
    for (let round = 0; round < 5; round++) {
      const loop = new CommitLoop(path)
      // The lock that the last one held died with it; so this one opens at once.
      await loop.until(20 + random.int(200))
      await loop.kill()
      acks.push(...loop.acks)
      await using store = await openSqliteStore({ path, clock: new VirtualClock(), logger: silentLogger })
      await assertNothingLost(store, acks)
    }
    assert.ok(acks.length >= 100)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
})
