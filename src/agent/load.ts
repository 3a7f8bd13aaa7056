/** How busy this host is. The share of CPU is since the last time it was asked. */
import type { Files } from '../base/files.ts'
import type { Static } from '../contracts/schema.ts'
import { HostLoad } from '../contracts/host.ts'
import { meminfoKiB } from './facts.ts'

interface CpuTime {
  readonly busy: number
  readonly total: number
}

export class LoadMeter {
  readonly #files: Files
  #last: CpuTime = { busy: 0, total: 0 }

  constructor(files: Files) {
    this.#files = files
  }

  async read(): Promise<Static<typeof HostLoad>> {
    const [loadavg, stat, meminfo] = await Promise.all([
      this.#files.readText('/proc/loadavg'),
      this.#files.readText('/proc/stat'),
      this.#files.readText('/proc/meminfo'),
    ])
    const now = cpuTime(stat)
    const elapsed = now.total - this.#last.total
    const cpuUsed = elapsed <= 0 ? 0 : Math.min(1, Math.max(0, (now.busy - this.#last.busy) / elapsed))
    this.#last = now
    const usedKiB = meminfoKiB(meminfo, 'MemTotal') - meminfoKiB(meminfo, 'MemAvailable')
    return { load1: Number(loadavg.split(' ')[0]), cpuUsed, memoryUsedMiB: Math.round(usedKiB / 1024) }
  }
}

/** The `cpu` line of /proc/stat: user nice system idle iowait irq softirq steal …, in ticks. */
export function cpuTime(stat: string): CpuTime {
  const ticks = (/^cpu +(.*)$/m.exec(stat)?.[1] ?? '').split(' ').slice(0, 8).map(Number)
  const total = ticks.reduce((sum, value) => sum + value, 0)
  return { total, busy: total - (ticks[3] ?? 0) - (ticks[4] ?? 0) }
}
