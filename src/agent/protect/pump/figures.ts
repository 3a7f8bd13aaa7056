/** The figures of late epochs, for people. */
const kept = 64

export class Figures {
  readonly #pauses: number[] = []
  readonly #lengths: number[] = []
  #lastAt: number | undefined
  #rateFrom: { at: number; bytes: number } | undefined
  bytesPerSecond = 0

  /** An epoch was taken at this moment, and the guest stood still so long. */
  note(nowMs: number, pauseMs: number): void {
    push(this.#pauses, pauseMs)
    if (this.#lastAt !== undefined) push(this.#lengths, nowMs - this.#lastAt)
    this.#lastAt = nowMs
  }

  /** So many bytes were sent in all by now. */
  noteSent(nowMs: number, bytes: number): void {
    this.#rateFrom ??= { at: nowMs, bytes }
    const passed = nowMs - this.#rateFrom.at
    if (passed < 500) return
    this.bytesPerSecond = Math.round(((bytes - this.#rateFrom.bytes) * 1000) / passed)
    this.#rateFrom = { at: nowMs, bytes }
  }

  get pauseMs(): number | null {
    return median(this.#pauses)
  }

  get epochMs(): number | null {
    return median(this.#lengths)
  }
}

function push(values: number[], value: number): void {
  values.push(value)
  if (values.length > kept) values.shift()
}

function median(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.floor(sorted.length / 2)] ?? 0) * 100) / 100
}
