/** The pump's end of the control socket. */
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Streams } from '../../../base/streams.ts'
import type { ProtectionObservation, SecondEndpoint } from '../../../contracts/protection.ts'
import {
  controlActs,
  controlSocket,
  readLines,
  sendLine,
  toProblem,
  type ControlCall,
  type ControlLine,
  type ControlRequest,
} from './control.ts'

/** Between two words on how it stands. */
const statusEveryMs = 100

export class ControlServer implements AsyncDisposable {
  readonly #clock: Clock
  readonly #open = new Set<Duplex>()
  #listening: AsyncDisposable | undefined
  #first: ControlLine | undefined
  #act: (call: ControlCall) => Promise<void> = () => Promise.resolve()
  #status: (() => ProtectionObservation) | undefined
  #timer: Disposable | undefined

  private constructor(clock: Clock) {
    this.#clock = clock
  }

  static async open(deps: { streams: Streams; clock: Clock }, runDirectory: string): Promise<ControlServer> {
    const server = new ControlServer(deps.clock)
    server.#listening = await deps.streams.listenUnix(join(runDirectory, controlSocket), (stream) =>
      server.#take(stream),
    )
    return server
  }

  /** It works from now on. */
  begun(
    endpoint: SecondEndpoint | null,
    pump: { readonly status: ProtectionObservation },
    act: (call: ControlCall) => Promise<void>,
  ): void {
    this.#act = act
    this.#status = () => pump.status
    this.#say((this.#first = { is: 'begun', endpoint }))
    this.changed()
  }

  failed(thrown: unknown): void {
    this.#say((this.#first = { is: 'failed', problem: toProblem(thrown) }))
  }

  /** Tells the status soon. */
  changed(): void {
    this.#timer ??= this.#clock.timer(statusEveryMs, () => {
      this.#timer = undefined
      this.tell()
    })
  }

  /** Tells the status now. */
  tell(): void {
    if (this.#status !== undefined) this.#say({ is: 'status', status: this.#status() })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.tell()
    for (const stream of this.#open) stream.end()
    await this.#listening?.[Symbol.asyncDispose]()
  }

  #take(stream: Duplex): void {
    this.#open.add(stream)
    stream.once('close', () => this.#open.delete(stream))
    if (this.#first !== undefined) sendLine(stream, this.#first)
    this.tell()
    readLines(stream, (line) => void this.#answer(stream, line as Partial<ControlRequest>))
  }

  async #answer(stream: Duplex, { id = 0, do: act, change }: Partial<ControlRequest>): Promise<void> {
    const isKnown = act !== undefined && controlActs.includes(act)
    const problem = isKnown
      ? await this.#act({ do: act, ...(change === undefined ? {} : { change }) }).then(() => null, toProblem)
      : toProblem(unknownAct(act))
    sendLine(stream, { is: 'done', id, problem })
  }

  #say(line: ControlLine): void {
    for (const stream of this.#open) sendLine(stream, line)
  }
}

function unknownAct(act: string | undefined): HoldfastError {
  return new HoldfastError(
    'wrong-state',
    `what holds the VM in step was begun by another Holdfast, and cannot ${act}`,
    {
      mend: 'Unprotect the VM and protect it again.',
    },
  )
}
