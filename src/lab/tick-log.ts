/**
 * What a client hears of the small guest's clock: one TCP connection on which the guest counts up from 0, a line each 5 ms.
 * Keeps when the lines came, and which number was lost or came twice. Pure: the times are handed in.
 */

/** Lines that came in one piece. */
export interface Arrival {
  readonly at: number
  readonly count: number
}

/** Between two arrivals, or from the last one until now. */
export interface Silence {
  readonly from: number
  readonly to: number
}

/** Some fifty seconds of arrivals. */
const kept = 2000

export class TickLog {
  readonly #arrivals: Arrival[] = []
  #rest = ''
  /** The number that is to come next. */
  #next = 0
  /** Whole lines that came. */
  ticks = 0
  lost = 0
  repeated = 0
  /** Lines that are no numbers. */
  broken = 0

  hear(text: string, at: number): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    if (lines.length === 0) return
    for (const line of lines) this.#note(line)
    this.#arrivals.push({ at, count: lines.length })
    if (this.#arrivals.length > kept) this.#arrivals.shift()
  }

  #note(line: string): void {
    this.ticks++
    if (!/^[0-9]{1,15}$/.test(line)) {
      this.broken++
      return
    }
    const number = Number(line)
    if (number < this.#next) this.repeated++
    else {
      this.lost += number - this.#next
      this.#next = number + 1
    }
  }

  get arrivals(): readonly Arrival[] {
    return this.#arrivals
  }

  get isWhole(): boolean {
    return this.lost === 0 && this.repeated === 0 && this.broken === 0
  }

  /** The silence that goes on at this moment. */
  silenceMs(now: number): number {
    return now - (this.#arrivals.at(-1)?.at ?? now)
  }

  /** The longest that ended after `since`, or goes on `now`; it may have begun before. */
  longestSilence(since: number, now: number): Silence {
    let longest: Silence = { from: now, to: now }
    const ends = [...this.#arrivals.map(({ at }) => at), now]
    for (const [i, to] of ends.entries()) {
      const from = ends[i - 1]
      if (from !== undefined && to > since && to - from > longest.to - longest.from) longest = { from, to }
    }
    return longest
  }
}
