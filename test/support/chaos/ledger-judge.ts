/**
 * What a client of one guest's ledger has been promised, and whether the guest keeps it. Pure.
 *
 * - A number that was acknowledged is on the disk, in its place, with the boot that acknowledged it.
 * - Answers come from one running copy: a boot that another one has followed never answers again, and within one boot the
 *   guest's own time never goes back.
 */

/** `put N BOOT SECONDS` of the guest. */
export interface Answer {
  readonly n: number
  readonly boot: string
  /** The guest's seconds since it began. */
  readonly up: number
}

export class LedgerJudge {
  readonly name: string
  /** In the order in which they first answered. */
  readonly boots: string[] = []
  /** For each number that was acknowledged, the place of its boot in `boots`. */
  readonly #by: number[] = []
  #up = 0
  #lastAt: number | undefined
  #longest = 0
  /** The first promise that was broken; undefined: none. */
  problem: string | undefined

  constructor(name: string) {
    this.name = name
  }

  /** The next number to be put down. */
  get next(): number {
    return this.#by.length
  }

  /** When it answered last, milliseconds; undefined: never. */
  get lastAt(): number | undefined {
    return this.#lastAt
  }

  /** `asked`: the number that it was to put down. `at`: milliseconds of the client's clock. */
  answered(asked: number, { n, boot, up }: Answer, at: number): void {
    if (n !== asked) return this.#broken(`${n} was acknowledged in place of ${asked}`)
    const current = this.boots.at(-1)
    if (boot !== current) {
      if (this.boots.includes(boot))
        return this.#broken(
          `two copies answer: boot ${boot} acknowledged ${n} after boot ${current ?? ''} had answered`,
        )
      this.boots.push(boot)
    } else if (up < this.#up) {
      return this.#broken(`boot ${boot} acknowledged ${n} at its second ${up}, after its second ${this.#up}`)
    }
    this.#up = up
    this.#by[n] = this.boots.length - 1
    this.#longest = this.silence(at)
    this.#lastAt = at
  }

  /** What the guest reads back from its disk: at least so many records as there were answers before it was asked. */
  verify(records: readonly string[], count: number): void {
    for (let n = 0; n < count; n++) {
      const wanted = `${n}:${this.boots[this.#by[n] ?? -1] ?? ''}`
      const found = records[n]
      if (found === wanted) continue
      const what = found === undefined ? 'nothing' : JSON.stringify(found.slice(0, 60))
      return this.#broken(
        `of ${count} numbers that were acknowledged ${n} is lost: its record holds ${what}, not ${wanted}`,
      )
    }
  }

  /** From now on the longest silence is counted anew, a silence that lasts with all of it. */
  mark(): void {
    this.#longest = 0
  }

  /** Milliseconds of the longest silence since `mark`, with the one that lasts. */
  silence(now: number): number {
    return Math.max(this.#longest, this.#lastAt === undefined ? 0 : now - this.#lastAt)
  }

  #broken(what: string): void {
    this.problem ??= `${this.name}: ${what}`
  }
}

/** An answer of the guest; undefined: it is none. */
export function readAnswer(line: string): Answer | undefined {
  const [, n, boot = '', up] = /^put (\d+) ([0-9a-f-]{36}) (\d+(?:\.\d+)?)$/.exec(line) ?? []
  return n === undefined ? undefined : { n: Number(n), boot, up: Number(up) }
}
