/**
 * Plays one scenario with one seed: the steps, then the comparison of its log with what is expected, then all is healed and
 * the world has to settle. A seed other than 1 also changes how long messages take, when exactly steps come, and the order of
 * steps of one instant.
 */
import { Faults } from '../cluster/faults.ts'
import { settle } from '../cluster/settled.ts'
import { SeededRandom } from '../seeded-random.ts'
import { mendAll } from './commands.ts'
import { listOf, spanMs, type Step } from './format.ts'
import { judge, seconds, type Verdict } from './judge.ts'
import { lineText } from './log.ts'
import { commandOf, isState, stateOf, type Scenario } from './read.ts'
import { Stage } from './stage.ts'

export interface PlayOptions {
  readonly seed: number
  /** Nothing strikes: what is expected must then not be so. */
  readonly withoutFaults?: boolean
  readonly isVerbose?: boolean
}

export interface PlayOutcome {
  readonly name: string
  readonly seed: number
  readonly log: readonly string[]
  readonly trace: readonly string[]
  /** Everything that was expected, with what was wrong about it. */
  readonly verdicts: readonly Verdict[]
  /** Broken invariants, and what did not settle. */
  readonly wrong: readonly string[]
  readonly virtualMs: number
}

/** How long `after` waits at most. */
const patienceMs = 15 * 60_000
/** In a world without faults what is waited for mostly does not come. */
const shortPatienceMs = 5000
const lookEveryMs = 200

export async function playScenario(scenario: Scenario, options: PlayOptions): Promise<PlayOutcome> {
  const { name, file } = scenario
  const stage = await Stage.open(file.topology, options)
  const play = new Play(scenario, stage, options)
  await play.steps()
  await stage.world.clock.advance(spanMs(file.lasts ?? '1min'))
  await play.states('held', file.expect.held)
  const log = stage.log.lines.map(lineText)
  const verdicts = judge(file.expect, stage.log.lines, play.startMs)
  const wrong = options.withoutFaults === true ? [...stage.world.truth.violations] : await heal(stage)
  if (wrong.length === 0) await play.states('settled', file.expect.settled)
  return {
    ...{ name, seed: options.seed, log, trace: stage.world.trace.lines },
    ...{ verdicts: [...verdicts, ...play.verdicts], wrong, virtualMs: stage.world.clock.elapsedMs },
  }
}

async function heal(stage: Stage): Promise<string[]> {
  const { world, client } = stage
  mendAll(stage)
  new Faults(world, client).heal()
  for (const host of world.hosts) void client.leaveMaintenance(host.id)
  return settle(world, client)
}

class Play {
  /** Of states. */
  readonly verdicts: Verdict[] = []
  /** Of the first command. */
  startMs = 0
  readonly #scenario: Scenario
  readonly #stage: Stage
  readonly #options: PlayOptions
  readonly #random: SeededRandom
  #hasBegun = false

  constructor(scenario: Scenario, stage: Stage, options: PlayOptions) {
    this.#scenario = scenario
    this.#stage = stage
    this.#options = options
    this.#random = new SeededRandom(options.seed + 5000)
    if (options.seed !== 1) stage.world.network.delayMs = 1 + this.#random.int(25)
  }

  async steps(): Promise<void> {
    let from = 0
    for (const step of this.#inOrder()) {
      await this.#moment(step, from)
      from = this.#stage.log.lines.length
      for (const text of listOf(step.do)) this.#command(text)
      await this.states('holds', listOf(step.holds), step.within)
    }
  }

  /** States that must be so, now or in time. */
  async states(where: string, texts: readonly string[] | undefined, within = '0s'): Promise<void> {
    const { log, world } = this.#stage
    const untilMs = log.nowMs + spanMs(within)
    for (const text of texts ?? []) {
      let problem = await this.#look(text)
      while (problem !== undefined && log.nowMs < untilMs) {
        await world.clock.advance(lookEveryMs)
        problem = await this.#look(text)
      }
      const what = `${where}: ${text}${within === '0s' ? '' : ` within ${within}`}`
      this.verdicts.push({ what, problem: problem === undefined ? null : `${problem}, at ${seconds(log.nowMs)}` })
    }
  }

  /** Steps of one instant come in any order. */
  #inOrder(): readonly Step[] {
    const { steps } = this.#scenario.file
    if (this.#options.seed === 1) return steps
    const out: Step[] = []
    for (const step of steps) {
      const last = out.at(-1)
      const isSame =
        step.at !== undefined && last?.at === step.at && step.holds === undefined && last.holds === undefined
      if (isSame && this.#random.chance(0.5)) out.splice(-1, 0, step)
      else out.push(step)
    }
    return out
  }

  async #moment({ at, after, wait }: Step, from: number): Promise<void> {
    const { clock } = this.#stage.world
    if (at !== undefined) {
      const shift = this.#options.seed === 1 ? 0 : this.#random.int(300)
      await clock.advance(Math.max(0, spanMs(at) + shift - this.#stage.log.nowMs))
    }
    if (after !== undefined) await this.#await(after, from)
    if (wait !== undefined) await clock.advance(spanMs(wait))
  }

  async #await(after: string, from: number): Promise<void> {
    const { names } = this.#scenario
    const { world, log } = this.#stage
    const withinMs = this.#options.withoutFaults === true ? shortPatienceMs : patienceMs
    if (isState(after, names)) return this.#awaitState(after, withinMs)
    await world.clock
      .runUntil(() => log.has(after, from), withinMs)
      .catch(() => this.verdicts.push({ what: `after: ${after}`, problem: 'a step waited for it in vain' }))
  }

  /** Moments of a move are short: they are looked for at every event of the clock where they can be. */
  async #awaitState(after: string, withinMs: number): Promise<void> {
    const { world, log } = this.#stage
    const untilMs = log.nowMs + withinMs
    while ((await this.#look(after)) !== undefined) {
      if (log.nowMs >= untilMs) {
        this.verdicts.push({ what: `after: ${after}`, problem: 'a step waited for it in vain' })
        return
      }
      await world.clock.advance(after.startsWith('guest ') ? 1 : lookEveryMs)
    }
  }

  async #look(text: string): Promise<string | undefined> {
    const { form, args } = stateOf(text, this.#scenario.names)
    return form.act(this.#stage, args)
  }

  #command(text: string): void {
    const { form, args } = commandOf(text, this.#scenario.names)
    if (this.#options.withoutFaults === true && form.act.isFault) return
    if (!this.#hasBegun) this.startMs = this.#stage.log.nowMs
    this.#hasBegun = true
    this.#stage.log.add(['do', ...text.split(' ')])
    this.#stage.world.trace.note(`step: ${text}`)
    form.act.run(this.#stage, args)
  }
}

export function missed(outcome: PlayOutcome): string[] {
  return [
    ...outcome.wrong,
    ...outcome.verdicts.flatMap(({ what, problem }) => (problem === null ? [] : [`${what}: ${problem}`])),
  ]
}

/**
 * What is expected and is not so where nothing strikes. Empty: the expectation says nothing of the faults. That a step waits
 * in vain proves nothing.
 */
export function missedWithoutFaults(outcome: PlayOutcome): string[] {
  return outcome.verdicts.flatMap(({ what, problem }) => (problem === null || what.startsWith('after:') ? [] : [what]))
}

export function hasFaults({ file, names }: Scenario): boolean {
  const commands = file.steps.flatMap((step) => listOf(step.do))
  return commands.some((text) => commandOf(text, names).form.act.isFault)
}
