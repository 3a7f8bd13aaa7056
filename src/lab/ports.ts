import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import type { Network } from '../base/network.ts'
import type { Processes } from '../base/processes.ts'
import type { Random } from '../base/random.ts'

/** What the lab reaches the machine through. */
export interface LabPorts {
  readonly clock: Clock
  readonly files: Files
  readonly network: Network
  readonly processes: Processes
  readonly random: Random
}

/** How the lab starts the program itself: Node, and the CLI's main. */
export interface Launcher {
  readonly node: string
  readonly main: string
}
