/** QEMU's figures → progress for people. Pure. */
import type { MirrorProgress } from './disk-mirror.ts'
import type { OutgoingProgress } from './hypervisor.ts'
import type { MigrateStatus } from './machine-state.ts'

export function diskProgress({ doneBytes, totalBytes }: MirrorProgress, elapsedMs: number): OutgoingProgress {
  const bytesPerSecond = elapsedMs <= 0 ? 0 : Math.round((doneBytes * 1000) / elapsedMs)
  return {
    phase: 'disks',
    fraction: ratio(doneBytes, totalBytes),
    doneBytes,
    totalBytes,
    bytesPerSecond,
    dirtyBytesPerSecond: 0,
    remainingSeconds: bytesPerSecond === 0 ? null : (totalBytes - doneBytes) / bytesPerSecond,
  }
}

export function memoryProgress(status: MigrateStatus, disks: MirrorProgress): OutgoingProgress {
  const ram = status.ram
  const total = ram?.total ?? 0
  const remaining = ram?.remaining ?? total
  const bytesPerSecond = Math.round(((ram?.mbps ?? 0) * 1e6) / 8)
  const dirtyBytesPerSecond = (ram?.['dirty-pages-rate'] ?? 0) * (ram?.['page-size'] ?? 4096)
  const headway = bytesPerSecond - dirtyBytesPerSecond
  return {
    phase: phaseOf(status.status),
    fraction: ratio(disks.totalBytes + total - remaining, disks.totalBytes + total),
    doneBytes: disks.doneBytes + total - remaining,
    totalBytes: disks.totalBytes + total,
    bytesPerSecond,
    dirtyBytesPerSecond,
    remainingSeconds: headway > 0 ? remaining / headway : null,
  }
}

function phaseOf(status: string | undefined): OutgoingProgress['phase'] {
  if (status === 'pre-switchover' || status === 'device' || status === 'completed') return 'switch'
  return status?.startsWith('postcopy') === true ? 'post-copy' : 'memory'
}

function ratio(done: number, total: number): number {
  return total <= 0 ? 0 : Math.min(1, Math.max(0, done / total))
}
