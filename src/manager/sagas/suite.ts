/**
 * Test code: the suite that every saga passes. `sagaSuite({ definition, world })` in the saga's own test file registers
 * it: the saga runs undisturbed; each step fails; each do and undo is repeated; each undo fails at first; requests and
 * replies are lost; it is cancelled at each step; the manager dies before and after each log write of each of these; and
 * faults come at random. After every run the world's own `check` says whether all is done, or all is as before.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../sim/seeded-random.ts'
import type { Faults, StepCall, StepFault } from './fault-suite.ts'
import type { AnyStep } from './saga.ts'
import { runTrial, type SagaSuiteOptions, type TrialEnd } from './trial-suite.ts'

export type { SagaSuiteOptions, SagaWorld, SuiteTools, TrialEnd } from './trial-suite.ts'

export interface Scenario {
  readonly name: string
  /** Rejects with what does not hold. */
  readonly run: () => Promise<void>
}

type EndState = TrialEnd['state']

interface Plan {
  readonly name: string
  readonly faults: Faults
  /** The ends that are right for it. */
  readonly ends: readonly EndState[]
}

/** Registers the suite with node:test. */
export function sagaSuite<Params, Deps extends object, Result>(options: SagaSuiteOptions<Params, Deps, Result>): void {
  for (const scenario of sagaScenarios(options)) test(`${options.definition.name}: ${scenario.name}`, scenario.run)
}

/** The suite as a list, for whoever runs it otherwise. */
export function sagaScenarios<Params, Deps extends object, Result>(
  options: SagaSuiteOptions<Params, Deps, Result>,
): Scenario[] {
  const plans = plansFor(options.definition.steps)
  return [
    ...plans.map((plan) => ({
      name: plan.name,
      run: async () => {
        await runPlan(options, plan)
      },
    })),
    ...plans.filter(isWorthCrashing).map((plan) => ({
      name: `${plan.name}; and the manager dies around each log write`,
      run: () => crashAtEachCommit(options, plan),
    })),
    { name: 'each call of its deps is lost, or the manager dies in it', run: () => faultEachDepCall(options) },
    { name: 'faults come at random', run: () => randomRuns(options) },
  ]
}

function plansFor(steps: readonly AnyStep[]): Plan[] {
  const commit = steps.findIndex((step) => step.kind === 'commit')
  const isDecided = (index: number): boolean => commit !== -1 && index > commit
  const last = commit === -1 ? steps.length - 1 : commit
  return [
    { name: 'it runs undisturbed', faults: {}, ends: ['done'] },
    ...steps.flatMap((step, index) => forwardPlans(step, isDecided(index))),
    ...steps.flatMap((step, index) => (isDecided(index) ? [] : cancelPlans(step, commit === index))),
    ...steps.slice(0, last + 1).flatMap((step) => undoPlans(step, steps[last])),
  ]
}

/** Faults of the first (or first two) calls of this step's do. */
function forwardPlans(step: AnyStep, isDecided: boolean): Plan[] {
  const first = (fault: StepFault, times = 1): Faults => ({ step: onDo(step.name, fault, times) })
  const isCommit = step.kind === 'commit'
  const refused: EndState = isDecided ? 'done' : 'failed'
  const unheard: readonly EndState[] = isCommit ? ['failed', 'done'] : ['done']
  const plans: Plan[] = [
    { name: `${step.name} fails`, faults: first('fail'), ends: [refused] },
    { name: `${step.name} is done twice`, faults: first('repeat'), ends: ['done'] },
    { name: `${step.name} loses its request`, faults: first('lost-request', 2), ends: unheard },
    { name: `${step.name} loses its reply`, faults: first('lost-reply', 2), ends: ['done'] },
  ]
  if (isCommit) {
    const unasked: Faults['step'] = (call) => (call.step === step.name && call.nth === 1 ? 'lost-reply' : undefined)
    plans.push({
      name: `${step.name} loses its reply, and then its judge does`,
      faults: { step: unasked },
      ends: ['done'],
    })
  } else {
    plans.push({ name: `${step.name} fails after it was done`, faults: first('fail-after'), ends: [refused] })
  }
  return plans
}

function cancelPlans(step: AnyStep, isCommit: boolean): Plan[] {
  // During the commit a cancel may come too late: then the task is done.
  const ends: readonly EndState[] = isCommit ? ['cancelled', 'done'] : ['cancelled']
  return [
    { name: `it is cancelled as ${step.name} begins`, faults: { step: onDo(step.name, 'cancel-before', 1) }, ends },
    { name: `it is cancelled as ${step.name} ends`, faults: { step: onDo(step.name, 'cancel-after', 1) }, ends },
  ]
}

