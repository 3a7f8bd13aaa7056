/**
 * Where QEMU mirrors the writes of a protected guest to: an NBD server that keeps them as the journal of the current epoch
 * and writes them nowhere. What always holds:
 *
 * - Everything that was answered before `cut` is in what it gives, in the order in which it came; nothing is in two cuts.
 * - Memory is bounded by the limit, and by one request and one chunk for each stream more. Above the limit nothing is read,
 *   so that the guest's writes wait until the next cut.
 * - When a client breaks, QEMU lets the guest write on without us. So nothing is cut any more from then on. A mirror can also
 *   fail at QEMU's end: whoever cuts hears of that by BLOCK_JOB_ERROR, which comes before the answer to `stop`.
 * - QEMU's `stop` waits for the guest's writes, so they must not wait for the cut that comes after it: `admitAll` comes before.
 */
import type { Duplex } from 'node:stream'
import { HoldfastError } from '../../../base/errors.ts'
import type { JournalPiece } from './journal-format.ts'
import type { JournalExport } from './nbd-handshake.ts'
import { NbdSession, type SessionEnd } from './nbd-session.ts'

export interface JournalServerOptions {
  readonly exports: readonly JournalExport[]
  /** Above this size of the journal the guest's writes wait. */
  readonly limitBytes: number
  /** Called once for each journal, when it has reached half of the limit: time for a cut. */
  readonly onHalfFull: () => void
}

/** What a piece takes besides its data. */
const pieceBytes = 128

export class JournalServer implements Disposable {
  readonly exports: readonly JournalExport[]
  readonly #limitBytes: number
  readonly #onHalfFull: () => void
  readonly #sessions = new Set<NbdSession>()
  #pieces: JournalPiece[] = []
  #bytes = 0
  #admitsAll = false
  #broken: string | undefined

  constructor(options: JournalServerOptions) {
    this.exports = options.exports
    this.#limitBytes = options.limitBytes
    this.#onHalfFull = options.onHalfFull
  }

  /** Size of the journal now. */
  get bytes(): number {
    return this.#bytes
  }

  /** Why writes of the guest may be missing from the journal; undefined while none is. */
  get broken(): string | undefined {
    return this.#broken
  }

  get isFull(): boolean {
    return this.#bytes > this.#limitBytes && !this.#admitsAll
  }

  /** Serves one client until it goes or breaks; never rejects. */
  async serve(stream: Duplex): Promise<SessionEnd> {
    const session = new NbdSession(stream, this)
    this.#sessions.add(session)
    const end = await session.ended
    this.#sessions.delete(session)
    if (end.name !== null && !end.isOrderly) this.miss(`${end.name}: ${end.reason}`)
    return end
  }

  /** From now to the next cut no limit holds. To be called before the guest is stopped. */
  admitAll(): void {
    this.#admitsAll = true
    this.#regulate()
  }

  /** Takes the journal and begins a new one. Throws `wrong-state` when writes of the guest may be missing from it. */
  cut(): JournalPiece[] {
    if (this.#broken !== undefined) {
      throw new HoldfastError('wrong-state', `writes of the guest may be missing from the journal: ${this.#broken}`, {
        mend: 'The second copy must be synchronized anew.',
      })
    }
    const pieces = this.#pieces
    this.#pieces = []
    this.#bytes = 0
    this.#admitsAll = false
    this.#regulate()
    return pieces
  }

  /** For sessions only. */
  record(piece: JournalPiece): void {
    const before = this.#bytes
    this.#pieces.push(piece)
    this.#bytes += pieceBytes + (piece.kind === 'write' ? piece.length : 0)
    const half = this.#limitBytes / 2
    if (before < half && this.#bytes >= half) this.#onHalfFull()
    if (this.isFull) this.#regulate()
  }

  /** For sessions only. */
  miss(why: string): void {
    this.#broken ??= why
  }

  /** Ends every stream. The journal stays. */
  [Symbol.dispose](): void {
    for (const session of this.#sessions) session.close('the server was closed')
  }

  #regulate(): void {
    for (const session of this.#sessions) session.regulate()
  }
}
