/**
 * Of a host that cannot hold VMs in step. It also never says that a pump was not there: what another program has begun on
 * this host stays undecided until that program is back.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { Pumps } from './pumps.ts'

export class NoPumps implements Pumps {
  readonly #why: string

  /** `why`: in words, as the reason of the refusal. */
  constructor(why: string) {
    this.#why = why
  }

  startPrimary(): Promise<never> {
    return this.#refuse()
  }

  startSecond(): Promise<never> {
    return this.#refuse()
  }

  adopt(): Promise<never> {
    return this.#refuse()
  }

  salvage(): Promise<never> {
    return this.#refuse()
  }

  memory(): Promise<never> {
    return this.#refuse()
  }

  forget(): Promise<never> {
    return this.#refuse()
  }

  #refuse(): Promise<never> {
    return Promise.reject(
      new HoldfastError('refused', `this host cannot hold a VM in step with another: ${this.#why}`, {
        mend: 'Protect the VM on other hosts, or without this one.',
      }),
    )
  }
}
