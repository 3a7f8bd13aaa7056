/**
 * The network between manager and agents. A message takes some time; it can be lost, its answer can, it can come twice, or
 * late, after its sender has given up; each direction to each host can be cut. What does not get through is answered as a
 * real connection does: at once, after a while, or not before the caller's own deadline.
 */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import { fromProblem, toProblem } from '../../contracts/problem-errors.ts'
import type { SeededRandom } from '../seeded-random.ts'
import type { VirtualClock } from '../virtual-clock.ts'
import type { SimulatedProcess } from './process.ts'

export interface Message<T> {
  /** `manager`, or a host's id. */
  readonly from: string
  readonly to: string
  readonly what: string
  readonly deadlineMs: number
  /** Who answers now; undefined when no such process runs. */
  readonly server: () => SimulatedProcess | undefined
  readonly work: () => Promise<T>
}

export class ManagementNetwork {
  readonly #clock: VirtualClock
  readonly #random: SeededRandom
  readonly #note: (text: string) => void
  readonly #cuts = new Set<string>()
  #healed = Promise.withResolvers<void>()
  /** Probability that something happens to a message. */
  badness = 0
  /** Of one way, milliseconds. */
  delayMs = 2

  constructor(clock: VirtualClock, random: SeededRandom, note: (text: string) => void) {
    this.#clock = clock
    this.#random = random
    this.#note = note
  }

  cut(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`)
  }

  /** Every way to and from this host is open again. */
  join(host: string): void {
    for (const cut of this.#cuts) if (cut.split('>').includes(host)) this.#cuts.delete(cut)
    this.#open()
  }

  heal(): void {
    this.#cuts.clear()
    this.badness = 0
    this.#open()
  }

  #open(): void {
    this.#healed.resolve()
    this.#healed = Promise.withResolvers<void>()
  }

  /** Throws `unreachable` or `timeout` when no answer came: what became of the request is then unknown. */
  async call<T>(message: Message<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    let isGivenUp = false
    const giveUp = (error: HoldfastError): void => {
      isGivenUp = true
      reject(error)
    }
    using _timer = this.#clock.timer(message.deadlineMs, () =>
      giveUp(new HoldfastError('timeout', `${message.to} did not answer to ${message.what}`)),
    )
    this.#carry(message, giveUp, () => isGivenUp).then(resolve, reject)
    return await promise
  }

  async #carry<T>(message: Message<T>, giveUp: (error: HoldfastError) => void, isGivenUp: () => boolean): Promise<T> {
    const fate = this.#fate(message)
    await this.#delay()
    await this.#pass(message.from, message.to, giveUp, isGivenUp)
    if (fate === 'lost') throw lost(message)
    if (fate === 'twice') {
      void this.#clock.sleep(this.#random.int(3000)).then(() => this.#served(message).catch(() => undefined))
    }
    const answer = await this.#served(message).then(
      (value) => ({ ok: true as const, value }),
      (thrown: unknown) => ({ ok: false as const, error: toHoldfastError(thrown) }),
    )
    await this.#delay()
    await this.#pass(message.to, message.from, giveUp, isGivenUp)
    if (fate === 'answer-lost') throw lost(message)
    if (answer.ok) return answer.value
    throw fromProblem(toProblem(answer.error))
  }

  #fate({ from, to, what }: Message<unknown>): 'whole' | 'lost' | 'answer-lost' | 'twice' {
    if (this.badness === 0 || !this.#random.chance(this.badness)) return 'whole'
    const fate = this.#random.pick(['lost', 'answer-lost', 'answer-lost', 'twice'] as const)
    this.#note(`network: ${what} from ${from} to ${to}: ${fate}`)
    return fate
  }

  async #served<T>({ to, server, work }: Message<T>): Promise<T> {
    const process = server()
    if (process === undefined) throw new HoldfastError('unreachable', `${to} refuses the connection`)
    const value = await process.serve(work)
    return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as T)
  }

  #delay(): Promise<void> {
    return this.#clock.sleep(1 + this.#random.int(this.delayMs))
  }

  /** Waits while the way is cut. What was on it when its sender gave up may still come through, late. */
  async #pass(
    from: string,
    to: string,
    giveUp: (error: HoldfastError) => void,
    isGivenUp: () => boolean,
  ): Promise<void> {
    if (!this.#cuts.has(`${from}>${to}`)) return
    if (this.#random.chance(0.7)) {
      void this.#clock
        .sleep(50 + this.#random.int(2000))
        .then(() => giveUp(new HoldfastError('unreachable', `the connection of ${from} and ${to} broke`)))
    }
    const isKept = this.#random.chance(0.5)
    while (this.#cuts.has(`${from}>${to}`)) await this.#healed.promise
    if (isGivenUp() && !isKept) await new Promise(() => undefined)
  }
}

function lost(message: Message<unknown>): HoldfastError {
  return new HoldfastError('unreachable', `the connection to ${message.to} broke at ${message.what}`)
}
