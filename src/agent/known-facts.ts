/**
 * What this host is, asked when the agent starts and from time to time after that: a self-test that has passed meanwhile, or
 * VMs that others run here by now, are among it. Nobody waits for it but whoever asks first.
 */
import type { Clock } from '../base/clock.ts'
import type { HostFacts } from '../contracts/host.ts'

/** A host is what it is for a long time. */
const goodMs = 60_000

export class KnownFacts {
  readonly #clock: Clock
  readonly #ask: () => Promise<HostFacts>
  #known: Promise<HostFacts>
  #askedAt: number
  #isAsking = false

  constructor(clock: Clock, ask: () => Promise<HostFacts>) {
    this.#clock = clock
    this.#ask = ask
    this.#askedAt = clock.monotonic()
    this.#known = ask()
    this.#known.catch(() => undefined)
  }

  /** A host that cannot answer yet (QEMU is being installed) is asked again each time. */
  async get(): Promise<HostFacts> {
    if (this.#clock.monotonic() - this.#askedAt > goodMs) this.#renew()
    try {
      return await this.#known
    } catch {
      this.#known = this.#ask()
      return this.#known
    }
  }

  /** What was known stays so until there is something newer. */
  #renew(): void {
    if (this.#isAsking) return
    this.#isAsking = true
    this.#askedAt = this.#clock.monotonic()
    this.#ask()
      .then(
        (newer) => (this.#known = Promise.resolve(newer)),
        () => undefined,
      )
      .finally(() => (this.#isAsking = false))
      .catch(() => undefined)
  }
}
