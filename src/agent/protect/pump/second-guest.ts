/**
 * The second copy of a guest: a QEMU that waits, with the memory of the primary's last whole epoch in it. It is filled from
 * outside; nothing in it runs before `run`.
 */
import { HoldfastError } from '../../../base/errors.ts'
import { pageBytes, type ProcessMemory } from '../../../base/process-memory.ts'
import { loadState } from '../../../hypervisor/checkpoint/device-state.ts'
import { GuestMemory, type PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { ramBlocks, type RamBlock } from '../../../hypervisor/checkpoint/ram-blocks.ts'
import type { Qmp } from '../../../hypervisor/qmp.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import type { Epoch } from './epoch.ts'
import { decodePages } from './page-coding.ts'
import type { GuestPorts } from './qemu-of-vm.ts'
import { Scratch } from './scratch.ts'
import { mustEqual } from './told-memory.ts'

/** The primary's memory as it names it. */
export type PrimaryBlock = Pick<RamBlock, 'name' | 'bytes' | 'isRom'>

export class SecondGuest implements AsyncDisposable {
  readonly #ports: GuestPorts
  readonly #record: MachineRecord
  readonly #process: ProcessMemory
  readonly #memory: GuestMemory
  readonly #blocks: readonly PrimaryBlock[]
  readonly #machineType: string
  readonly #scratch = { plain: new Scratch(), old: new Scratch() }
  readonly qmp: Qmp

  private constructor(
    ports: GuestPorts,
    record: MachineRecord,
    qmp: Qmp,
    parts: { process: ProcessMemory; memory: GuestMemory; blocks: readonly PrimaryBlock[]; machineType: string },
  ) {
    this.#ports = ports
    this.#record = record
    this.qmp = qmp
    this.#process = parts.process
    this.#memory = parts.memory
    this.#blocks = parts.blocks
    this.#machineType = parts.machineType
  }

  /** Throws `refused` when the machine that waits here is another one than the primary's. */
  static async open(
    ports: GuestPorts,
    record: MachineRecord,
    qmp: Qmp,
    primary: { readonly machineType: string; readonly blocks: readonly PrimaryBlock[] },
  ): Promise<SecondGuest> {
    const { blocks, machineType } = primary
    const here = new Map((await ramBlocks(qmp)).map((block) => [block.name, block]))
    const placed = blocks.map((block) => ({ ...block, address: placeOf(block, here.get(block.name)) }))
    if (here.size !== blocks.length)
      throw new HoldfastError(
        'refused',
        `the machine here has ${here.size} blocks of memory, the primary's ${blocks.length}`,
      )
    const process = await ports.memories.open(record.process.pid, 'read-write')
    const memory = new GuestMemory(process, placed)
    return new SecondGuest(ports, record, qmp, { process, memory, blocks, machineType })
  }

  /** No epoch is longer than all of its memory, and what belongs to that. */
  get mostEpochBytes(): number {
    return this.#memory.pages * pageBytes * 1.01 + 256 * 2 ** 20
  }

  write(range: PageRange, bytes: Uint8Array): void {
    this.#mustHave(range)
    if (bytes.length !== range.count * pageBytes)
      throw new HoldfastError('invalid-request', `${bytes.length} bytes came for ${range.count} pages`)
    this.#memory.write(range, bytes)
  }

  #mustHave({ first, count }: PageRange): void {
    if (first + count <= this.#memory.pages) return
    throw new HoldfastError('invalid-request', `the guest has no pages ${first} to ${first + count}`)
  }

  /**
   * Puts the pages of a whole epoch in place; the one before it is. In test mode throws `internal` when the memory is not the
   * primary's then.
   */
  async apply({ epoch, ranges, pages, check }: Epoch): Promise<void> {
    const read = (some: readonly PageRange[], into: Uint8Array): void => this.#memory.readMany(some, into)
    for (const some of decodePages(ranges, pages, this.#scratch, read)) {
      for (const range of some.ranges) this.#mustHave(range)
      this.#memory.writeMany(some.ranges, some.content)
      // All of them are work for longer than others can wait: words of life are said meanwhile.
      await this.#ports.clock.sleep(0)
    }
    if (check !== undefined) mustEqual(this.#memory, epoch, check)
  }

  /** Loads the devices' state; the guest runs here when it resolves, and its networks know. */
  async run({ devices, isPaused }: Pick<Epoch, 'devices' | 'isPaused'>): Promise<void> {
    const { streams, clock } = this.#ports
    const { runDirectory } = this.#record.config
    const state = { machineType: this.#machineType, blocks: this.#blocks, devices, isPaused }
    const { pid } = this.#record.process
    await loadState({ qmp: this.qmp, streams, clock, runDirectory, pid }, state)
    await this.qmp.execute('announce-self', { initial: 20, max: 500, rounds: 5, step: 100 })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]()
  }
}

function placeOf(block: PrimaryBlock, here: RamBlock | undefined): number {
  // Some tables grow; what is reserved for them bounds it.
  const fits = here !== undefined && (here.bytes === block.bytes || (here.isRom && block.bytes <= here.mostBytes))
  if (fits) return here.address
  const what = here === undefined ? 'lacks' : `has ${here.bytes} instead of ${block.bytes} bytes of`
  throw new HoldfastError('refused', `the machine here ${what} the memory ${block.name}`, {
    mend: 'Both hosts must run the same QEMU and the same machine.',
  })
}
