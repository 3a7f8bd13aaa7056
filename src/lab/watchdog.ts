/**
 * The hardware watchdogs of a lab's hosts. A host arms its own with a term and pets it; when it has not been petted for
 * that long, the host is power-cycled, whatever state it is in. Closing the connection disarms nothing. Terms survive a
 * restart of the program that keeps them: a host then has its whole term anew.
 */
import { HoldfastError } from '../base/errors.ts'
import type { Logger } from '../base/log.ts'
import { textField, type Message } from './lines.ts'
import type { LabPorts } from './ports.ts'

interface Armed {
  readonly termMs: number
  timer: Disposable
}

const shortestMs = 500
const longestMs = 3_600_000

export class Watchdogs {
  readonly #ports: Pick<LabPorts, 'clock' | 'files'>
  readonly #file: string
  readonly #log: Logger
  readonly #bite: (host: string) => Promise<void>
  readonly #armed = new Map<string, Armed>()

  private constructor(
    ports: Pick<LabPorts, 'clock' | 'files'>,
    file: string,
    log: Logger,
    bite: (host: string) => Promise<void>,
  ) {
    this.#ports = ports
    this.#file = file
    this.#log = log
    this.#bite = bite
  }

  /** `bite` power-cycles a host. */
  static async open(
    ports: Pick<LabPorts, 'clock' | 'files'>,
    file: string,
    log: Logger,
    bite: (host: string) => Promise<void>,
  ): Promise<Watchdogs> {
    const watchdogs = new Watchdogs(ports, file, log, bite)
    const kept = await ports.files.readText(file).then(
      (text) => JSON.parse(text) as Record<string, number>,
      () => ({}),
    )
    for (const [host, termMs] of Object.entries(kept)) watchdogs.#arm(host, termMs)
    return watchdogs
  }

  /** `{verb: 'arm', termMs}`, `pet`, `disarm`, `status`. */
  async handle(host: string, message: Message): Promise<Message> {
    switch (message['verb']) {
      case 'arm': {
        const termMs = message['termMs']
        if (typeof termMs !== 'number' || !(termMs >= shortestMs && termMs <= longestMs)) {
          throw new HoldfastError('invalid-request', `termMs must be from ${shortestMs} to ${longestMs}`)
        }
        this.#arm(host, termMs)
        await this.#save()
        break
      }
      case 'pet': {
        const armed = this.#armed.get(host)
        if (armed === undefined) throw new HoldfastError('wrong-state', 'the watchdog is not armed')
        this.#arm(host, armed.termMs)
        break
      }
      case 'disarm':
        await this.disarm(host)
        break
      case 'status':
        break
      default:
        throw new HoldfastError('invalid-request', `the watchdog knows no verb ${textField(message, 'verb')}`)
    }
    return { host, termMs: this.#armed.get(host)?.termMs ?? null }
  }

  /** The term in force, or null. */
  termMs(host: string): number | null {
    return this.#armed.get(host)?.termMs ?? null
  }

  /** A host that is switched off or on has its watchdog off, as hardware has. */
  async disarm(host: string): Promise<void> {
    this.#armed.get(host)?.timer[Symbol.dispose]()
    if (this.#armed.delete(host)) await this.#save()
  }

  #arm(host: string, termMs: number): void {
    this.#armed.get(host)?.timer[Symbol.dispose]()
    const timer = this.#ports.clock.timer(termMs, () => {
      this.#armed.delete(host)
      this.#log.warn({ host, termMs }, 'watchdog was not petted: power cycle')
      this.#save()
        .then(() => this.#bite(host))
        .catch((thrown: unknown) => this.#log.error({ host, err: thrown }, 'power cycle failed'))
    })
    this.#armed.set(host, { termMs, timer })
  }

  async #save(): Promise<void> {
    const terms = Object.fromEntries([...this.#armed].map(([host, { termMs }]) => [host, termMs]))
    await this.#ports.files.write(this.#file, JSON.stringify(terms))
  }
}
