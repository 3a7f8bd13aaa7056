/**
 * The virtual clock of a QEMU whose guest stands still, as it lies in the program's own data. No command moves it on while the
 * guest lives, and in a stripped program it has no name; but a saved state says what it holds, and while the guest stands
 * still (cpu_disable_ticks, system/cpu-timers.c) that very number is in memory. It counts as found when two saved states in a
 * row have named the same place, and no other.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { MemoryRange, ProcessMemory } from '../../base/process-memory.ts'
import { clockReading, readingMovedOn, type ClockReading } from './virtual-clock.ts'

interface Place {
  readonly ticks: number
  readonly ns: number
  /** What was there. */
  readonly reading: ClockReading
}

const wordBytes = 8
/** Ticks and nanoseconds are parts of one structure, in this order. */
const structureBytes = 128
/** QEMU has some 10 MiB of them. */
const mostAreaBytes = 64 * 2 ** 20
const tries = 4

export class ClockInMemory {
  readonly #memory: Pick<ProcessMemory, 'read' | 'write'>
  readonly #areas: readonly MemoryRange[]
  #place: Place | undefined
  #isSure = false
  #triesLeft = tries

  /** `areas`: the program's own data. */
  constructor(memory: Pick<ProcessMemory, 'read' | 'write'>, areas: readonly MemoryRange[]) {
    this.#memory = memory
    this.#areas = areas
  }

  get isKnown(): boolean {
    return this.#isSure
  }

  /** It is not known yet, and one more state may tell. */
  get isSought(): boolean {
    return !this.#isSure && this.#triesLeft > 0
  }

  /** `devices`: as they were saved since the guest stands still. */
  find(devices: Uint8Array): void {
    const reading = clockReading(devices)
    if (reading === undefined || reading.ns <= 0n || reading.ticks <= 0n) {
      this.#triesLeft--
      return
    }
    const before = this.#place
    if (before === undefined) this.#place = this.#search(reading)
    else if (this.#holds(before, reading) && before.reading.ns !== reading.ns) this.#isSure = true
    else this.#place = undefined
    if (this.#place === undefined) this.#triesLeft--
  }

  /** Milliseconds since the machine was made. Only while the guest stands still, and where the clock is known. */
  nowMs(): number {
    return Number(this.#read(this.#mustBeSure()).ns / 1000n) / 1000
  }

  /** As if the host had not run QEMU for a while. Only while the guest stands still, and where the clock is known. */
  moveOn(ms: number): void {
    const place = this.#mustBeSure()
    const { ticks, ns } = readingMovedOn(this.#read(place), ms)
    this.#memory.write(place.ticks, wordOf(ticks))
    this.#memory.write(place.ns, wordOf(ns))
  }

  /** Nothing is read or written there any more. */
  giveUp(): void {
    this.#isSure = false
    this.#place = undefined
    this.#triesLeft = 0
  }

  /** The one place that holds both; undefined where there is none, or more than one. */
  #search(reading: ClockReading): Place | undefined {
    const [ticks, ns] = [wordOf(reading.ticks), wordOf(reading.ns)]
    const found: Place[] = []
    for (const { start, bytes } of this.#areas) {
      if (bytes > mostAreaBytes) continue
      const area = Buffer.alloc(bytes)
      this.#memory.read(start, area)
      for (let at = area.indexOf(ns); at >= 0; at = area.indexOf(ns, at + wordBytes)) {
        const from = Math.max(0, at - structureBytes)
        const before = area.subarray(from, at).lastIndexOf(ticks)
        if (at % wordBytes === 0 && before >= 0) found.push({ ticks: start + from + before, ns: start + at, reading })
      }
    }
    return found.length === 1 ? found[0] : undefined
  }

  #holds(place: Place, reading: ClockReading): boolean {
    const there = this.#read(place)
    return there.ns === reading.ns && there.ticks === reading.ticks
  }

  #read({ ticks, ns }: Pick<Place, 'ticks' | 'ns'>): ClockReading {
    const [first, second] = [Buffer.alloc(wordBytes), Buffer.alloc(wordBytes)]
    this.#memory.read(ticks, first)
    this.#memory.read(ns, second)
    return { ticks: first.readBigInt64LE(), ns: second.readBigInt64LE() }
  }

  #mustBeSure(): Place {
    if (this.#isSure && this.#place !== undefined) return this.#place
    throw new HoldfastError('internal', 'the place of the clock is not known')
  }
}

function wordOf(value: bigint): Buffer {
  const word = Buffer.alloc(wordBytes)
  word.writeBigInt64LE(value)
  return word
}
