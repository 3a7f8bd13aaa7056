/** VMs, hosts and people under random faults; and more random moves, in a process of their own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { runScenario } from '../../src/sim/cluster/scenarios.ts'
import { lifeWorlds, migrationWorlds, soundSeeds } from './sound-seeds.ts'

test('VMs that are made, started, moved, stopped and deleted under random faults end as was asked', async () => {
  await soundSeeds('life', 1, lifeWorlds)
})

test('other seeds of moves are sound too', async () => {
  await soundSeeds('migration', 10_001, migrationWorlds)
})

test('a seed replays the same run', async () => {
  const [first, second] = [await runScenario('life', { seed: 7 }), await runScenario('life', { seed: 7 })]
  assert.ok(first.trace.length > 20)
  assert.deepEqual(first.trace, second.trace)
})
