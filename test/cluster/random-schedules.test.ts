/** Moves under random schedules over the real manager and the real agents: three to a seed. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { migrationWorlds, soundSeeds } from './sound-seeds.ts'

test('a VM that moves under random faults, cancels and kills runs once or is repaired without a person', async () => {
  const tally = await soundSeeds('migration', 1, migrationWorlds)
  // The schedules reach every end that a move has.
  for (const end of ['done', 'failed', 'cancelled', 'restarts'])
    assert.ok((tally[end] ?? 0) > 0, `no move ended: ${end}`)
})
