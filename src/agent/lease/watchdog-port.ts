/** The program that stops armed VMs when the lease is over: a process of its own, which outlives the agent. */
import type { VmId } from '../../base/ids.ts'

export interface WatchdogOrder {
  /** By the clock that does not jump; what is armed is stopped from then on. Null: never (the host was released). */
  readonly deadlineMs: number | null
  readonly armed: readonly VmId[]
}

export interface Watchdog {
  /** Term of the hardware watchdog behind it, milliseconds; null: there is none. */
  readonly hardwareMs: number | null
  /**
   * Holds from when it resolves. Starts the program where there is something armed and it does not run. Throws `host-error`
   * when it cannot be started.
   */
  order(order: WatchdogOrder): Promise<void>
  /** The order in force on this boot of the machine; undefined: none was given. */
  ordered(): Promise<WatchdogOrder | undefined>
  /** Whether no QEMU of these VMs is left here. */
  areGone(vms: readonly VmId[]): Promise<boolean>
}
