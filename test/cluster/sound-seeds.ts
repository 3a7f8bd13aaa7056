/** Runs seeds one after the other; the first that is not sound fails with the command that replays it. */
import assert from 'node:assert/strict'
import { replayCommand, runScenario, type ScenarioName } from '../../src/sim/cluster/scenarios.ts'

/** Returns how often each end was reached. */
export async function soundSeeds(name: ScenarioName, from: number, count: number): Promise<Record<string, number>> {
  const tally: Record<string, number> = {}
  for (let seed = from; seed < from + count; seed++) {
    const { wrong, tally: seen } = await runScenario(name, { seed })
    assert.deepEqual(wrong, [], `replay it with: ${replayCommand(name, seed)}`)
    for (const [key, times] of Object.entries(seen)) tally[key] = (tally[key] ?? 0) + times
  }
  return tally
}

const wished = process.env['HOLDFAST_SIM_SEEDS']

/** Worlds of three moves each, for one test; `HOLDFAST_SIM_SEEDS` changes it, and those below. */
export const migrationWorlds = Number(wished ?? 250)
/** Lives of VMs. */
export const lifeWorlds = Number(wished ?? 60)
/** Worlds with leases. Fewer than a dozen may show no reset by hardware. */
export const leaseWorlds = Number(wished ?? 80)
/** Worlds in which hosts and managers die twice, for alarms. */
export const alarmWorlds = Number(wished ?? 24)
/** Of each scenario file. The first is the file as it is written; the others vary latencies and order. */
export const fileSeeds = Number(wished ?? 2)
