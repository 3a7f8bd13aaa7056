/**
 * The running guest of a protected VM, as its pump handles it: copies its memory while it runs, then stops it for a moment
 * again and again and takes an epoch: what it has changed, sent and written since the last one.
 *
 * The order within a stop is the protocol's: the devices' state first, then the output up to here, the journal up to here,
 * and the pages last, since saving the devices writes to memory too.
 */
import { HoldfastError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import { pageBytes, type MemoryRange, type ProcessMemory, type WriteTracking } from '../../../base/process-memory.ts'
import { ClockInMemory } from '../../../hypervisor/checkpoint/clock-in-memory.ts'
import { machineTypeOf, readDevices, saveDevices } from '../../../hypervisor/checkpoint/device-state.ts'
import { addressesOf, GuestMemory, isZero, type PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { OutputGate, type GatedNic } from '../../../hypervisor/checkpoint/output-gate.ts'
import { ramBlocks, type RamBlock } from '../../../hypervisor/checkpoint/ram-blocks.ts'
import type { Qmp } from '../../../hypervisor/qmp.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import { SerialQueue } from '../../../base/serial-queue.ts'
import { ClockGiving } from './clock-giving.ts'
import type { DiskCopy } from './primary-disks.ts'
import type { PumpTracking } from './order-file.ts'
import type { GuestPorts } from './qemu-of-vm.ts'
import { inOneGo } from './page-coding.ts'
import { Scratch } from './scratch.ts'
import { ToldMemory } from './told-memory.ts'

/** What one stop of the guest brought. */
export interface Cut {
  readonly isPaused: boolean
  readonly devices: Uint8Array
  readonly ranges: readonly PageRange[]
  /** Of `ranges`, one after the other; good until the cut after the next. */
  readonly pages: Uint8Array
  readonly journal: readonly Uint8Array[]
  /** In test mode: checksums of all memory. */
  readonly check: readonly number[] | undefined
  readonly output: ReadonlyMap<number, readonly Buffer[]>
  /** How long the guest stood still, milliseconds. */
  readonly pauseMs: number
  /** For so much of that, and of what was lost before, its clock was moved on, milliseconds. */
  readonly givenMs: number
  /** When it began to, by the host's wall clock, milliseconds since 1970. */
  readonly stoppedAt: number
  /** Why the guest will not run on, by its own doing; undefined: it will. */
  readonly over: 'has shut down' | 'has failed' | undefined
}

interface GuestParts {
  readonly qmp: Qmp
  readonly blocks: readonly RamBlock[]
  readonly machineType: string
  readonly process: ProcessMemory
  readonly memory: GuestMemory
  readonly tracking: WriteTracking
  readonly told: ToldMemory | undefined
  readonly runDirectory: string
  readonly gates: readonly NicGate[]
  readonly disks: DiskCopy
  readonly giving: ClockGiving | undefined
}

interface NicGate {
  readonly nic: GatedNic
  readonly gate: OutputGate
}

const chunkPages = 256
/** More than this in one epoch is no holding in step any more. */
const mostEpochBytes = 2 ** 30
/** States after which there is no going on; QEMU stands still, and its agent decides what becomes of it. */
const overBy: Record<string, Cut['over']> = {
  shutdown: 'has shut down',
  'guest-panicked': 'has failed',
  'internal-error': 'has failed',
}
/** States in which `cont` lets the guest run as before; a reset while it stands still makes `prelaunch` of it. */
const ours = new Set(['paused', 'running', 'prelaunch'])

export class PrimaryGuest implements AsyncDisposable {
  readonly #ports: GuestPorts
  readonly #process: ProcessMemory
  readonly #memory: GuestMemory
  readonly #tracking: WriteTracking
  readonly #told: ToldMemory | undefined
  readonly #runDirectory: string
  readonly #gates: readonly NicGate[]
  readonly #disks: DiskCopy
  /** Undefined where a guest's clocks go by more than QEMU's virtual one: with KVM. */
  readonly #giving: ClockGiving | undefined
  /** Two, in turn: one epoch is on its way while the next is taken. */
  readonly #buffers: [Scratch, Scratch] = [new Scratch(), new Scratch()]
  readonly qmp: Qmp
  readonly blocks: readonly RamBlock[]
  readonly machineType: string
  isPaused = false
  /** A disk has given an error that is no lack of space: the guest stands still, and here its next try would fail too. */
  hasDiskFailed = false
  /** One stop of the guest at a time. */
  readonly #turns = new SerialQueue()

  private constructor(ports: GuestPorts, parts: GuestParts) {
    this.#ports = ports
    this.qmp = parts.qmp
    this.blocks = parts.blocks
    this.machineType = parts.machineType
    this.#process = parts.process
    this.#memory = parts.memory
    this.#tracking = parts.tracking
    this.#told = parts.told
    this.#runDirectory = parts.runDirectory
    this.#gates = parts.gates
    this.#disks = parts.disks
    this.#giving = parts.giving
    this.qmp.onEvent(({ event, data }) => {
      this.hasDiskFailed ||= event === 'BLOCK_IO_ERROR' && data['action'] === 'stop' && data['nospace'] !== true
    })
  }

  /** Begins to note what the guest writes. Nothing is held yet. Throws `refused` where it cannot be protected. */
  static async open(
    ports: GuestPorts & { readonly log: Logger },
    record: MachineRecord,
    qmp: Qmp,
    disks: DiskCopy,
    { tracker, isVerified }: PumpTracking,
  ): Promise<PrimaryGuest> {
    const { config, process: id } = record
    await using stack = new AsyncDisposableStack()
    const blocks = await ramBlocks(qmp)
    const process = stack.use(await ports.memories.open(id.pid, 'read-write'))
    const tracking = await process.trackWrites(addressesOf(blocks), tracker)
    stack.defer(() => tracking.stop())
    const memory = new GuestMemory(new TrackedMemory(process, tracking), blocks)
    const told = isVerified ? new ToldMemory(new GuestMemory(process, blocks), tracker) : undefined
    const gates: NicGate[] = []
    for (const nic of config.nics) {
      const { streams, clock } = ports
      const deps = { qmp, streams, clock, runDirectory: config.runDirectory, pid: id.pid }
      gates.push({ nic, gate: stack.use(await OutputGate.open(deps, nic)) })
    }
    const { runDirectory } = config
    const machineType = await machineTypeOf(qmp)
    const isTcg = config.accelerator === 'tcg'
    const clock = isTcg ? new ClockInMemory(process, await process.programData()) : undefined
    const giving = clock === undefined ? undefined : new ClockGiving(clock, ports.log)
    const { status } = await qmp.execute<{ status: string }>('query-status')
    stack.move()
    const guest = new PrimaryGuest(ports, {
      ...{ qmp, blocks, machineType, process, memory, tracking, told, runDirectory, gates, disks, giving },
    })
    guest.isPaused = status === 'paused'
    return guest
  }

  get pages(): number {
    return this.#memory.pages
  }

  /** Output that waits, in bytes. */
  get heldBytes(): number {
    return this.#gates.reduce((sum, { gate }) => sum + gate.heldBytes, 0)
  }

  /** Bytes of the disks' journal that wait. */
  get journalBytes(): number {
    return this.#disks.bytes
  }

  /** Calls back, once for each gate, when output begins to wait, and when the journal is large. */
  onHeld(listener: () => void): void {
    for (const { gate } of this.#gates) gate.onHeld(listener)
    this.#disks.onFull(listener)
  }

  /**
   * What was written since the last asking; everything at first. The guest may run, but for the moment that some trackers
   * need it to stand still.
   */
  async written(): Promise<PageRange[]> {
    if (!this.#tracking.needsStandstill) return this.#written()
    return await this.#turns.run(async () => {
      this.#disks.admitAll()
      await this.qmp.execute('stop')
      const { status } = await this.qmp.execute<{ status: string }>('query-status')
      try {
        return this.#written()
      } finally {
        if (!this.isPaused && ours.has(status)) await this.qmp.execute('cont')
      }
    })
  }

  #written(): PageRange[] {
    return this.#memory.pagesAt(this.#tracking.take())
  }

  /** How many pages were written since the last asking, which forgets none of them; no more are counted than `most`. */
  writtenPages(most: number): number {
    return this.#tracking.count(most)
  }

  /** Hands out the pages in pieces of a megabyte, those of zeros left out where the other side has zeros anyway. */
  async copy(
    ranges: readonly PageRange[],
    isFirst: boolean,
    send: (piece: PageRange, bytes: Uint8Array) => Promise<void>,
  ): Promise<void> {
    for (const range of ranges) {
      for (const piece of this.#memory.cut(range, chunkPages)) {
        const bytes = Buffer.allocUnsafe(piece.count * pageBytes)
        this.#memory.read(piece, bytes)
        const mayLeaveOut = isFirst && !this.#memory.isRom(piece)
        if (mayLeaveOut && isZero(bytes)) continue
        this.#told?.told(piece, bytes)
        await send(piece, bytes)
      }
    }
  }

  /**
   * Stops the guest, takes an epoch, and lets it go on. `begin`: from this epoch on its output and its disks' writes are
   * held; `isLast`: it is not let go on.
   */
  cut(epoch: number, how: { readonly begin?: boolean; readonly isLast?: boolean } = {}): Promise<Cut> {
    return this.#turns.run(() => this.#cut(epoch, how))
  }

  async #cut(epoch: number, how: { readonly begin?: boolean; readonly isLast?: boolean }): Promise<Cut> {
    const { qmp } = this
    this.#disks.admitAll()
    let mayGoOn = how.isLast !== true && !this.isPaused
    const stood = this.#standstill()
    let givenMs = 0
    let taken: Omit<Cut, 'devices' | 'pauseMs' | 'givenMs' | 'stoppedAt' | 'isPaused'>
    try {
      // Said in one breath: QEMU does one after the other, and each way there and back is time that the guest stands still.
      const answers = [qmp.execute('stop'), qmp.execute<{ status: string }>('query-status')] as const
      const saved = how.begin === true ? undefined : saveDevices(qmp, this.#runDirectory)
      saved?.catch(() => undefined)
      await Promise.allSettled(answers)
      const [, { status }] = await Promise.all(answers)
      mayGoOn &&= ours.has(status)
      if (how.begin === true) await this.#hold()
      await (saved ?? saveDevices(qmp, this.#runDirectory))
      taken = { ...(await this.#take(epoch)), over: overBy[status] }
      if (this.#giving?.isSought === true) this.#giving.find(await this.#devices())
    } finally {
      if (mayGoOn) {
        givenMs = this.#giving?.giveBack(this.#ports.clock.monotonic()) ?? 0
        await qmp.execute('cont')
      } else this.#giving?.forget()
    }
    return {
      ...taken,
      devices: await this.#devices(),
      isPaused: this.isPaused,
      givenMs,
      ...stood(),
    }
  }

  #devices(): Promise<Uint8Array> {
    return readDevices(this.#ports.files, this.#runDirectory)
  }

  /**
   * Measures by QEMU's own word how long the guest stands still from now on. That word is of a clock that may jump, and epochs
   * come the more seldom the longer it was: no longer than has passed by one that does not.
   */
  #standstill(): () => Pick<Cut, 'pauseMs' | 'stoppedAt'> {
    const { clock } = this.#ports
    const began = clock.monotonic()
    let [from, to] = [clock.now(), 0]
    const listening = this.qmp.onEvent(({ event, at }) => {
      if (event === 'STOP') from = at
      if (event === 'RESUME') to = at
    })
    return () => {
      listening[Symbol.dispose]()
      return { pauseMs: Math.min(Math.max(0, to - from), clock.monotonic() - began), stoppedAt: from }
    }
  }

  async #hold(): Promise<void> {
    await this.#disks.hold()
    for (const { gate } of this.#gates) await gate.close()
  }

  async #take(epoch: number): Promise<Pick<Cut, 'ranges' | 'pages' | 'journal' | 'output' | 'check'>> {
    const output = new Map<number, readonly Buffer[]>()
    for (const { nic, gate } of this.#gates) output.set(nic.key, await gate.take())
    const journal = this.#disks.cut(epoch)
    const ranges = this.#written()
    const pages = await this.#readAll(ranges)
    return { output, journal, ranges, pages, check: this.#told?.check() }
  }

  async #readAll(ranges: readonly PageRange[]): Promise<Uint8Array> {
    const bytes = countOf(ranges) * pageBytes
    if (bytes > mostEpochBytes)
      throw new HoldfastError('refused', `the guest has written ${bytes} bytes in one epoch, more than can be held`)
    this.#buffers.reverse()
    const buffer = this.#buffers[0].room(bytes)
    let read = 0
    for (const some of inOneGo(ranges)) {
      // Many are work for longer than others can wait. The guest stands still, and nobody but this turn lets it go on.
      if (read > 0) await this.#ports.clock.sleep(0)
      this.#memory.readMany(some, buffer.subarray(read, (read += countOf(some) * pageBytes)))
    }
    let done = 0
    for (const range of ranges) {
      this.#told?.told(range, buffer.subarray(done, (done += range.count * pageBytes)))
    }
    return buffer
  }

  /** Lets output of an epoch go out. */
  release(output: Cut['output']): void {
    for (const { nic, gate } of this.#gates) gate.release(output.get(nic.key) ?? [])
  }

  /** Nothing is held any more; what waits goes out. */
  letAllOut(): void {
    for (const { gate } of this.#gates) gate.open()
  }

  /** In no cut: between the devices and the pages of an epoch the guest must not run. */
  async stop(): Promise<void> {
    await this.#turns.run(async () => {
      this.#disks.admitAll()
      await this.qmp.execute('stop')
    })
  }

  async goOn(): Promise<void> {
    await this.#turns.run(async () => {
      this.#giving?.forget()
      if (!this.isPaused) await this.qmp.execute('cont')
    })
  }

  /** Takes everything of ours out of QEMU again. The guest runs on, or not, as it does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#turns.close()
    this.#disks.admitAll()
    for (const { gate } of this.#gates) await gate[Symbol.asyncDispose]()
    await this.#disks.letGo()
    await this.#tracking.stop().catch(() => undefined)
    await this.#process[Symbol.asyncDispose]()
  }
}

function countOf(ranges: readonly PageRange[]): number {
  return ranges.reduce((sum, { count }) => sum + count, 0)
}

/** What is told of a page is what its tracker answers for. */
class TrackedMemory implements Pick<ProcessMemory, 'read' | 'readMany' | 'write' | 'writeMany'> {
  readonly #process: ProcessMemory
  readonly #tracking: WriteTracking

  constructor(process: ProcessMemory, tracking: WriteTracking) {
    this.#process = process
    this.#tracking = tracking
  }

  read(address: number, into: Uint8Array): void {
    this.#tracking.read(address, into)
  }

  readMany(ranges: readonly MemoryRange[], into: Uint8Array): void {
    if (this.#tracking.kind !== 'comparison') return this.#process.readMany(ranges, into)
    let done = 0
    for (const { start, bytes } of ranges) this.#tracking.read(start, into.subarray(done, (done += bytes)))
  }

  write(address: number, bytes: Uint8Array): void {
    this.#process.write(address, bytes)
  }

  writeMany(ranges: readonly MemoryRange[], from: Uint8Array): void {
    this.#process.writeMany(ranges, from)
  }
}
