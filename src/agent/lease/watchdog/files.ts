/** What the agent and its watchdog's program tell each other, by files in RUN/lease: they are gone with the machine's power. */
import { join } from 'node:path'
import type { ProcessId } from '../../../base/processes.ts'
import type { WatchdogOrder } from '../watchdog-port.ts'

export interface OrderInForce extends WatchdogOrder {
  readonly v: 1
  /** Folder of the VMs' run folders. */
  readonly runRoot: string
  /** A device, or a socket that stands for one; null: none. */
  readonly hardware: string | null
}

/** Written by the program when it works, and again when that changes. */
export interface WatchdogWord {
  readonly process: ProcessId
  /** Term of the hardware behind it, once that is armed. */
  readonly hardwareMs: number | null
  /** Why the hardware cannot be used, in words. */
  readonly problem: string | null
}

export interface LeasePaths {
  readonly order: string
  readonly word: string
  readonly log: string
}

export function leasePaths(folder: string): LeasePaths {
  return { order: join(folder, 'order.json'), word: join(folder, 'watchdog.json'), log: join(folder, 'watchdog.log') }
}
