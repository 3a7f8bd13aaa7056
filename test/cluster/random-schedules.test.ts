/**
 * Random schedules over the real manager and the real agents. Each seed is one world with three moves (or one life of some
 * VMs) under faults; a seed that fails is printed with the command that replays it step for step.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { replayCommand, runScenario, type ScenarioName } from '../../src/sim/cluster/scenarios.ts'

/** Three moves each. More of them: `./dev/sim --seeds N`. */
const migrationWorlds = Number(process.env['HOLDFAST_SIM_MIGRATION_SEEDS'] ?? 1000)
const lives = Number(process.env['HOLDFAST_SIM_LIFE_SEEDS'] ?? 60)
const firstSeed = 1

async function soundSeeds(name: ScenarioName, count: number): Promise<Record<string, number>> {
  const tally: Record<string, number> = {}
  for (let seed = firstSeed; seed < firstSeed + count; seed++) {
    const { wrong, tally: seen } = await runScenario(name, { seed })
    assert.deepEqual(wrong, [], `replay it with: ${replayCommand(name, seed)}`)
    for (const [key, times] of Object.entries(seen)) tally[key] = (tally[key] ?? 0) + times
  }
  return tally
}

test('a VM that moves under random faults, cancels and kills runs once or is repaired without a person', async () => {
  const tally = await soundSeeds('migration', migrationWorlds)
  // The schedules reach every end that a move has.
  for (const end of ['done', 'failed', 'cancelled', 'restarts'])
    assert.ok((tally[end] ?? 0) > 0, `no move ended: ${end}`)
})

test('VMs that are made, started, moved, stopped and deleted under random faults end as was asked', async () => {
  await soundSeeds('life', lives)
})

test('a seed replays the same run', async () => {
  const [first, second] = [await runScenario('life', { seed: 7 }), await runScenario('life', { seed: 7 })]
  assert.ok(first.trace.length > 20)
  assert.deepEqual(first.trace, second.trace)
})
