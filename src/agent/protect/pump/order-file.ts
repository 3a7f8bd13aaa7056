/** What a pump is told when it is started, as a file in the VM's run folder. */
import type { ProtectionSide } from '../../../contracts/protection.ts'
import type { TrackerKind } from '../../../base/process-memory.ts'
import type { PrimaryOrder, PumpOrder, SecondOrder } from '../pumps.ts'
import type { ProcessId } from '../../../base/processes.ts'

export const orderFile = 'pump-order.json'
export const processFile = 'pump.json'
export const logFile = 'pump.log'

/** `start`: as ordered. `salvage`: the pump before has died; nothing is held, only found out who may go on. */
export type PumpTask =
  | {
      readonly mode: 'start'
      readonly side: 'primary'
      readonly order: PrimaryOrder
      readonly tracking: PumpTracking
    }
  | {
      readonly mode: 'start'
      readonly side: 'second'
      readonly order: SecondOrder
      readonly listen: { readonly data: string; readonly beats: string }
    }
  | { readonly mode: 'salvage'; readonly side: ProtectionSide; readonly order: SalvageOrder }

/** How the primary's pump finds what the guest has written. */
export interface PumpTracking {
  readonly tracker: TrackerKind
  /** Test mode: each epoch is compared with all of the memory, on both sides, and a difference ends the protection. */
  readonly isVerified: boolean
}

export type SalvageOrder = Pick<PumpOrder, 'vm' | 'arbiter' | 'copies' | 'runDirectory'>

/** Of a file in the run folder: it goes with the machine, and with the VM's place. */
export type OrderFile = PumpTask & {
  /** DATA of the agent. */
  readonly dataDirectory: string
}

/** Which process a VM's pump is. */
export interface PumpProcess {
  readonly process: ProcessId
  readonly side: ProtectionSide
}
