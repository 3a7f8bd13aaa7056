/**
 * Carries out what the primary's side of the protocol says (primary-side.ts): acts in their order, what must be durable
 * first; answers of arbiters and words of the second come back as inputs, one at a time.
 */
import { describeError } from '../../../base/errors.ts'
import { stepPrimary, type PrimaryAct, type PrimaryInput, type PrimaryState } from '../primary-side.ts'
import type { ArbiterApi, ProtectionConfig, RegisterAnswer } from '../../../contracts/protection.ts'
import type { ProtectionLimits } from '../second-side.ts'
import type { Clock } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import { SerialQueue } from '../../../base/serial-queue.ts'
import type { Word } from './words.ts'

export interface PrimaryProtocolDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly limits: ProtectionLimits
  /** The arbiter of a configuration. */
  arbiter(config: ProtectionConfig): ArbiterApi
  /** Durable when it resolves. */
  save(config: ProtectionConfig, lastN: number): Promise<void>
  say(word: Word): void
  ship(epoch: number): void
  release(through: number): void
  /** The copy here has lost. */
  kill(): void
  /** The phase is another than before. */
  onPhase(state: PrimaryState): void
}

export class PrimaryProtocol {
  readonly #deps: PrimaryProtocolDeps
  readonly #queue = new SerialQueue()
  #state: PrimaryState

  constructor(deps: PrimaryProtocolDeps, state: PrimaryState) {
    this.#deps = deps
    this.#state = state
  }

  get state(): PrimaryState {
    return this.#state
  }

  /** Resolves when all that follows from it at once was done. */
  async input(input: PrimaryInput): Promise<void> {
    await this.#queue.run(async () => {
      const { clock, limits } = this.#deps
      const before = this.#state
      const { state, acts } = stepPrimary(before, input, clock.monotonic(), limits)
      this.#state = state
      for (const act of acts) {
        try {
          await this.#carryOut(act)
        } catch (thrown) {
          // What could not be made durable did not happen.
          if (act.do === 'save') this.#state = before
          throw thrown
        }
      }
      if (state.phase !== before.phase) this.#deps.onPhase(state)
    })
  }

  /** Asks the arbiter how it stands. The answer comes as an input too. */
  async look(): Promise<RegisterAnswer> {
    const { config } = this.#state
    const answer = await this.#deps.arbiter(config).arbiterLook({ vm: config.vm, n: config.n, side: 'primary' })
    if (answer.is === 'lost') await this.input({ is: 'answer', n: config.n, answer })
    return answer
  }

  /** Nothing is carried out any more. */
  async close(): Promise<void> {
    await this.#queue.close()
  }

  async #carryOut(act: PrimaryAct): Promise<void> {
    const deps = this.#deps
    switch (act.do) {
      case 'save':
        return deps.save(act.config, act.lastN)
      case 'ship':
        return deps.ship(act.epoch)
      case 'beat':
        return deps.say({ is: 'beat', n: act.n })
      case 'release':
        return deps.release(act.through)
      case 'claim':
      case 'look':
        return this.#ask(act.do, act.config)
      case 'open':
        return this.#later('open', async () => {
          await deps.arbiter(act.config).arbiterOpen({ config: act.config, life: act.life })
          await this.input({ is: 'opened', n: act.config.n })
        })
      case 'supersede':
        return this.#later('supersede', async () => {
          const { config, next } = act
          const answer = await deps.arbiter(config).arbiterSupersede({ vm: config.vm, n: config.n, next })
          await this.input({ is: 'answer', n: config.n, answer })
        })
      case 'configure':
        return deps.say({ is: 'configure', next: act.next })
      case 'kill':
        return deps.kill()
    }
  }

  #ask(how: 'claim' | 'look', config: ProtectionConfig): void {
    this.#later(how, async () => {
      const request = { vm: config.vm, n: config.n, side: 'primary' } as const
      const arbiter = this.#deps.arbiter(config)
      const answer = await (how === 'claim' ? arbiter.arbiterClaim(request) : arbiter.arbiterLook(request))
      this.#deps.log.info({ how, n: config.n, answer: answer.is }, 'the arbiter has answered')
      await this.input({ is: 'answer', n: config.n, answer })
    })
  }

  /** An arbiter is not waited for: the protocol asks again by itself. */
  #later(what: string, work: () => Promise<void>): void {
    work().catch((err: unknown) => {
      this.#deps.log.warn({ what, err: describeError(err) }, 'the arbiter could not be asked')
    })
  }
}
