/** How an outgoing migration ended, from QEMU's own words, and how one that nobody drives any more is brought to its end. */
import type { Clock } from '../base/clock.ts'
import { abandonLeftCopies } from './disk-copies.ts'
import type { OutgoingResult } from './hypervisor.ts'
import type { MigrateStatus } from './machine-state.ts'
import { removeTls } from './migration-settings.ts'
import type { Qmp } from './qmp.ts'

export interface OutgoingEnd {
  readonly outcome: OutgoingResult['outcome']
  readonly reason: string | null
  readonly status: MigrateStatus
}

/** Statuses after which nothing changes by itself. */
export const endings: ReadonlySet<string> = new Set(['completed', 'failed', 'cancelled', 'postcopy-paused'])
const afterPostCopy: ReadonlySet<string> = new Set(['postcopy-active', 'postcopy-recover', 'postcopy-recover-setup'])

const pollMs = 20
const settleMs = 10_000

/** The outcome of a status that is an ending. */
export async function endOf(qmp: Qmp, clock: Clock, status: MigrateStatus): Promise<OutgoingEnd> {
  if (status.status === 'postcopy-paused')
    return { outcome: 'unknown', reason: 'the connection broke in post-copy', status }
  const run = await settledRunState(qmp, clock)
  if (run === 'finish-migrate') return { outcome: 'unknown', reason: 'QEMU does not take the guest back', status }
  // `completed` alone could be that of the migration by which the guest once came here.
  if (status.status === 'completed' && run === 'postmigrate') return { outcome: 'sent', reason: null, status }
  const reason = status.status === 'cancelled' ? 'cancelled' : (status['error-desc'] ?? 'QEMU gave no reason')
  return { outcome: 'not-sent', reason, status }
}

/** An ending is said a moment before the guest goes on, or comes to rest; the outcome is certain only after that. */
async function settledRunState(qmp: Qmp, clock: Clock): Promise<string> {
  const until = clock.monotonic() + settleMs
  for (;;) {
    const { status } = await qmp.execute<{ status: string }>('query-status')
    if (status !== 'finish-migrate' || clock.monotonic() > until) return status
    await clock.sleep(pollMs)
  }
}

/** Cancels what is under way and waits for its end. Post-copy cannot be cancelled and is waited for. */
export async function cancelAndWait(qmp: Qmp, clock: Clock): Promise<OutgoingEnd> {
  for (;;) {
    const status = await qmp.execute<MigrateStatus>('query-migrate')
    const name = status.status ?? 'none'
    if (name === 'none' || endings.has(name)) return await endOf(qmp, clock, status)
    // Refused where it is too late; the loop then sees how it ends.
    if (!afterPostCopy.has(name) && name !== 'cancelling') await qmp.execute('migrate_cancel').catch(() => undefined)
    await clock.sleep(pollMs)
  }
}

/** For whoever adopted a machine in the middle of an outgoing migration. */
export async function settleOutgoing(qmp: Qmp, clock: Clock): Promise<OutgoingResult> {
  const started = clock.monotonic()
  const { outcome, reason, status } = await cancelAndWait(qmp, clock)
  if (outcome !== 'sent') await abandonLeftCopies(qmp, clock)
  await removeTls(qmp)
  const ram = status.ram?.transferred ?? 0
  return {
    outcome,
    reason,
    totalMs: Math.round(clock.monotonic() - started),
    downtimeMs: status.downtime ?? 0,
    ramBytes: ram,
    diskBytes: 0,
  }
}
