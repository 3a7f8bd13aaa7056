/**
 * Moves one disk of a running guest to another file of this host.
 *
 * Crash-safe at each point: until the switch the guest's writes go to the old file, and a crash costs only the copy. At
 * the switch the guest stands still for some milliseconds: both files are then equal and flushed, `beforeSwitch` records
 * durably that the new one counts, and only then the guest writes again, to the new one alone. So whatever the record
 * says after a crash at any instant, it names a file with every write that the guest was told of.
 */
import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { diskBlockdev, diskNode } from './command-line.ts'
import { abandonCopy, MirrorWatch, nodeOfDevice, startMirror } from './disk-mirror.ts'
import type { QemuFeatures } from './qemu-version.ts'
import type { Qmp } from './qmp.ts'

export interface DiskMove {
  readonly key: number
  readonly to: { readonly path: string; readonly format: 'qcow2' | 'raw'; readonly cache: 'none' | 'writeback' }
  readonly onProgress: (done: number, total: number) => void
  /** Records that the new file counts. When it rejects, the guest stays paused, on the new file. */
  readonly beforeSwitch: (() => Promise<void>) | null
}

interface Deps {
  readonly qmp: Qmp
  readonly features: QemuFeatures
  readonly clock: Clock
  readonly random: Random
}

/** Rejects with the signal's reason when aborted before the switch, `hypervisor-error` when the copy fails; the old file counts then. */
export async function moveDisk(deps: Deps, move: DiskMove, signal: AbortSignal): Promise<void> {
  const { qmp, features, clock, random } = deps
  signal.throwIfAborted()
  const before = await nodeOfDevice(qmp, diskNode(move.key))
  const mirror = { job: `move-${move.key}`, target: `${diskNode(move.key)}-moved-${random.int(2 ** 31)}` }
  using watch = new MirrorWatch(qmp, [mirror])
  await qmp.execute('blockdev-add', diskBlockdev(mirror.target, move.to.path, move.to.format, move.to.cache))
  try {
    await startMirror(qmp, features, { ...mirror, node: before, maxBandwidth: null })
    await watch.untilReady(
      clock,
      features,
      ({ doneBytes, totalBytes }) => move.onProgress(doneBytes, totalBytes),
      signal,
    )
  } catch (thrown) {
    await abandonCopy(qmp, watch, mirror)
    throw thrown
  }
  await pivot(qmp, watch, mirror, move.beforeSwitch)
  await qmp.execute('blockdev-del', { 'node-name': before })
}

async function pivot(
  qmp: Qmp,
  watch: MirrorWatch,
  mirror: { job: string; target: string },
  beforeSwitch: (() => Promise<void>) | null,
): Promise<void> {
  const { status } = await qmp.execute<{ status: string }>('query-status')
  const isRunning = status === 'running'
  if (isRunning) await qmp.execute('stop')
  try {
    await qmp.execute('block-job-complete', { device: mirror.job })
    await watch.ended(mirror.job)
  } catch (thrown) {
    // The job did not switch, so the guest is still on its old file.
    await abandonCopy(qmp, watch, mirror)
    if (isRunning) await qmp.execute('cont')
    throw thrown
  }
  await beforeSwitch?.()
  if (isRunning) await qmp.execute('cont')
}
