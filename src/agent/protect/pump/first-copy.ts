/**
 * The first copy of a running guest's memory: all of it, then again and again what it has written meanwhile, until that is
 * little enough for the guest to stand still while it is sent.
 */
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { pageBytes } from '../../../base/process-memory.ts'
import type { PageRange } from '../../../hypervisor/checkpoint/guest-memory.ts'
import { encodeRanges } from './epoch.ts'
import type { PrimaryGuest } from './primary-guest.ts'

/** Sent in no more than this, by the rate so far, the rest is little enough. */
const littleMs = 60
/** Little whatever the rate is: a megabyte. */
const littlePages = 256
/** A guest that writes faster than the link carries is not caught up with by trying longer. */
const mostPasses = 30

export interface CopyProgress {
  readonly doneBytes: number
  readonly totalBytes: number
  readonly bytesPerSecond: number
  readonly pass: number
}

/** Rejects with the signal's reason when aborted. */
export async function copyMemory(
  deps: { readonly clock: Clock; readonly guest: PrimaryGuest },
  send: (parts: readonly Uint8Array[]) => Promise<void>,
  onProgress: (progress: CopyProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const { clock, guest } = deps
  const started = clock.monotonic()
  const totalBytes = guest.pages * pageBytes
  let [sent, seen] = [0, 0]
  const rate = (): number => (sent * 1000) / Math.max(1, clock.monotonic() - started)
  for (let pass = 0; ; pass++) {
    const ranges = await guest.written()
    const pages = countOf(ranges)
    if (pass > 0 && isLittle(pages, rate())) {
      // What was taken here is not told again: it goes along before the guest stands still.
      await guest.copy(ranges, false, (range, bytes) => send([encodeRanges([range]), bytes]))
      return
    }
    if (pass === mostPasses) throw tooBusy(pages, rate())
    await guest.copy(ranges, pass === 0, async (range, bytes) => {
      signal.throwIfAborted()
      await send([encodeRanges([range]), bytes])
      sent += bytes.length
      if (pass > 0) return
      seen = range.first * pageBytes
      onProgress({ doneBytes: seen, totalBytes, bytesPerSecond: Math.round(rate()), pass })
    })
    onProgress({ doneBytes: totalBytes, totalBytes, bytesPerSecond: Math.round(rate()), pass })
  }
}

function countOf(ranges: readonly PageRange[]): number {
  return ranges.reduce((sum, { count }) => sum + count, 0)
}

function isLittle(pages: number, bytesPerSecond: number): boolean {
  return pages <= littlePages || (pages * pageBytes * 1000) / Math.max(1, bytesPerSecond) <= littleMs
}

function tooBusy(pages: number, bytesPerSecond: number): HoldfastError {
  return new HoldfastError(
    'refused',
    `the guest writes memory faster than it can be copied (${pages} pages left after ${mostPasses} passes at ${Math.round(bytesPerSecond / 2 ** 20)} MiB/s)`,
    { mend: 'Give the storage network more bandwidth, or protect the VM when it is less busy.' },
  )
}
