/** QMP events → MachineEvents, but for `state`, which is always asked anew. Pure. */
import type { MachineEvent } from './hypervisor.ts'
import type { QmpEvent } from './qmp.ts'

/** Events after which QEMU may stand elsewhere. */
const changing = new Set([
  'STOP',
  'RESUME',
  'SHUTDOWN',
  'MIGRATION',
  'GUEST_PANICKED',
  'GUEST_CRASHLOADED',
  'SUSPEND',
  'WAKEUP',
  'RESET',
  'BLOCK_IO_ERROR',
])

export function mayChangeState(event: QmpEvent): boolean {
  return changing.has(event.event)
}

export function machineEvent({ event, data }: QmpEvent): MachineEvent | undefined {
  switch (event) {
    case 'SHUTDOWN':
      return { kind: 'shutdown', byGuest: data['guest'] === true }
    case 'RESET':
      return { kind: 'reset', byGuest: data['guest'] === true }
    case 'BLOCK_IO_ERROR':
      return {
        kind: 'io-error',
        diskKey: diskKeyOf(data['device']) ?? diskKeyOf(data['qom-path']) ?? diskKeyOf(data['node-name']),
        isNoSpace: data['nospace'] === true,
        isWrite: data['operation'] === 'write',
      }
    default:
      return undefined
  }
}

/** The key in a device id, QOM path or node name (`disk-3`, `/machine/peripheral/disk-3/…`, `disk-3-moved-1`). */
export function diskKeyOf(name: unknown): number | null {
  if (typeof name !== 'string') return null
  const match = /(?:^|\/)disk-([0-9]+)(?:$|[-/])/.exec(name)
  return match === null ? null : Number(match[1])
}
