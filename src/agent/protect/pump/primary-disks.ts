/**
 * The disks of a protected VM on the primary's side. First they are copied whole to the second host while the guest runs,
 * and follow it; when the guest stands still for its first epoch the copies are let go, and from then on each of its writes
 * goes to a journal here as well, which travels with the epoch.
 */
import { join } from 'node:path'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Processes } from '../../../base/processes.ts'
import type { Streams } from '../../../base/streams.ts'
import type { SecondEndpoint } from '../../../contracts/protection.ts'
import {
  journalExport,
  startJournals,
  stopJournals,
  watchJournals,
} from '../../../hypervisor/checkpoint/write-journal.ts'
import { DiskCopies } from '../../../hypervisor/disk-copies.ts'
import { addTlsClient } from '../../../hypervisor/migration-settings.ts'
import { featuresOf, versionOf, type QemuVersionReply } from '../../../hypervisor/qemu-version.ts'
import type { Qmp } from '../../../hypervisor/qmp.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import { encodeJournal } from '../disks/journal-format.ts'
import { JournalServer } from '../disks/nbd-journal-server.ts'
import type { PrimaryOrder } from '../pumps.ts'
import { within } from './within.ts'

export interface DiskCopy {
  /** Bytes of the journal that wait for an epoch. */
  readonly bytes: number
  /** Calls back when the journal is so large that an epoch is due. */
  onFull(listener: () => void): void
  /** Copies all of them while the guest runs; resolves when the copies follow it. Rejects with the signal's reason. */
  copy(onProgress: (doneBytes: number, totalBytes: number) => void, signal: AbortSignal): Promise<void>
  /** While the guest stands still: the copies are whole now, and from here on its writes go to the journal. */
  hold(): Promise<void>
  /** Before the guest is stopped: nothing that it writes has to wait any more, or it could not be stopped. */
  admitAll(): void
  /** While it stands still: what was written since the last cut, as it is to be sent. Throws when some of it is missing. */
  cut(epoch: number): readonly Uint8Array[]
  /** The guest's disks are its own again. Never rejects. */
  letGo(): Promise<void>
}

/** A machine without disks. */
export const noDisks: DiskCopy = {
  bytes: 0,
  onFull: () => undefined,
  copy: () => Promise.resolve(),
  hold: () => Promise.resolve(),
  admitAll: () => undefined,
  cut: () => [],
  letGo: () => Promise.resolve(),
}

interface DiskPorts {
  readonly clock: Clock
  readonly processes: Processes
  readonly streams: Streams
}

/** What an epoch's writes may take in memory before the guest's next writes wait. */
const mostJournalBytes = 64 * 2 ** 20
const socketName = 'journal'
const finishMs = 3000

export class MirroredDisks implements DiskCopy {
  readonly #ports: DiskPorts
  readonly #record: MachineRecord
  readonly #qmp: Qmp
  readonly #order: Pick<PrimaryOrder, 'copies' | 'second' | 'config'>
  readonly #server: JournalServer
  #copies: DiskCopies | undefined
  #listening: AsyncDisposable | undefined
  #isHeld = false
  #watch: Disposable | undefined
  #ended: string | undefined
  #onFull: () => void = () => undefined

  constructor(
    ports: DiskPorts,
    record: MachineRecord,
    qmp: Qmp,
    order: Pick<PrimaryOrder, 'copies' | 'second' | 'config'>,
  ) {
    this.#ports = ports
    this.#record = record
    this.#qmp = qmp
    this.#order = order
    const exports = order.copies.map(({ key, sizeBytes }) => ({ name: journalExport(key), disk: key, sizeBytes }))
    this.#server = new JournalServer({ exports, limitBytes: mostJournalBytes, onHalfFull: () => this.#onFull() })
  }

  get bytes(): number {
    return this.#server.bytes
  }

  onFull(listener: () => void): void {
    this.#onFull = listener
  }

  async copy(onProgress: (doneBytes: number, totalBytes: number) => void, signal: AbortSignal): Promise<void> {
    const { nbd, exports } = this.#order.second
    const { host, port, tlsName } = needNbd(nbd)
    const { tlsDirectory } = this.#record.config
    const qmp = this.#qmp
    const features = featuresOf(versionOf(await qmp.execute<QemuVersionReply>('query-version')))
    const tls = tlsDirectory === null ? null : { creds: await addTlsClient(qmp, tlsDirectory), name: tlsName }
    this.#copies = await DiskCopies.make(
      { ...this.#ports, qmp, features },
      { host, port, tls, exports, maxBandwidth: null },
      ({ doneBytes, totalBytes }) => onProgress(doneBytes, totalBytes),
      signal,
    )
  }

  async hold(): Promise<void> {
    // Beside QEMU's own folder, in which it could put something else in the socket's place.
    const path = join(this.#record.config.runDirectory, socketName)
    const uid = this.#record.config.runAs?.uid
    this.#listening = await this.#ports.streams.listenUnix(path, (stream) => void this.#server.serve(stream), uid)
    await this.#finishCopies()
    this.#isHeld = true
    this.#watch = watchJournals(this.#qmp, this.#keys, (why) => (this.#ended ??= why))
    await startJournals(this.#qmp, this.#ports.clock, this.#keys, path)
  }

  /** The guest stands still: a copy that does not end now is given up. */
  async #finishCopies(): Promise<void> {
    const copies = this.#copies
    if (copies === undefined) return
    const finished = copies.finish()
    finished.catch(() => undefined)
    await within(this.#ports.clock, finished, finishMs, 'the copies of the disks were not whole')
  }

  admitAll(): void {
    this.#server.admitAll()
  }

  cut(epoch: number): readonly Uint8Array[] {
    if (this.#ended !== undefined) throw new HoldfastError('hypervisor-error', this.#ended)
    const pieces = this.#server.cut()
    return pieces.length === 0 ? [] : encodeJournal({ epoch, n: this.#order.config.n, pieces })
  }

  async letGo(): Promise<void> {
    this.#watch?.[Symbol.dispose]()
    if (this.#isHeld) {
      this.#server.admitAll()
      await stopJournals(this.#qmp, this.#ports.clock, this.#keys)
    } else await this.#copies?.abandon()
    this.#server[Symbol.dispose]()
    await this.#listening?.[Symbol.asyncDispose]()
  }

  get #keys(): number[] {
    return this.#order.copies.map(({ key }) => key)
  }
}

function needNbd(nbd: SecondEndpoint['nbd']): NonNullable<SecondEndpoint['nbd']> {
  if (nbd !== null) return nbd
  throw new HoldfastError('invalid-request', 'the VM has disks, but the second host listens for none')
}
