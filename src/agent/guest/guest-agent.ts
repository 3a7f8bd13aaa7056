/**
 * The agent in a guest (qemu-guest-agent), asked whether it is there, for its time, and told it, over the channel `org.qemu.guest_agent.0`. It is
 * the guest's, so nothing that it says is trusted: one question is open at a time, an answer is one short line within a
 * bounded time, and whoever says anything else, or says it unasked, is not listened to any more. Whatever it was told may
 * still be carried out later, so the conversation begins with a mark (`guest-sync-delimited`) and ends at the first doubt.
 */
import type { Duplex } from 'node:stream'
import type { Clock } from '../../base/clock.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'

/** An answer to any of these questions has some fifty bytes. */
const mostBytes = 4096
/** What the agent answered to somebody before, and is still in the channel. */
const mostStaleBytes = 64 * 1024
const answerMs = 1000
/** It writes the time to the RTC too, and waits for a full second to do so. */
const setMs = 3000
/** Says where a new conversation begins; it stands in no text. */
const delimiter = 0xff
const newline = 0x0a
/** Of a 64-bit count of nanoseconds since 1970. */
const mostTimeMs = 2 ** 63 / 1e6

interface Question {
  readonly isSync: boolean
  readonly answer: PromiseWithResolvers<unknown>
  readonly chunks: Buffer[]
  length: number
}

export class GuestAgent implements Disposable {
  readonly #stream: Duplex
  readonly #clock: Clock
  #question: Question | undefined
  #problem: HoldfastError | undefined

  private constructor(stream: Duplex, clock: Clock) {
    this.#stream = stream
    this.#clock = clock
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
    stream.on('error', () => this.#end(gone()))
    stream.once('close', () => this.#end(gone()))
  }

  /**
   * Takes the stream over. Rejects with `timeout` where no agent answers, and as every question does: that it opens is a
   * sign of life. `mark`: another each time.
   */
  static async open(stream: Duplex, clock: Clock, mark: number, withinMs = answerMs): Promise<GuestAgent> {
    const agent = new GuestAgent(stream, clock)
    stream.write(Buffer.of(delimiter))
    const said = await agent.#ask('guest-sync-delimited', `{"id":${mark}}`, withinMs, true)
    if (said !== mark) throw agent.#end(strange('it does not give the mark back'))
    return agent
  }

  get isOpen(): boolean {
    return this.#problem === undefined
  }

  /** The guest's time, milliseconds since 1970. Rejects with `timeout`, `unreachable` or `invalid-request`; then all is over. */
  async time(): Promise<number> {
    const said = await this.#ask('guest-get-time', undefined, answerMs)
    const isTime = typeof said === 'number' && Number.isInteger(said) && said >= 0 && said / 1e6 < mostTimeMs
    if (isTime) return said / 1e6
    throw this.#end(strange('it tells no time'))
  }

  /** Sets the guest's clock. Whether it is set so is not known by the answer: ask for the time. */
  async setTime(ms: number): Promise<void> {
    const ns = BigInt(Math.round(ms * 1000)) * 1000n
    await this.#ask('guest-set-time', `{"time":${ns}}`, setMs)
  }

  [Symbol.dispose](): void {
    this.#end(gone())
  }

  async #ask(command: string, given: string | undefined, timeoutMs: number, isSync = false): Promise<unknown> {
    if (this.#problem !== undefined) throw this.#problem
    if (this.#question !== undefined)
      throw new HoldfastError('internal', 'the guest agent is asked one thing at a time')
    const question: Question = { isSync, answer: Promise.withResolvers(), chunks: [], length: 0 }
    this.#question = question
    const late = new HoldfastError('timeout', `the agent in the guest did not answer ${command} in ${timeoutMs} ms`)
    using _timer = this.#clock.timer(timeoutMs, () => this.#end(late))
    this.#stream.write(`{"execute":"${command}"${given === undefined ? '' : `,"arguments":${given}`}}\n`)
    return await question.answer.promise
  }

  #take(chunk: Buffer): void {
    const question = this.#question
    if (question === undefined) return void this.#end(strange('it speaks unasked'))
    question.chunks.push(chunk)
    question.length += chunk.length
    if (question.length > (question.isSync ? mostStaleBytes : mostBytes))
      return void this.#end(strange('its answer does not end'))
    if (!chunk.includes(newline)) return
    const all = Buffer.concat(question.chunks)
    try {
      const line = question.isSync ? afterMark(all) : onlyLine(all)
      if (line === undefined) return
      const answer = answerOf(line)
      this.#question = undefined
      question.answer.resolve(answer)
    } catch (thrown) {
      this.#end(strange(describeError(thrown)))
    }
  }

  /** Nothing is said or heard any more. */
  #end(why: HoldfastError): HoldfastError {
    const problem = (this.#problem ??= why)
    this.#question?.answer.reject(problem)
    this.#question = undefined
    this.#stream.removeAllListeners('data').destroy()
    return problem
  }
}

/** The whole line after the newest mark; undefined while there is none. */
function afterMark(bytes: Buffer): Buffer | undefined {
  const mark = bytes.lastIndexOf(delimiter)
  const end = bytes.indexOf(newline, mark + 1)
  return mark < 0 || end < 0 ? undefined : bytes.subarray(mark + 1, end)
}

function onlyLine(bytes: Buffer): Buffer {
  if (bytes.indexOf(newline) === bytes.length - 1) return bytes
  throw new Error('more than one line')
}

/** What it gives back. An error of its own making is an answer too: what was asked for is seen by asking again. */
function answerOf(line: Buffer): unknown {
  const said: unknown = JSON.parse(line.toString())
  if (typeof said !== 'object' || said === null) throw new Error('no answer')
  if ('return' in said) return said.return
  if ('error' in said) return undefined
  throw new Error('no answer')
}

function strange(why: string): HoldfastError {
  return new HoldfastError('invalid-request', `the agent in the guest does not keep to its protocol: ${why}`)
}

function gone(): HoldfastError {
  return new HoldfastError('unreachable', 'the channel to the agent in the guest has ended')
}
