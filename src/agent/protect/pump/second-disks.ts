/**
 * The second's own images: filled first from the primary, then by the journals of whole epochs. An epoch's journal is
 * durable before the epoch is acknowledged; it is written to the images afterwards, and let go when they are flushed.
 */
import { join } from 'node:path'
import type { Clock } from '../../../base/clock.ts'
import type { Files } from '../../../base/files.ts'
import type { VmId } from '../../../base/ids.ts'
import type { Streams } from '../../../base/streams.ts'
import { diskNode } from '../../../hypervisor/command-line.ts'
import { receiveLocally, stopServer } from '../../../hypervisor/incoming.ts'
import type { Qmp } from '../../../hypervisor/qmp.ts'
import { runPaths, type MachineRecord } from '../../../hypervisor/run-directory.ts'
import { SerialQueue } from '../../../base/serial-queue.ts'
import { applyEpoch } from '../disks/apply-epoch.ts'
import { JournalFile } from '../disks/journal-file.ts'
import { decodeJournal, type EpochJournal } from '../disks/journal-format.ts'
import { NbdClient } from '../disks/nbd-client.ts'

export interface SecondDisks {
  /** The first copy is over: nobody but this pump writes to them. */
  begin(): Promise<void>
  /** Makes an epoch's journal durable. */
  keep(epoch: number, journal: Uint8Array): Promise<void>
  /** Writes what is kept to the images, in order. May be called without waiting for the one before. */
  apply(): Promise<void>
  /** Everything that was kept is in the images and flushed; they are the waiting QEMU's own. */
  finish(): Promise<void>
  /** Nothing of it is needed any more. */
  close(): Promise<void>
}

export const noSecondDisks: SecondDisks = {
  begin: () => Promise.resolve(),
  keep: () => Promise.resolve(),
  apply: () => Promise.resolve(),
  finish: () => Promise.resolve(),
  close: () => Promise.resolve(),
}

/** An image that is somewhere. */
export interface ImagePlace {
  readonly key: number
  readonly path: string
  readonly format: 'qcow2' | 'raw'
}

interface Deps {
  readonly clock: Clock
  readonly files: Files
  readonly streams: Streams
}

/** A device that takes so long to answer is taken for broken. */
const answerMs = 60_000
const mostKeptBytes = 128 * 2 ** 20
const socketName = 'images'

/** DATA/vms/vm-42/journal: two files, and the places of the images that they belong to. */
export function journalPaths(dataDirectory: string, vm: VmId): { journal: string; places: string } {
  const folder = join(dataDirectory, 'vms', vm)
  return { journal: join(folder, 'journal'), places: join(folder, 'journal-images.json') }
}

export class JournaledImages implements SecondDisks {
  readonly #deps: Deps
  readonly #record: MachineRecord
  readonly #qmp: Qmp
  readonly #paths: ReturnType<typeof journalPaths>
  readonly #images: readonly ImagePlace[]
  readonly #queue = new SerialQueue()
  readonly #clients = new Map<number, NbdClient>()
  readonly #kept: EpochJournal[] = []
  #journal: JournalFile | undefined
  #keptBytes = 0

  constructor(deps: Deps, record: MachineRecord, qmp: Qmp, dataDirectory: string, vm: VmId) {
    this.#deps = deps
    this.#record = record
    this.#qmp = qmp
    this.#paths = journalPaths(dataDirectory, vm)
    this.#images = imagesOf(record)
  }

  async begin(): Promise<void> {
    const { files, streams, clock } = this.#deps
    // What an earlier copy left belongs to images that are no more.
    await removeJournal(files, this.#paths)
    await files.replace(this.#paths.places, JSON.stringify(this.#images), { mode: 0o600 })
    this.#journal = await JournalFile.open(files, this.#paths.journal)
    const path = `${runPaths(this.#record.config.runDirectory).own}/${socketName}`
    await receiveLocally(
      this.#qmp,
      this.#images.map(({ key }) => key),
      path,
    )
    for (const { key } of this.#images) {
      const { stream } = await streams.connectUnix(path, this.#record.process.pid)
      this.#clients.set(key, await NbdClient.open(stream, diskNode(key), { clock, timeoutMs: answerMs }))
    }
  }

  async keep(epoch: number, journal: Uint8Array): Promise<void> {
    if (journal.length === 0) return
    // A copy: what came holds the whole epoch in memory.
    const bytes = Buffer.from(journal)
    const decoded = decodeJournal(bytes)
    await this.#journal?.append([bytes])
    this.#kept.push(decoded)
    this.#keptBytes += bytes.length
    // Images that are slower than the journal hold the epochs up, or the rest would grow without end.
    if (this.#keptBytes > mostKeptBytes) await this.apply()
  }

  apply(): Promise<void> {
    return this.#queue.run(async () => {
      for (let next = this.#kept[0]; next !== undefined; next = this.#kept[0]) {
        await applyEpoch(next.pieces, this.#clients)
        await this.#journal?.done(next.epoch)
        this.#kept.shift()
        if (this.#kept.length === 0) this.#keptBytes = 0
      }
    })
  }

  async finish(): Promise<void> {
    await this.apply()
    await this.#letGo()
    await stopServer(this.#qmp)
    await removeJournal(this.#deps.files, this.#paths)
  }

  async close(): Promise<void> {
    await this.#queue.close()
    await this.#letGo()
    await removeJournal(this.#deps.files, this.#paths)
  }

  async #letGo(): Promise<void> {
    for (const client of this.#clients.values()) await client[Symbol.asyncDispose]()
    this.#clients.clear()
    await this.#journal?.[Symbol.asyncDispose]()
    this.#journal = undefined
  }
}

/** The images that a machine writes to, UEFI's variables among them. */
function imagesOf({ config }: MachineRecord): ImagePlace[] {
  const disks = config.disks.map(({ key, path, format }) => ({ key, path, format }))
  const { firmware } = config
  if (firmware.kind === 'bios') return disks
  return [...disks, { key: firmware.key, path: firmware.nvramPath, format: 'raw' as const }]
}

export async function removeJournal(files: Files, { journal, places }: ReturnType<typeof journalPaths>): Promise<void> {
  for (const path of [`${journal}.0`, `${journal}.1`, places]) await files.remove(path)
}
