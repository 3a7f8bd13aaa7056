/**
 * The blocks of memory that a guest's state is made of: its RAM, the screen's, each ROM, the tables that firmware reads.
 * QEMU names each, the same on every host that starts the same machine, and says where in its process it is.
 */
import { HoldfastError } from '../../base/errors.ts'
import { pageBytes } from '../../base/process-memory.ts'
import type { Qmp } from '../qmp.ts'

export interface RamBlock {
  /** `pc.ram`, `0000:00:02.0/vga.vram`, `/rom@etc/acpi/tables`. */
  readonly name: string
  /** What of it is in use now; some tables may grow. A multiple of the page. */
  readonly bytes: number
  /** What is reserved for it. */
  readonly mostBytes: number
  /** Where it is in QEMU's process. */
  readonly address: number
  /** The guest cannot write it; a reset does. */
  readonly isRom: boolean
}

const row =
  /^\s*(?<name>\S.*?)\s+\d+ [KMG]iB\s+0x\S+\s+(?<used>0x\S+)\s+(?<total>0x\S+)\s+(?<address>0x[0-9a-f]+)\s+(?<mode>ro|rw)$/

/** In QEMU's own order, which its migration stream has too. Throws `refused` before QEMU 8.1, which does not tell addresses. */
export async function ramBlocks(qmp: Qmp): Promise<RamBlock[]> {
  return parseRamBlocks(await qmp.execute<string>('human-monitor-command', { 'command-line': 'info ramblock' }))
}

export function parseRamBlocks(text: string): RamBlock[] {
  const lines = text
    .split(/\r?\n/)
    .slice(1)
    .filter((line) => line.trim() !== '')
  return lines.map((line) => {
    const { name, used, total, address, mode } = row.exec(line)?.groups ?? {}
    if (name === undefined || used === undefined || address === undefined) throw tooOld(line)
    const bytes = Number(used)
    if (bytes % pageBytes !== 0)
      throw new HoldfastError('internal', `the block ${name} has ${bytes} bytes, no whole pages`)
    return { name, bytes, mostBytes: Number(total), address: Number(address), isRom: mode === 'ro' }
  })
}

function tooOld(line: string): HoldfastError {
  return new HoldfastError('refused', 'this QEMU does not say where the memory of its guest is', {
    line,
    mend: 'Protection needs QEMU 8.1 or newer: install QEMU 10 (on Debian 12 from bookworm-backports), then restart the VM.',
  })
}
