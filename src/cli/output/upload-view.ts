/** How far an upload is. */
import type { Clock } from '../../base/clock.ts'
import { formatSize } from '../../base/units.ts'
import { cutTo, plainText, type Terminal } from '../terminal.ts'
import { durationWords, percentWords, rateWords } from './words.ts'

export type UploadPhase = 'checksum' | 'upload'

export class UploadView {
  readonly #terminal: Terminal
  readonly #name: string
  readonly #sizeBytes: number
  readonly #clock: Clock
  #phase: UploadPhase | undefined
  #beganMs = 0
  #beganBytes = 0
  #saidTenth = -1
  #drawnMs = Number.NEGATIVE_INFINITY
  #isDrawn = false

  constructor(terminal: Terminal, path: string, sizeBytes: number, clock: Clock) {
    this.#terminal = terminal
    this.#name = plainText(path.slice(path.lastIndexOf('/') + 1))
    this.#sizeBytes = sizeBytes
    this.#clock = clock
  }

  update(phase: UploadPhase, doneBytes: number): void {
    const nowMs = this.#clock.monotonic()
    if (phase !== this.#phase) {
      this.#phase = phase
      this.#beganMs = nowMs
      this.#beganBytes = doneBytes
      this.#saidTenth = -1
    }
    const line = this.#line(doneBytes, nowMs)
    if (this.#terminal.isErrTty) this.#draw(line, nowMs)
    else this.#sayEachTenth(line, doneBytes)
  }

  note(text: string): void {
    this.clear()
    this.#terminal.err(`${text}\n`)
  }

  clear(): void {
    if (this.#isDrawn) this.#terminal.err('\r\u001b[K')
    this.#isDrawn = false
  }

  #draw(line: string, nowMs: number): void {
    if (nowMs - this.#drawnMs < 100) return
    this.#drawnMs = nowMs
    this.#isDrawn = true
    this.#terminal.err(`\r\u001b[K${cutTo(line, this.#terminal.columns() - 1)}`)
  }

  #sayEachTenth(line: string, doneBytes: number): void {
    const tenth = Math.floor((doneBytes / Math.max(1, this.#sizeBytes)) * 10)
    if (tenth === this.#saidTenth || this.#phase === 'checksum') return
    this.#saidTenth = tenth
    this.#terminal.err(`${line}\n`)
  }

  #line(doneBytes: number, nowMs: number): string {
    const share = doneBytes / Math.max(1, this.#sizeBytes)
    const bytesPerSecond = ((doneBytes - this.#beganBytes) * 1000) / Math.max(1, nowMs - this.#beganMs)
    const rest =
      bytesPerSecond > 0 ? [`${durationWords(((this.#sizeBytes - doneBytes) / bytesPerSecond) * 1000)} left`] : []
    const size = `${formatSize(doneBytes)} of ${formatSize(this.#sizeBytes)}`
    const rate = bytesPerSecond > 0 ? [rateWords(bytesPerSecond)] : []
    return [`${this.#phase ?? ''} ${this.#name}`, percentWords(share), size, ...rate, ...rest].join('  ')
  }
}
