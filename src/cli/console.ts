/**
 * The serial line of a VM in this terminal. Bytes go through untouched both ways. A connection that drops (the VM moved, the
 * manager restarted) is made again with a new ticket; what was typed in between waits, what the guest wrote is lost.
 *
 *   connecting ──▶ connected ──▶ (dropped) connecting …
 *   ends: Ctrl-] on a terminal; end of a pipe and then silence; the timeout; the VM is off.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../base/clock.ts'
import { HoldfastError, toHoldfastError } from '../base/errors.ts'
import type { Session } from './connection/session.ts'
import type { Terminal } from './terminal.ts'

export interface ConsoleWishes {
  readonly vm: string
  readonly name: string
  /** End after so many seconds in any case. */
  readonly timeoutSeconds?: number | undefined
  /** With a pipe: end when the pipe has ended and the guest has been silent for so many seconds. */
  readonly graceSeconds: number
}

export type ConsoleEnding = 'left' | 'input-ended' | 'timeout' | 'off'

const escapeByte = 0x1d
const reconnectPatienceMs = 60_000

/** Runs the console to its end. Throws what kept it from being opened, or from being opened again. */
export async function runConsole(
  terminal: Terminal,
  session: Session,
  clock: Clock,
  wishes: ConsoleWishes,
): Promise<ConsoleEnding> {
  const run = new ConsoleRun(terminal, session, clock, wishes)
  return run.run()
}

class ConsoleRun {
  readonly #terminal: Terminal
  readonly #session: Session
  readonly #clock: Clock
  readonly #wishes: ConsoleWishes
  readonly #ending = Promise.withResolvers<ConsoleEnding>()
  #isOver = false
  #inputEnded = false
  #link: Duplex | undefined
  #silence: Disposable | undefined

  constructor(terminal: Terminal, session: Session, clock: Clock, wishes: ConsoleWishes) {
    this.#terminal = terminal
    this.#session = session
    this.#clock = clock
    this.#wishes = wishes
  }

  async run(): Promise<ConsoleEnding> {
    const { timeoutSeconds } = this.#wishes
    let link = await this.#open()
    await using cleanup = new AsyncDisposableStack()
    cleanup.defer(() => void this.#link?.destroy())
    cleanup.use(this.#takeInput())
    cleanup.defer(() => this.#silence?.[Symbol.dispose]())
    if (timeoutSeconds !== undefined) {
      cleanup.use(this.#clock.timer(timeoutSeconds * 1000, () => this.#finish('timeout')))
    }
    this.#greet()
    for (;;) {
      const ending = await Promise.race([this.#serve(link), this.#ending.promise])
      if (ending !== 'dropped') return ending
      const next = await this.#reopen()
      if (next === undefined) return 'off'
      if (next === 'over') return await this.#ending.promise
      link = next
    }
  }

  #greet(): void {
    if (!this.#terminal.isInTty) return
    this.#terminal.err(`Serial line of ${this.#wishes.name}. Ctrl-] leaves it.\r\n`)
  }

  #note(text: string): void {
    this.#terminal.err(`\r\n[holdfast: ${text}]\r\n`)
  }

  async #open(): Promise<Duplex> {
    const params = { vm: this.#wishes.vm }
    const ticket = await this.#session.client.call('createTicket', { params, body: { kind: 'serial' } })
    return this.#session.client.openConsole(ticket.url)
  }

  /** Carries bytes until the link closes. */
  #serve(link: Duplex): Promise<'dropped'> {
    return new Promise((resolve) => {
      this.#link = link
      link.on('data', (chunk: Uint8Array) => {
        this.#terminal.out(chunk)
        this.#restartSilence()
      })
      link.on('drain', () => this.#terminal.input.resume())
      link.on('error', () => resolve('dropped'))
      link.once('end', () => resolve('dropped'))
      link.once('close', () => resolve('dropped'))
      this.#restartSilence()
      this.#terminal.input.resume()
    })
  }

  /** A new link; undefined when the VM is off, `over` when the run ended meanwhile. Throws when patience is at its end. */
  async #reopen(): Promise<Duplex | undefined | 'over'> {
    this.#link?.destroy()
    this.#link = undefined
    this.#silence?.[Symbol.dispose]()
    this.#terminal.input.pause()
    const startedMs = this.#clock.monotonic()
    for (let pauseMs = 100, said = false; !this.#isOver; pauseMs = Math.min(pauseMs * 2, 2000)) {
      const outcome = await this.#tryAgain()
      if (outcome === 'off') {
        this.#note(`${this.#wishes.name} is off`)
        return undefined
      }
      if (!(outcome instanceof HoldfastError)) {
        this.#note('connected again')
        return outcome
      }
      if (!isPassing(outcome) || this.#clock.monotonic() - startedMs > reconnectPatienceMs) throw outcome
      if (!said) this.#note('the connection dropped; connecting again')
      said = true
      await Promise.race([this.#clock.sleep(pauseMs), this.#ending.promise])
    }
    return 'over'
  }

  async #tryAgain(): Promise<Duplex | 'off' | HoldfastError> {
    try {
      const vm = await this.#session.client.call('getVm', { params: { vm: this.#wishes.vm } })
      return vm.state === 'stopped' ? 'off' : await this.#open()
    } catch (thrown) {
      return toHoldfastError(thrown)
    }
  }

  #takeInput(): Disposable {
    const { input, isInTty } = this.#terminal
    const raw = isInTty ? this.#terminal.rawInput() : undefined
    const onData = (chunk: Buffer): void => this.#typed(chunk)
    const onEnd = (): void => {
      this.#inputEnded = true
      this.#restartSilence()
    }
    input.on('data', onData)
    input.once('end', onEnd)
    if (input.readableEnded) onEnd()
    return {
      [Symbol.dispose]: () => {
        input.off('data', onData)
        input.off('end', onEnd)
        input.pause()
        raw?.[Symbol.dispose]()
      },
    }
  }

  #typed(chunk: Buffer): void {
    const escape = this.#terminal.isInTty ? chunk.indexOf(escapeByte) : -1
    const data = escape < 0 ? chunk : chunk.subarray(0, escape)
    if (data.length > 0 && this.#link?.write(data) === false) this.#terminal.input.pause()
    this.#restartSilence()
    if (escape >= 0) {
      this.#terminal.err('\r\n')
      this.#finish('left')
    }
  }

  /** Silence counts only after the end of a pipe, while a link is there. */
  #restartSilence(): void {
    this.#silence?.[Symbol.dispose]()
    if (!this.#inputEnded || this.#link === undefined) return
    this.#silence = this.#clock.timer(this.#wishes.graceSeconds * 1000, () => this.#finish('input-ended'))
  }

  #finish(ending: ConsoleEnding): void {
    this.#isOver = true
    this.#ending.resolve(ending)
  }
}

/** Errors that a VM on the move, or a manager that restarts, gives for a while. */
function isPassing(error: HoldfastError): boolean {
  const codes = ['unreachable', 'timeout', 'host-error', 'wrong-state', 'operation-in-progress', 'hypervisor-error']
  return codes.includes(error.code)
}