/** Faults of this step's undo, in a run whose last undoable step fails. */
function undoPlans(step: AnyStep, failing: AnyStep | undefined): Plan[] {
  if (step.kind !== 'step' || step.undo === undefined || failing === undefined) return []
  const fail = onDo(failing.name, 'fail', 1)
  const inUndo = (fault: StepFault, times: number): Faults => ({
    step: (call) => {
      const isHit = call.verb === 'undo' && call.step === step.name && call.nth <= times
      return isHit ? fault : fail(call)
    },
  })
  return [
    { name: `undo of ${step.name} is done twice`, faults: inUndo('repeat', 1), ends: ['failed'] },
    { name: `undo of ${step.name} fails at first`, faults: inUndo('fail', 2), ends: ['failed'] },
    { name: `undo of ${step.name} fails after it was done`, faults: inUndo('fail-after', 2), ends: ['failed'] },
    { name: `undo of ${step.name} fails until it is stuck`, faults: inUndo('fail', 7), ends: ['failed'] },
    { name: `undo of ${step.name} loses its request`, faults: inUndo('lost-request', 3), ends: ['failed'] },
    { name: `undo of ${step.name} loses its reply`, faults: inUndo('lost-reply', 3), ends: ['failed'] },
  ]
}

function onDo(step: string, fault: StepFault, times: number): (call: StepCall) => StepFault | undefined {
  return (call) => (call.verb === 'do' && call.step === step && call.nth <= times ? fault : undefined)
}

/** Repeats are what a crash leads to anyway. */
function isWorthCrashing(plan: Plan): boolean {
  return !plan.name.includes('twice')
}

async function runPlan<Params, Deps extends object, Result>(
  options: SagaSuiteOptions<Params, Deps, Result>,
  plan: Plan,
): Promise<number> {
  let commits = 0
  const count = { crashAtCommit: (nth: number) => ((commits = nth), undefined) }
  const { end } = await runTrial(options, { ...count, ...plan.faults })
  const why = end?.record.problem?.detail ?? 'no problem'
  assert.ok(end !== undefined && plan.ends.includes(end.state), `it ended as ${end?.state ?? 'never started'} (${why})`)
  return commits
}

async function crashAtEachCommit<Params, Deps extends object, Result>(
  options: SagaSuiteOptions<Params, Deps, Result>,
  plan: Plan,
): Promise<void> {
  const commits = await runPlan(options, plan)
  // A failure or a cancel that the manager forgot by dying does not come again, so it may be done after all. Dying in
  // the commit may leave it undone.
  const hasCommit = options.definition.steps.some((step) => step.kind === 'commit')
  const ends = [...plan.ends, 'done', ...(hasCommit ? ['failed'] : [])]
  for (let at = 1; at <= commits; at++) {
    for (const when of ['before', 'after'] as const) {
      const faults: Faults = { ...plan.faults, crashAtCommit: (nth) => (nth === at ? when : undefined) }
      await described(`dying ${when} commit ${at}`, async () => {
        const { end } = await runTrial(options, faults)
        assert.ok(end === undefined || ends.includes(end.state), `it ended as ${end?.state}`)
      })
    }
  }
}

async function faultEachDepCall<Params, Deps extends object, Result>(
  options: SagaSuiteOptions<Params, Deps, Result>,
): Promise<void> {
  // Twice: the first run learns which methods answer with a promise.
  await runTrial(options, {})
  const { depCalls } = await runTrial(options, { dep: () => undefined })
  for (let at = 1; at <= depCalls; at++) {
    for (const fault of ['lost-request', 'lost-reply', 'crash-before', 'crash-after'] as const) {
      let hit = ''
      const dep: Faults['dep'] = (nth, path) => (nth === at ? ((hit = path), fault) : undefined)
      await described(
        `${fault} of call ${at} of the deps`,
        () => runTrial(options, { dep }),
        () => hit,
      )
    }
  }
}

async function randomRuns<Params, Deps extends object, Result>(
  options: SagaSuiteOptions<Params, Deps, Result>,
): Promise<void> {
  for (let seed = 1; seed <= (options.randomRuns ?? 100); seed++) {
    await described(`seed ${seed}`, () => runTrial(options, randomFaults(new SeededRandom(seed)), seed))
  }
}

function randomFaults(random: SeededRandom): Faults {
  const [stepRate, crashRate] = [random.fraction() * 0.4, random.fraction() * 0.2]
  return {
    step: (call) => (random.chance(stepRate) ? random.pick(possibleFaults(call)) : undefined),
    crashAtCommit: () => (random.chance(crashRate) ? random.pick(['before', 'after'] as const) : undefined),
  }
}

function possibleFaults(call: StepCall): StepFault[] {
  const always: StepFault[] = ['lost-request', 'lost-reply', 'repeat', 'cancel-before', 'cancel-after']
  if (call.verb === 'settle') return ['lost-request', 'lost-reply', 'repeat', 'fail']
  // A commit that was done never answers that it was not.
  return call.kind === 'commit' ? [...always, 'fail'] : [...always, 'fail', 'fail-after']
}

async function described(what: string, act: () => Promise<unknown>, more = (): string => ''): Promise<void> {
  try {
    await act()
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : String(thrown)
    throw new Error(`${what}${more() === '' ? '' : ` (${more()})`}: ${message}`, { cause: thrown })
  }
}
