/** One of the two files of a journal: whole epochs one behind the other, and perhaps a torn one at the end. */
import type { FileHandle, Files } from '../../../base/files.ts'
import { HoldfastError } from '../../../base/errors.ts'
import {
  decodeJournal,
  journalHeadBytes,
  readJournalHead,
  wholeJournalHead,
  type EpochJournal,
  type JournalHead,
} from './journal-format.ts'

export interface StoredEpoch {
  readonly epoch: number
  readonly n: number
  readonly at: number
  readonly length: number
}

export class JournalHalf {
  readonly epochs: StoredEpoch[]
  readonly #path: string
  readonly #file: FileHandle
  #sizeBytes: number
  #clearing: Promise<void> | undefined

  private constructor(path: string, file: FileHandle, epochs: StoredEpoch[]) {
    this.#path = path
    this.#file = file
    this.epochs = epochs
    const last = epochs.at(-1)
    this.#sizeBytes = last === undefined ? 0 : last.at + last.length
  }

  /** Opens what is there, or makes the file. `hasTail` when the last epoch in it was not written to its end. */
  static async open(files: Files, path: string): Promise<{ half: JournalHalf; hasTail: boolean }> {
    const found = await files.stat(path)
    const file = await files.open(path, found === undefined ? 'create-new' : 'read-write')
    try {
      const half = new JournalHalf(path, file, await scan(file, path))
      const hasTail = (found?.sizeBytes ?? 0) > half.#sizeBytes
      return { half, hasTail }
    } catch (thrown) {
      await file[Symbol.asyncDispose]()
      throw thrown
    }
  }

  get sizeBytes(): number {
    return this.#sizeBytes
  }

  /** Nothing is in it, and nothing can come back after a power loss. */
  get isEmpty(): boolean {
    return this.#sizeBytes === 0
  }

  get first(): StoredEpoch | undefined {
    return this.epochs[0]
  }

  get last(): StoredEpoch | undefined {
    return this.epochs.at(-1)
  }

  /** Durable when it resolves. After a failure nothing is known of the end of the file. */
  async append({ epoch, n, length }: JournalHead, parts: readonly Uint8Array[]): Promise<void> {
    const at = this.#sizeBytes
    await this.#file.writeParts(at, parts)
    await this.#file.sync()
    this.#sizeBytes += length
    this.epochs.push({ epoch, n, at, length })
  }

  async read({ at, length }: StoredEpoch): Promise<EpochJournal> {
    return decodeJournal(await readBuffer(this.#file, at, length))
  }

  /** Drops a torn epoch at the end. */
  async trimTail(): Promise<void> {
    await this.#truncate(this.#sizeBytes)
  }

  /**
   * Durable when it resolves, and only then it may be written to again: old epochs that shine through new ones would make
   * a journal with holes.
   */
  async clear(): Promise<void> {
    this.#clearing ??= this.#clear().finally(() => (this.#clearing = undefined))
    await this.#clearing
  }

  async #clear(): Promise<void> {
    await this.#truncate(0)
    this.epochs.length = 0
    this.#sizeBytes = 0
  }

  async #truncate(sizeBytes: number): Promise<void> {
    await this.#file.truncate(sizeBytes)
    await this.#file.sync()
  }

  damaged(what: string): HoldfastError {
    return damaged(this.#path, what)
  }

  async close(): Promise<void> {
    await this.#clearing?.catch(() => undefined)
    await this.#file[Symbol.asyncDispose]()
  }
}

async function scan(file: FileHandle, path: string): Promise<StoredEpoch[]> {
  const epochs: StoredEpoch[] = []
  for (let at = 0; ;) {
    const head = await headAt(file, at)
    if (head === undefined || head.epoch <= (epochs.at(-1)?.epoch ?? -1)) return epochs
    const whole = wholeJournalHead(await readBuffer(file, at, head.length))
    if (whole === undefined) {
      // An epoch is begun when the one before is safe. So a torn one before another was once whole.
      const next = await headAt(file, at + head.length)
      if (next !== undefined && next.epoch > head.epoch) throw damaged(path, `epoch ${head.epoch} is not whole`)
      return epochs
    }
    epochs.push({ epoch: head.epoch, n: head.n, at, length: head.length })
    at += head.length
  }
}

async function headAt(file: FileHandle, at: number): Promise<JournalHead | undefined> {
  return readJournalHead(await readBuffer(file, at, journalHeadBytes))
}

async function readBuffer(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = await file.read(at, length)
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
}

function damaged(path: string, what: string): HoldfastError {
  return new HoldfastError('store-error', `the journal ${path} is damaged: ${what}`, {
    mend: 'This copy cannot be trusted: use the one of the other host, and check the device that the journal is on.',
  })
}
