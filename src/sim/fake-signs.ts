/** The signs of life of simulated guests: an agent that does not answer is waited for, as a real one is. */
import type { FramesSent, GuestSigns } from '../agent/guest/guest-signs.ts'
import type { Clock } from '../base/clock.ts'
import type { Machine } from '../hypervisor/hypervisor.ts'
import type { FakeHypervisor } from './fake-hypervisor.ts'

const answerMs = 5000

export class FakeSigns implements GuestSigns {
  readonly #hypervisor: FakeHypervisor
  readonly #clock: Clock

  constructor(hypervisor: FakeHypervisor, clock: Clock) {
    this.#hypervisor = hypervisor
    this.#clock = clock
  }

  async doesAnswer(machine: Machine): Promise<boolean> {
    if (this.#hypervisor.guest(machine.name)?.doesAnswer() === true) return true
    await this.#clock.sleep(answerMs)
    return false
  }

  async framesSent(): Promise<FramesSent> {
    return () => 0
  }
}
