import type { Random } from '../../base/random.ts'

export interface PauseSettings {
  readonly firstMs: number
  readonly longestMs: number
}

/** How long to wait between tries: doubling from first to longest, each a quarter more or less by chance. */
export class Pauses {
  readonly #random: Random
  readonly #settings: PauseSettings
  #nextMs: number

  constructor(random: Random, settings: PauseSettings) {
    this.#random = random
    this.#settings = settings
    this.#nextMs = settings.firstMs
  }

  /** Milliseconds of the pause that is due; the one after it is longer. */
  next(): number {
    const base = this.#nextMs
    this.#nextMs = Math.min(base * 2, this.#settings.longestMs)
    return Math.round(base * (0.75 + this.#random.int(501) / 1000))
  }

  /** Begins again with the short ones. */
  reset(): void {
    this.#nextMs = this.#settings.firstMs
  }
}
