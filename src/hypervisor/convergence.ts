/** When pre-copy will not end: the guest makes pages dirty as fast as they are sent. Pure. */

/** Watches passes over the memory; `isStuck` once several in a row brought no progress. */
export class Convergence {
  readonly #patience: number
  readonly #progressFactor: number
  #pass = 0
  #best = Number.POSITIVE_INFINITY
  #fruitless = 0

  /**
   * `patience`: how many passes without progress are waited for; more with auto-converge, which needs time to throttle.
   * `progressFactor`: a pass that leaves less than this part of the best one before counts as progress.
   */
  constructor(patience: number, progressFactor = 0.9) {
    this.#patience = patience
    this.#progressFactor = progressFactor
  }

  /** `pass`: QEMU's dirty-sync-count; `remaining`: bytes to send as the pass begins. */
  observe(pass: number, remaining: number): void {
    if (pass <= this.#pass) return
    this.#pass = pass
    // The first pass sends everything and says nothing about the guest.
    if (pass < 2) return
    if (remaining < this.#best * this.#progressFactor) this.#fruitless = 0
    else this.#fruitless++
    this.#best = Math.min(this.#best, remaining)
  }

  get isStuck(): boolean {
    return this.#fruitless >= this.#patience
  }
}
