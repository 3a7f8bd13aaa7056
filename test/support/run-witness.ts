/**
 * Watches from outside where a VM's vCPUs run: it speaks to every QEMU of the VM, on every host of a lab, over the spare
 * control socket, which nothing of Holdfast uses. QEMU's own STOP and RESUME events bear the machine's time, so the spans
 * in which each QEMU ran its vCPUs can be laid side by side to the microsecond; beside that, each is asked every 20 ms, or
 * as often as is said.
 */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { nodeFolders } from '../../src/lab/names.ts'
import type { TestLab } from './lab.ts'
import { endOf, overlapOf, type RunSpan } from './run-spans.ts'

/** Events of several QEMUs are read in any order: what is said of a moment is judged this much later. */
const settlesMs = 3000
const keptMs = 60_000

type Moment = 'STOP' | 'RESUME' | 'gone'

export class RunWitness implements AsyncDisposable {
  readonly spans: RunSpan[] = []
  readonly #lab: TestLab
  readonly #vm: string
  readonly #lookMs: number
  readonly #speakers = new Map<string, Speaker>()
  readonly #listeners = new Set<(host: string, moment: Moment) => void>()
  readonly #stop = new AbortController()
  #done: Promise<void>

  constructor(lab: TestLab, vm: string, lookMs = 20) {
    this.#lab = lab
    this.#vm = vm
    this.#lookMs = lookMs
    this.#done = this.#watch()
  }

  /** Calls back as soon as a QEMU says so. */
  on(listener: (host: string, moment: Moment) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) }
  }

  /** Hosts whose QEMU says that its vCPUs run, by its last answer. */
  get running(): string[] {
    return [...this.#speakers.values()].filter((speaker) => speaker.isRunning).map(({ host }) => host)
  }

  /** Hosts on which a QEMU of the VM answers. */
  get present(): string[] {
    return [...this.#speakers.keys()]
  }

  /** No two QEMUs ever ran their vCPUs at the same time. */
  assertNeverTwo(): void {
    assert.equal(overlapOf(this.spans), undefined, `two copies ran at once: ${JSON.stringify(this.spans)}`)
  }

  /** Two spans that overlap, of those old enough for every word of them to have come; older ones are then forgotten. */
  overlap(): readonly [RunSpan, RunSpan] | undefined {
    const settled = performance.timeOrigin + performance.now() - settlesMs
    const found = overlapOf(this.spans, settled)
    if (found !== undefined) return found
    const kept = this.spans.filter((span) => endOf(span) > settled - keptMs)
    this.spans.splice(0, this.spans.length, ...kept)
    return undefined
  }

  async #watch(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      for (const host of this.#lab.hosts) this.#look(host)
      await this.#lab.ports.clock.sleep(this.#lookMs, this.#stop.signal).catch(() => undefined)
    }
    for (const speaker of this.#speakers.values()) speaker.end()
  }

  #look(host: string): void {
    const known = this.#speakers.get(host)
    if (known !== undefined) return known.ask()
    const path = `${nodeFolders(this.#lab.lab.folder, host).run}/vms/${this.#vm}/q/qmp2`
    if (!existsSync(path)) return
    const speaker = new Speaker(host, path, this.spans, (moment) => {
      if (moment === 'gone' && this.#speakers.get(host) === speaker) this.#speakers.delete(host)
      for (const listener of this.#listeners) listener(host, moment)
    })
    this.#speakers.set(host, speaker)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#done
  }
}

interface Message {
  readonly QMP?: unknown
  readonly event?: string
  readonly timestamp?: { readonly seconds: number; readonly microseconds: number }
  readonly return?: { readonly running?: boolean }
}

class Speaker {
  readonly host: string
  readonly #socket: Socket
  readonly #spans: RunSpan[]
  readonly #tell: (moment: Moment) => void
  readonly #seen = performance.timeOrigin + performance.now()
  #span: RunSpan | undefined
  #rest = ''
  #isAsked = true
  /** An event came after the question: the answer may be older than the event. */
  #isAnswerOld = false

  constructor(host: string, path: string, spans: RunSpan[], tell: (moment: Moment) => void) {
    this.host = host
    this.#spans = spans
    this.#tell = tell
    this.#socket = connect(path)
    this.#socket.on('data', (data) => this.#hear(data.toString()))
    this.#socket.on('error', () => undefined)
    this.#socket.on('close', () => {
      this.#close(performance.timeOrigin + performance.now())
      this.#tell('gone')
    })
  }

  get isRunning(): boolean {
    return this.#span !== undefined
  }

  ask(): void {
    if (this.#isAsked) return
    this.#isAsked = true
    this.#isAnswerOld = false
    this.#socket.write('{"execute":"query-status"}\n')
  }

  end(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }

  #hear(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') this.#take(JSON.parse(line) as Message)
  }

  #take(message: Message): void {
    if (message.QMP !== undefined) {
      this.#socket.write('{"execute":"qmp_capabilities"}\n{"execute":"query-status"}\n')
      return
    }
    const { seconds = 0, microseconds = 0 } = message.timestamp ?? {}
    if (message.event === 'RESUME') this.#open(seconds * 1000 + microseconds / 1000)
    if (message.event === 'STOP') this.#close(seconds * 1000 + microseconds / 1000)
    if (message.event === 'RESUME' || message.event === 'STOP') {
      this.#isAnswerOld = true
      this.#tell(message.event)
    }
    if (message.return?.running === undefined) return
    this.#isAsked = false
    if (this.#isAnswerOld) return
    // It ran before it was first asked, or its event was lost: the span is as long as it can have been.
    if (message.return.running) this.#open(this.#seen)
    else this.#close(performance.timeOrigin + performance.now())
  }

  #open(from: number): void {
    if (this.#span !== undefined) return
    this.#span = { host: this.host, from }
    this.#spans.push(this.#span)
  }

  #close(until: number): void {
    if (this.#span !== undefined) this.#span.until = until
    this.#span = undefined
  }
}
