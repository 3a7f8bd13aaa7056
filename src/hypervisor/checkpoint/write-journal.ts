/**
 * Sends each write of the guest to a journal as well, before the guest is told that it is done (`blockdev-mirror` with
 * nothing to copy, to an NBD server of ours). What the journal holds when the guest stands still is what this epoch wrote:
 * QEMU ends all requests before it says that it has stopped.
 */
import type { Clock } from '../../base/clock.ts'
import { diskNode } from '../command-line.ts'
import { nodeOfDevice } from '../disk-mirror.ts'
import type { Qmp } from '../qmp.ts'

const endMs = 5000

const jobOf = (key: number): string => `journal-${key}`
const targetOf = (key: number): string => `journal-to-${key}`

/** NBD export of a disk's journal. */
export function journalExport(key: number): string {
  return `journal-${key}`
}

/** From now on; to be called while the guest stands still. */
export async function startJournals(
  qmp: Qmp,
  clock: Clock,
  keys: readonly number[],
  socketPath: string,
): Promise<void> {
  await stopJournals(qmp, clock, keys)
  for (const key of keys) {
    const server = { type: 'unix', path: socketPath }
    const file = { driver: 'nbd', server, export: journalExport(key) }
    await qmp.execute('blockdev-add', { driver: 'raw', 'node-name': targetOf(key), file })
    await qmp.execute('blockdev-mirror', {
      ...{ 'job-id': jobOf(key), device: await nodeOfDevice(qmp, diskNode(key)), target: targetOf(key) },
      ...{ sync: 'none', 'copy-mode': 'write-blocking' },
      // A journal that is gone must not stop the guest's own disk: whoever watches ends protection then.
      ...{ 'on-target-error': 'report', 'on-source-error': 'report', 'auto-dismiss': true, 'auto-finalize': true },
    })
  }
}

/**
 * Follows the jobs by QEMU's own word. One that has ended sends nothing any more, and the guest's writes go on all the same:
 * QEMU says so before it answers a `stop` in which it happened.
 */
export function watchJournals(qmp: Qmp, keys: readonly number[], onEnd: (why: string) => void): Disposable {
  const jobs = new Set(keys.map(jobOf))
  return qmp.onEvent(({ event, data }) => {
    const isEnd = event === 'BLOCK_JOB_ERROR' || event === 'BLOCK_JOB_COMPLETED' || event === 'BLOCK_JOB_CANCELLED'
    if (isEnd && jobs.has(String(data['device']))) onEnd(`the journal of a disk has ended (${event})`)
  })
}

/** Whoever started them. Resolves when nothing of them is left; never rejects. */
export async function stopJournals(qmp: Qmp, clock: Clock, keys: readonly number[]): Promise<void> {
  for (const key of keys) {
    await qmp.execute('block-job-cancel', { device: jobOf(key), force: true }).catch(() => undefined)
    const until = clock.monotonic() + endMs
    while ((await isThere(qmp, jobOf(key))) && clock.monotonic() < until) await clock.sleep(2)
    await qmp.execute('blockdev-del', { 'node-name': targetOf(key) }).catch(() => undefined)
  }
}

async function isThere(qmp: Qmp, job: string): Promise<boolean> {
  const jobs = await qmp.execute<readonly { id: string }[]>('query-jobs').catch(() => [])
  return jobs.some(({ id }) => id === job)
}
