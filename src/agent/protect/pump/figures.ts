/** The figures of late epochs, for people. */
const kept = 64

export class Figures {
  readonly #pauses: number[] = []
  readonly #lengths: number[] = []
  readonly #heldBack: number[] = []
  #lastAt: number | undefined
  #rateFrom: { at: number; bytes: number } | undefined
  bytesPerSecond = 0

  /** An epoch was taken at this moment, the guest stood still so long for it, and was held back so long before it. */
  note(nowMs: number, pauseMs: number, heldBackMs: number): void {
    push(this.#pauses, pauseMs)
    push(this.#heldBack, heldBackMs)
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

  /** Share of the time, of late, in which the guest stood still because it writes faster than the link carries. */
  get heldBack(): number {
    const [all, still] = [sum(this.#lengths), sum(this.#heldBack)]
    return all === 0 ? 0 : Math.round(Math.min(1, still / all) * 100) / 100
  }

  get epochMs(): number | null {
    return median(this.#lengths)
  }
}

function push(values: number[], value: number): void {
  values.push(value)
  if (values.length > kept) values.shift()
}

function sum(values: readonly number[]): number {
  return values.reduce((all, value) => all + value, 0)
}

/** With two digits after the point; null of none. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = values.toSorted((a, b) => a - b)
  return Math.round((sorted[Math.floor(sorted.length / 2)] ?? 0) * 100) / 100
}
