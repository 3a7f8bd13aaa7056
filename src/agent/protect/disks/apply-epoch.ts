/** Brings epochs into the images of the second copy. */
import { HoldfastError, toHoldfastError } from '../../../base/errors.ts'
import type { JournalFile } from './journal-file.ts'
import type { JournalPiece } from './journal-format.ts'
import type { NbdClient } from './nbd-client.ts'

/** Writes one epoch through to all its disks; each that was changed is flushed when this resolves. */
export async function applyEpoch(
  pieces: readonly JournalPiece[],
  disks: ReadonlyMap<number, NbdClient>,
): Promise<void> {
  const changes = [...Map.groupBy(pieces, ({ disk }) => disk)].map(([key, ofDisk]) => {
    const client = disks.get(key)
    if (client !== undefined) return { client, ofDisk }
    throw new HoldfastError('wrong-state', `the epoch changes disk ${key}, which this copy does not have`)
  })
  const ends = await Promise.allSettled(changes.map(({ client, ofDisk }) => client.apply(ofDisk)))
  // All have come to rest before the first failure is told: nobody writes behind the caller's back.
  for (const end of ends) if (end.status === 'rejected') throw toHoldfastError(end.reason)
}

/**
 * After a power loss: writes what the journal still has to the images, and is then done with it. A replay that breaks off
 * is simply begun anew. `open` gives a client of a disk's image; each is closed before this ends. Resolves with the newest
 * epoch that was written; undefined when there was none.
 */
export async function replayJournal(
  journal: JournalFile,
  open: (disk: number) => Promise<NbdClient>,
): Promise<number | undefined> {
  await using clients = new AsyncDisposableStack()
  const disks = new Map<number, NbdClient>()
  let newest: number | undefined
  for await (const { epoch, pieces } of journal.read()) {
    for (const { disk } of pieces) if (!disks.has(disk)) disks.set(disk, clients.use(await open(disk)))
    await applyEpoch(pieces, disks)
    await journal.done(epoch)
    newest = epoch
  }
  return newest
}
