/**
 * The journal of the second's disks, durable: epochs wait in it from when they are acknowledged until the image has them.
 * Two files take turns, so that one can be emptied while the other is written to. What always holds:
 *
 * - What is here after a power loss are whole epochs without a gap from the oldest to the newest. Writing them to the image
 *   again in order is harmless, if it had some of them already.
 * - An epoch whose `append` resolved is among them until `done` was called for it.
 * - The image belongs to the journal until `clear`: whoever lets a guest write to the image calls it before. Otherwise the
 *   next replay writes old epochs over what the guest wrote.
 */
import type { Files } from '../../../base/files.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { readJournalHead, type EpochJournal, type JournalHead } from './journal-format.ts'
import { JournalHalf, type StoredEpoch } from './journal-half.ts'

export interface JournalFileOptions {
  /** A file that has reached this size gives its turn to the other, when that is empty. Default 64 MiB. */
  readonly turnBytes?: number
}

const defaultTurnBytes = 64 * 1024 * 1024

export class JournalFile implements AsyncDisposable {
  readonly #turnBytes: number
  #active: JournalHalf
  #resting: JournalHalf
  #doneEpoch = -1
  #lastEpoch: number
  #appending: Promise<void> = Promise.resolve()
  #failure: HoldfastError | undefined

  private constructor(active: JournalHalf, resting: JournalHalf, turnBytes: number) {
    this.#active = active
    this.#resting = resting
    this.#turnBytes = turnBytes
    this.#lastEpoch = active.last?.epoch ?? -1
  }

  /** Opens PATH.0 and PATH.1, or makes them; reads through all that is there. Throws `store-error` when it is damaged. */
  static async open(files: Files, path: string, options: JournalFileOptions = {}): Promise<JournalFile> {
    await using opened = new AsyncDisposableStack()
    const one = await JournalHalf.open(files, `${path}.0`)
    opened.defer(() => one.half.close())
    const other = await JournalHalf.open(files, `${path}.1`)
    opened.defer(() => other.half.close())
    const isOneOlder = (one.half.last?.epoch ?? -1) < (other.half.last?.epoch ?? -1)
    const [older, newer] = isOneOlder ? [one, other] : [other, one]
    const [last, first] = [older.half.last, newer.half.first]
    if (last !== undefined && first !== undefined && last.epoch >= first.epoch)
      throw newer.half.damaged(`it begins with epoch ${first.epoch}, and the file before ends with ${last.epoch}`)
    // Writing went on in the newer one only after all of the older was safe. One without a whole epoch is the newest of all,
    // torn at its very first.
    if (older.hasTail && last !== undefined && first !== undefined)
      throw older.half.damaged('its last epoch is not whole')
    for (const { half, hasTail } of [older, newer]) if (hasTail) await half.trimTail()
    opened.move()
    return new JournalFile(newer.half, older.half, options.turnBytes ?? defaultTurnBytes)
  }

  /** Epochs that are here and not done, oldest first. */
  get pending(): readonly StoredEpoch[] {
    return this.#halves().flatMap(({ epochs }) => epochs.filter(({ epoch }) => epoch > this.#doneEpoch))
  }

  /** What it takes on the device. */
  get sizeBytes(): number {
    return this.#active.sizeBytes + this.#resting.sizeBytes
  }

  /** The epochs that are not done, oldest first. They may be called done on the way. */
  async *read(): AsyncGenerator<EpochJournal, void> {
    for (const half of this.#halves())
      for (const stored of [...half.epochs]) if (stored.epoch > this.#doneEpoch) yield await half.read(stored)
  }

  /**
   * Appends an encoded epoch, which must be newer than all before; it is durable when this resolves. After one that failed
   * no other is taken: what a device does after an error is unknown.
   */
  async append(parts: readonly Buffer[]): Promise<void> {
    const head = headOf(parts)
    if (head.epoch <= this.#lastEpoch)
      throw new HoldfastError('wrong-state', `epoch ${head.epoch} comes after epoch ${this.#lastEpoch}`)
    this.#lastEpoch = head.epoch
    const before = this.#appending
    this.#appending = before.then(() => this.#append(head, parts))
    this.#appending.catch(() => undefined)
    await this.#appending
  }

  async #append(head: JournalHead, parts: readonly Buffer[]): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#active.sizeBytes >= this.#turnBytes && this.#resting.isEmpty) {
      ;[this.#active, this.#resting] = [this.#resting, this.#active]
      // It may be all done already. An epoch does not wait for that.
      this.#release().catch((thrown: unknown) => void (this.#failure ??= broken(thrown)))
    }
    try {
      await this.#active.append(head, parts)
    } catch (thrown) {
      throw (this.#failure ??= broken(thrown))
    }
  }

  /** The image has this epoch and all before it, flushed. Resolves when their space was let go, where it can be. */
  async done(epoch: number): Promise<void> {
    this.#doneEpoch = Math.max(this.#doneEpoch, epoch)
    await this.#release()
  }

  /** Forgets everything, durably. Only when all is done, or the image is given up. No `append` may be on its way. */
  async clear(): Promise<void> {
    for (const half of this.#halves()) await half.clear()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#appending.catch(() => undefined)
    for (const half of this.#halves()) await half.close()
  }

  /** The one that is written to is left alone: the oldest epochs go first, so that no gap comes about. */
  async #release(): Promise<void> {
    const last = this.#resting.last
    if (last !== undefined && last.epoch <= this.#doneEpoch) await this.#resting.clear()
  }

  /** Oldest first. */
  #halves(): readonly JournalHalf[] {
    return [this.#resting, this.#active]
  }
}

function headOf(parts: readonly Buffer[]): JournalHead {
  const [first] = parts
  const head = first === undefined ? undefined : readJournalHead(first)
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  if (head?.length !== length) throw new HoldfastError('invalid-request', 'this is no whole journal of an epoch')
  return head
}

function broken(cause: unknown): HoldfastError {
  return new HoldfastError(
    'store-error',
    'the journal of the second copy cannot be written',
    {
      mend: 'Check the device that it is on, and its free space; the VM is then protected anew.',
    },
    { cause },
  )
}
