import type { Clock } from '../../../base/clock.ts'

/** Lets one loop rest until it is rung for, or its time has come. Rung while nobody rests, the next rest is none. */
export class Bell {
  readonly #clock: Clock
  #isRung = false
  #wake: () => void = () => undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  ring(): void {
    this.#isRung = true
    this.#wake()
  }

  /** `ms` undefined: until it is rung for, however long. */
  async rest(ms: number | undefined): Promise<void> {
    if (!this.#isRung) {
      await new Promise<void>((resolve) => {
        const timer = ms === undefined ? undefined : this.#clock.timer(ms, resolve)
        this.#wake = () => {
          timer?.[Symbol.dispose]()
          resolve()
        }
      })
    }
    this.#isRung = false
    this.#wake = () => undefined
  }
}
