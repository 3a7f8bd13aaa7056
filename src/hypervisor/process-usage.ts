import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import { MiB } from '../base/units.ts'

/** USER_HZ, which Linux keeps at 100 towards programs whatever the kernel counts in. */
const ticksPerSecond = 100
const pageBytes = 4096

/** CPU time and resident memory of a process, from /proc. Rejects with `unreachable` when it is gone. */
export async function processUsage(files: Files, pid: number): Promise<{ cpuSeconds: number; rssMiB: number }> {
  try {
    const stat = await files.readText(`/proc/${pid}/stat`)
    const statm = await files.readText(`/proc/${pid}/statm`)
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const ticks = Number(fields[11]) + Number(fields[12])
    return { cpuSeconds: ticks / ticksPerSecond, rssMiB: Math.round((Number(statm.split(' ')[1]) * pageBytes) / MiB) }
  } catch (cause) {
    throw new HoldfastError('unreachable', `process ${pid} is gone`, {}, { cause })
  }
}
