/** Speaks to the storage array, the program that stands between each host and its storage. */
import type { Message } from './lines.ts'
import { askLine } from './lines.ts'
import { sockets } from './names.ts'
import type { LabPorts } from './ports.ts'
import type { StorageFault } from './state.ts'

export class ArrayClient {
  readonly #ports: LabPorts
  readonly #socket: string

  constructor(ports: LabPorts, folder: string) {
    this.#ports = ports
    this.#socket = sockets(folder).array
  }

  /** Puts the host's storage in front of it, if it is not there. */
  async mount(host: string): Promise<void> {
    await this.#ask({ verb: 'mount', host })
  }

  /** The fault in force from now on for one host; without one all goes on. */
  async fault(host: string, fault?: StorageFault): Promise<void> {
    const how = fault === undefined ? { mode: 'ok' } : { ...fault, mode: fault.kind }
    await this.#ask({ verb: 'fault', ...how, host })
  }

  /** Answers all that hangs with an error: its host is being crashed. */
  async dropHeld(host: string): Promise<void> {
    await this.#ask({ verb: 'drop', host })
  }

  async hosts(): Promise<string[]> {
    return (await this.#ask({ verb: 'status' }))['hosts'] as string[]
  }

  #ask(message: Message): Promise<Message> {
    return askLine(this.#ports, this.#socket, message, 15_000)
  }
}
