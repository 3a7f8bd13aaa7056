/**
 * What joins the simulated hosts' QEMUs: migration streams go over it, and it can be cut at any moment, in one direction
 * too. It also watches the one rule above all: that no two copies of a guest run at the same time.
 */
import type { Clock } from '../base/clock.ts'

export interface WireEnd {
  readonly host: string
  readonly guest: string
  readonly isAlive: boolean
}

export class FakeWire<End extends WireEnd = WireEnd> {
  readonly latencyMs: number
  /** What broke the rule; empty in a sound run. */
  readonly violations: string[] = []
  readonly #clock: Clock
  readonly #cuts = new Set<string>()
  readonly #listeners = new Map<string, End>()
  readonly #running = new Map<string, Set<End>>()
  readonly #resets = new Map<string, number>()
  #nextPort = 49152
  /** The second copy's own disks are now equal to the first one's, whose guest stands still. */
  mirror: (from: End, to: End) => void = () => undefined
  /** The file `name` is now equal to the one that this copy has under `key`. */
  mirrorDisk: (end: End, key: number, name: string) => void = () => undefined
  #boots = 0

  constructor(clock: Clock, options: { latencyMs?: number } = {}) {
    this.#clock = clock
    this.latencyMs = options.latencyMs ?? 1
  }

  /** Nothing passes from one address to the other. */
  cutOneWay(from: string, to: string): void {
    this.#cuts.add(`${from}>${to}`)
  }

  cut(a: string, b: string): void {
    this.cutOneWay(a, b)
    this.cutOneWay(b, a)
  }

  heal(): void {
    this.#cuts.clear()
  }

  reaches(from: string, to: string): boolean {
    return !this.#cuts.has(`${from}>${to}`)
  }

  /** Every connection between two hosts breaks: what was on its way is lost, in either direction. */
  reset(a: string, b: string): void {
    const key = pairOf(a, b)
    this.#resets.set(key, (this.#resets.get(key) ?? 0) + 1)
  }

  /** Rises with every reset of the connections between two hosts: a stream is whole while it stays the same. */
  epoch(a: string, b: string): number {
    return this.#resets.get(pairOf(a, b)) ?? 0
  }

  /** Names one life of a guest's memory, from power on to its end. */
  nextBoot(): number {
    return ++this.#boots
  }

  listen(end: End): number {
    const port = this.#nextPort++
    this.#listeners.set(`${end.host}:${port}`, end)
    return port
  }

  find(host: string, port: number): End | undefined {
    return this.#listeners.get(`${host}:${port}`)
  }

  /** One message: true once it has arrived, false when either end died or gave up first. A cut holds it up. */
  async carry(from: End, to: End, isWanted: () => boolean): Promise<boolean> {
    await this.#clock.sleep(this.latencyMs)
    while (!this.reaches(from.host, to.host) && to.isAlive && isWanted()) await this.#clock.sleep(50)
    return to.isAlive && isWanted()
  }

  /** vCPUs of this copy run, or do no more. */
  note(end: End, isRunning: boolean): void {
    const copies = this.#running.get(end.guest) ?? new Set<End>()
    this.#running.set(end.guest, copies)
    if (!isRunning) {
      copies.delete(end)
      return
    }
    copies.add(end)
    if (copies.size < 2) return
    const hosts = [...copies].map((copy) => copy.host).join(' and ')
    this.violations.push(`at ${this.#clock.monotonic()} ms ${end.guest} runs on ${hosts}`)
  }

  /** Addresses of the hosts on which this guest runs. */
  runningOn(guest: string): string[] {
    return [...(this.#running.get(guest) ?? [])].map((copy) => copy.host)
  }
}

function pairOf(a: string, b: string): string {
  return a < b ? `${a}|${b}` : `${b}|${a}`
}
