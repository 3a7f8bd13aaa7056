/**
 * Brings the images of a second that has won, but whose QEMU is gone, up to the last epoch that was acknowledged: what its
 * journal still has is written to them by `qemu-nbd`. Done twice it does no harm.
 */
import { dirname, join } from 'node:path'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { fileErrorCode, type Files } from '../../../base/files.ts'
import type { VmId } from '../../../base/ids.ts'
import type { Processes } from '../../../base/processes.ts'
import type { Streams } from '../../../base/streams.ts'
import { replayJournal } from '../disks/apply-epoch.ts'
import { JournalFile } from '../disks/journal-file.ts'
import { NbdClient } from '../disks/nbd-client.ts'
import { journalPaths, removeJournal, type ImagePlace } from './second-disks.ts'

interface Deps {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
  readonly streams: Streams
}

const answerMs = 60_000
const startMs = 15_000

/** `runDirectory`: for sockets. Throws `store-error` when the journal is damaged, `host-error` when an image is not to be had. */
export async function bringUpToDate(deps: Deps, dataDirectory: string, vm: VmId, runDirectory: string): Promise<void> {
  const paths = journalPaths(dataDirectory, vm)
  const images = await readImages(deps.files, paths.places)
  if (images === undefined) return
  {
    await using servers = new AsyncDisposableStack()
    await using journal = await JournalFile.open(deps.files, paths.journal)
    await replayJournal(journal, async (key) => {
      const image = images.find((one) => one.key === key)
      if (image === undefined)
        throw new HoldfastError('store-error', `the journal of ${vm} changes disk ${key}, which it has not`)
      return await openImage(deps, image, join(runDirectory, `replay-${key}`), servers)
    })
  }
  await removeJournal(deps.files, paths)
}

async function readImages(files: Files, path: string): Promise<ImagePlace[] | undefined> {
  try {
    return JSON.parse(await files.readText(path)) as ImagePlace[]
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return undefined
    throw thrown
  }
}

/** A `qemu-nbd` that ends with its only client. */
async function openImage(
  deps: Deps,
  { path, format }: ImagePlace,
  socketPath: string,
  servers: AsyncDisposableStack,
): Promise<NbdClient> {
  const { clock, files, processes, streams } = deps
  await files.makeDirectory(dirname(socketPath), { mode: 0o711 })
  const stop = new AbortController()
  const args = ['-k', socketPath, '-f', format, '--discard=unmap', '--detect-zeroes=off', path]
  const ended = processes.run('qemu-nbd', args, { signal: stop.signal })
  servers.defer(async () => {
    // One that never got a client does not end by itself.
    stop.abort()
    await ended.catch(() => undefined)
  })
  let said: string | undefined
  ended.then(
    ({ stderr }) => (said = stderr),
    () => (said = 'it does not start'),
  )
  const until = clock.monotonic() + startMs
  for (;;) {
    const found = await streams.connectUnix(socketPath).catch(() => undefined)
    if (found !== undefined) return await NbdClient.open(found.stream, '', { clock, timeoutMs: answerMs })
    if (said !== undefined || clock.monotonic() > until) {
      throw new HoldfastError(
        'host-error',
        `the image ${path} cannot be opened: ${said ?? 'qemu-nbd does not listen'}`,
        {
          mend: 'Nobody else may use it; then it is tried again.',
        },
      )
    }
    await clock.sleep(20)
  }
}
