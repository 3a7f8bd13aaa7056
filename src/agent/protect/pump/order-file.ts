/** What a pump is told when it is started, as a file in the VM's run folder. */
import type { PrimaryOrder, SecondOrder } from '../pumps.ts'
import type { ProcessId } from '../../../base/processes.ts'

export const orderFile = 'pump-order.json'
export const processFile = 'pump.json'
export const logFile = 'pump.log'

export type PumpTask =
  | { readonly side: 'primary'; readonly order: PrimaryOrder }
  | {
      readonly side: 'second'
      readonly order: SecondOrder
      readonly listen: { readonly data: string; readonly beats: string }
    }

/** Of a file in the run folder: it goes with the machine, and with the VM's place. */
export type OrderFile = PumpTask & {
  /** `start`: as ordered. `salvage`: the pump before has died; nothing is held, only found out who may go on. */
  readonly mode: 'start' | 'salvage'
  /** DATA of the agent. */
  readonly dataDirectory: string
}

/** Which process a VM's pump is. */
export interface PumpProcess {
  readonly process: ProcessId
  readonly side: 'primary' | 'second'
}
