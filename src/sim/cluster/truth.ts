/**
 * What really is, seen from outside of every process: which copies run, what their memory holds, which file has the newest
 * writes. The invariants that hold at every instant are watched here:
 *
 * - no two copies of a VM have running vCPUs;
 * - a copy that begins to run has the newest memory of its life, and its life is the newest one;
 * - it has the file with the newest writes of each of its disks, and that file is still there.
 */
import type { FakeGuest } from '../fake-guest.ts'
import { FakeWire } from '../fake-wire.ts'
import type { VirtualClock } from '../virtual-clock.ts'

export class Truth extends FakeWire<FakeGuest> {
  readonly #world: VirtualClock
  readonly #note: (text: string) => void
  readonly #newest = new Map<string, { boot: number; counter: number }>()
  /** File → number of the last write in it. */
  readonly #writes = new Map<string, number>()
  /** Disk of a VM → number of its last write anywhere. */
  readonly #lastWrite = new Map<string, number>()
  readonly #isRunning = new Set<FakeGuest>()
  #written = 0

  constructor(clock: VirtualClock, note: (text: string) => void) {
    super(clock)
    this.#world = clock
    this.#note = note
    this.mirrorDisk = (from, key, name) => {
      const source = from.disks.get(key)
      if (source !== undefined) this.copied(source, name)
    }
    this.mirror = (from, to) => {
      for (const [key, name] of to.disks) this.mirrorDisk(from, key, name)
    }
  }

  /** Hears of every copy whose vCPUs begin to run, or do no more. */
  onRun: (guest: FakeGuest, isRunning: boolean) => void = () => undefined
  /** Lives that this guest has begun. */
  readonly boots = new Map<string, Set<number>>()

  get running(): ReadonlySet<FakeGuest> {
    return this.#isRunning
  }

  violated(what: string): void {
    const text = `at ${this.#world.elapsedMs} ms ${what}`
    this.#note(`VIOLATION ${what}`)
    this.violations.push(text)
  }

  override note(guest: FakeGuest, isRunning: boolean): void {
    const known = this.violations.length
    super.note(guest, isRunning)
    for (const text of this.violations.slice(known)) this.#note(`VIOLATION ${text}`)
    const where = `${guest.config.name} on ${guest.host}`
    if (isRunning && !this.#isRunning.has(guest)) {
      this.#isRunning.add(guest)
      this.onRun(guest, true)
      this.#note(`vCPUs of ${where} run (life ${guest.memory.boot}, memory ${guest.memory.counter})`)
      this.#begins(guest, where)
    } else if (!isRunning && this.#isRunning.delete(guest)) {
      this.onRun(guest, false)
      this.#note(`vCPUs of ${where} stand still (${guest.state}, memory ${guest.memory.counter})`)
      this.#stops(guest)
    }
  }

  /** A file with the content of another one. */
  copied(from: string, to: string): void {
    this.#writes.set(to, this.#writes.get(from) ?? 0)
  }

  /** A file is about to be removed. */
  removed(name: string): void {
    for (const guest of this.#isRunning) {
      if ([...guest.disks.values()].includes(name)) {
        this.violated(`the file ${name} is deleted under ${guest.config.name}, which runs on ${guest.host}`)
      }
    }
  }

  #begins(guest: FakeGuest, where: string): void {
    const { boot, counter } = guest.memory
    const { guest: uuid } = guest
    this.boots.set(uuid, (this.boots.get(uuid) ?? new Set()).add(boot))
    const newest = this.#newest.get(uuid)
    if (newest !== undefined && boot < newest.boot) {
      this.violated(`${where} runs in life ${boot}, but life ${newest.boot} had begun`)
    } else if (newest?.boot === boot && counter < newest.counter) {
      this.violated(`the memory of ${where} goes back from ${newest.counter} to ${counter}`)
    }
    this.#newest.set(uuid, { boot: Math.max(boot, newest?.boot ?? 0), counter })
    for (const [key, name] of guest.disks) {
      const last = this.#lastWrite.get(`${uuid}/${key}`) ?? 0
      const has = this.#writes.get(name) ?? 0
      if (has < last) this.violated(`disk ${key} of ${where} (${name}) lacks writes: ${has} of ${last}`)
    }
  }

  #stops(guest: FakeGuest): void {
    const { boot, counter } = guest.memory
    const newest = this.#newest.get(guest.guest)
    if (newest?.boot === boot) {
      this.#newest.set(guest.guest, { boot, counter: Math.max(counter, newest.counter) })
    }
    const write = ++this.#written
    for (const [key, name] of guest.disks) {
      this.#writes.set(name, write)
      this.#lastWrite.set(`${guest.guest}/${key}`, write)
    }
  }
}
