/**
 * Runs seeds of the simulation, or replays one step for step; plays scenario files.
 *
 * Exit code 0: all was sound; 1: something was not (the first three seeds are shown); 2: the arguments are wrong.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseArgs } from 'node:util'
import { describeError } from '../base/errors.ts'
import {
  allPlanted,
  replayCommand,
  runScenario,
  scenarioNames,
  type RunOutcome,
  type ScenarioName,
} from './cluster/scenarios.ts'
import { playScenario, type PlayOutcome } from './scenario/play.ts'
import { readScenario, type Scenario } from './scenario/read.ts'
import { tellAll, tellPlay, tellWithoutFaults } from './scenario/tell.ts'

const usage = `Simulated clusters in virtual time. docs/simulation.md says what they are and what must be true.

  dev/sim [--seeds N] [--from S] [--scenario ${scenarioNames.join('|')}]
      random faults, one world per seed (default: 100 seeds of migration)
  dev/sim --replay SEED [--scenario …] [--quiet]
      one of them again, with every step and log line (--quiet: steps alone)
  dev/sim --file FILE [--seed N] [--without-faults] [--trace]
      plays a scenario file: its log, what was expected and missed. --seed (default 1) varies latencies and order;
      --without-faults leaves out what strikes, and fails if all that is expected is so all the same;
      --trace prints every step and log line of all processes too
  dev/sim --files FOLDER [--seeds N] [--from S] [--without-faults]
      plays all of a folder with each of so many seeds (default 1), and says in a line how that went
  dev/sim --help`

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    from: { type: 'string', default: '1' },
    scenario: { type: 'string', default: 'migration' },
    replay: { type: 'string' },
    quiet: { type: 'boolean', default: false },
    plant: { type: 'string', multiple: true, default: [] },
    file: { type: 'string' },
    files: { type: 'string' },
    seed: { type: 'string', default: '1' },
    'without-faults': { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
})

const isOfFiles = values.file !== undefined || values.files !== undefined
const scenario = scenarioNames.find((name) => name === values.scenario)
const planted = new Set(allPlanted.filter((fault) => values.plant.includes(fault)))
const [from, seeds, seed] = [Number(values.from), Number(values.seeds ?? (isOfFiles ? 1 : 100)), Number(values.seed)]
if (scenario === undefined || ![from, seeds, seed].every(Number.isSafeInteger)) {
  console.error(usage)
  process.exit(2)
}
process.exitCode = await run(scenario)

async function run(name: ScenarioName): Promise<number> {
  if (values.help) {
    console.log(usage)
    return 0
  }
  if (values.file !== undefined) return playOne(values.file)
  if (values.files !== undefined) return playAll(values.files)
  return values.replay === undefined ? runSeeds(name) : replay(name, Number(values.replay))
}

/** Undefined, and told: it cannot be read. */
function read(file: string): Scenario | undefined {
  try {
    return readScenario(basename(file, '.json'), readFileSync(file, 'utf8'))
  } catch (thrown) {
    console.error(describeError(thrown))
    return undefined
  }
}

async function playOne(file: string): Promise<number> {
  const found = read(file)
  if (found === undefined) return 2
  const outcome = await playScenario(found, {
    ...{ seed, withoutFaults: values['without-faults'], isVerbose: values.trace },
  })
  if (values.trace) console.log(outcome.trace.join('\n'))
  const tell = values['without-faults'] ? tellWithoutFaults : tellPlay
  return tell(outcome, file) ? 0 : 1
}

async function playAll(folder: string): Promise<number> {
  const started = process.cpuUsage()
  const files = readdirSync(folder).filter((name) => name.endsWith('.json'))
  const all = files.sort().map((name) => ({ file: join(folder, name), scenario: read(join(folder, name)) }))
  const outcomes: { file: string; outcome: PlayOutcome }[] = []
  for (const { file, scenario: each } of all) {
    if (each === undefined) return 2
    for (let at = from; at < from + seeds; at++) {
      const outcome = await playScenario(each, { seed: at, withoutFaults: values['without-faults'] })
      outcomes.push({ file, outcome })
    }
  }
  const { user, system } = process.cpuUsage(started)
  return tellAll(outcomes, { withoutFaults: values['without-faults'], cpuSeconds: (user + system) / 1e6 })
}

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
