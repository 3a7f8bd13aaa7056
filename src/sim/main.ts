/**
 * Runs seeds of the simulation, or replays one step for step.
 *
 *   dev/sim --seeds N [--from S] [--scenario migration|life|leases|protection]
 *   dev/sim --replay SEED [--scenario …] [--quiet]
 *
 * Exit code 0: every seed was sound; 1: one was not (the first three are shown); 2: the arguments are wrong.
 */
import { parseArgs } from 'node:util'
import {
  allPlanted,
  replayCommand,
  runScenario,
  scenarioNames,
  type RunOutcome,
  type ScenarioName,
} from './cluster/scenarios.ts'

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '100' },
    from: { type: 'string', default: '1' },
    scenario: { type: 'string', default: 'migration' },
    replay: { type: 'string' },
    quiet: { type: 'boolean', default: false },
    plant: { type: 'string', multiple: true, default: [] },
  },
})

const scenario = scenarioNames.find((name) => name === values.scenario)
const planted = new Set(allPlanted.filter((fault) => values.plant.includes(fault)))
const [from, seeds] = [Number(values.from), Number(values.seeds)]
if (scenario === undefined || !Number.isSafeInteger(from) || !Number.isSafeInteger(seeds)) {
  console.error(`usage: dev/sim --seeds N [--from S] [--scenario ${scenarioNames.join('|')}] | --replay SEED [--quiet]`)
  process.exit(2)
}
process.exitCode =
  values.replay === undefined ? await runSeeds(scenario) : await replay(scenario, Number(values.replay))

async function replay(name: ScenarioName, seed: number): Promise<number> {
  const outcome = await runScenario(name, { seed, planted, isVerbose: !values.quiet })
  console.log(outcome.trace.join('\n'))
  tell(name, outcome)
  return outcome.wrong.length === 0 ? 0 : 1
}

async function runSeeds(name: ScenarioName): Promise<number> {
  const started = process.cpuUsage()
  const tally: Record<string, number> = {}
  let [failed, virtualMs] = [0, 0]
  for (let seed = from; seed < from + seeds; seed++) {
    const outcome = await runScenario(name, { seed, planted })
    virtualMs += outcome.virtualMs
    for (const [key, count] of Object.entries(outcome.tally)) tally[key] = (tally[key] ?? 0) + count
    if (outcome.wrong.length === 0) continue
    if (++failed <= 3) tell(name, outcome)
    else console.log(`seed ${outcome.seed}: ${outcome.wrong[0] ?? ''}`)
  }
  const { user, system } = process.cpuUsage(started)
  const cpu = ((user + system) / 1e6).toFixed(1)
  console.log(
    `${name}: ${seeds} seeds, ${failed} failed; ${(virtualMs / 3.6e6).toFixed(1)} virtual hours, ${cpu} s of CPU`,
  )
  console.log(
    Object.entries(tally)
      .sort()
      .map(([key, count]) => `  ${key}: ${count}`)
      .join('\n'),
  )
  return failed === 0 ? 0 : 1
}

function tell(name: ScenarioName, { seed, wrong }: RunOutcome): void {
  if (wrong.length === 0) return console.log(`seed ${seed}: sound`)
  console.log(`seed ${seed}: FAILED, replay it with: ${replayCommand(name, seed)}`)
  for (const what of wrong) console.log(`  ${what}`)
}
