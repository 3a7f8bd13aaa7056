/** A host's watchdog: a program beside the agent, which freezes and dies with the host alone; and hardware that does not. */
import type { Clock } from '../../base/clock.ts'
import type { VmId } from '../../base/ids.ts'
import type { Watchdog, WatchdogOrder } from '../../agent/lease/watchdog-port.ts'
import type { FakeHypervisor } from '../fake-hypervisor.ts'

export interface WatchdogParts {
  /** Stands still while the host is frozen. */
  readonly clock: Clock
  readonly hypervisor: FakeHypervisor
  readonly hardwareMs: number | null
  readonly note: (text: string) => void
}

const lookEveryMs = 100

export class SimulatedWatchdog implements Watchdog {
  readonly #parts: WatchdogParts
  #order: WatchdogOrder | undefined
  #isRunning = false

  constructor(parts: WatchdogParts) {
    this.#parts = parts
  }

  get hardwareMs(): number | null {
    return this.#parts.hardwareMs
  }

  /** Whether the hardware would reset a machine that stands still. */
  get isArmed(): boolean {
    return this.hardwareMs !== null && (this.#order?.armed.length ?? 0) > 0
  }

  async order(order: WatchdogOrder): Promise<void> {
    this.#order = order
    if (!this.#isRunning && order.armed.length > 0) void this.#run()
  }

  async ordered(): Promise<WatchdogOrder | undefined> {
    return this.#order
  }

  async areGone(vms: readonly VmId[]): Promise<boolean> {
    return vms.every((vm) => this.#parts.hypervisor.guest(vm) === undefined)
  }

  /** The machine is reset: the program is gone, and what it was told. */
  reset(): void {
    this.#order = undefined
  }

  async #run(): Promise<void> {
    this.#isRunning = true
    while (this.#order !== undefined) {
      this.#look(this.#order)
      await this.#parts.clock.sleep(lookEveryMs)
    }
    this.#isRunning = false
  }

  #look({ deadlineMs, armed }: WatchdogOrder): void {
    const { clock, hypervisor, note } = this.#parts
    if (deadlineMs === null || clock.monotonic() < deadlineMs) return
    for (const vm of armed) {
      const guest = hypervisor.guest(vm)
      if (guest === undefined) continue
      note(`the watchdog of ${hypervisor.host} kills QEMU of ${vm}`)
      guest.kill()
    }
  }
}
