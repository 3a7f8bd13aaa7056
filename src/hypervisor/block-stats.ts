/** How much a guest's disks were asked to do, as QEMU counts it. */
import type { Qmp } from './qmp.ts'

interface BlockStats {
  readonly stats: {
    readonly rd_operations: number
    readonly wr_operations: number
    readonly flush_operations: number
    readonly unmap_operations?: number
  }
}

/** Reads, writes, flushes and discards of all of its drives since QEMU began. What a mirror does beside it counts for nothing. */
export async function diskOperations(qmp: Pick<Qmp, 'execute'>): Promise<number> {
  return countOf(await qmp.execute<readonly BlockStats[]>('query-blockstats'))
}

/** Pure. */
export function countOf(drives: readonly BlockStats[]): number {
  return drives.reduce((sum, { stats }) => {
    return sum + stats.rd_operations + stats.wr_operations + stats.flush_operations + (stats.unmap_operations ?? 0)
  }, 0)
}
