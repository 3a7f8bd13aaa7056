/** QEMU's own words → MachineState. Pure. */
import type { MachineState } from './hypervisor.ts'

/** `query-migrate`, as far as it is used. */
export interface MigrateStatus {
  readonly status?: string
  readonly 'error-desc'?: string
  readonly 'total-time'?: number
  readonly downtime?: number
  readonly 'expected-downtime'?: number
  readonly 'socket-address'?: readonly { readonly type: string; readonly port?: string }[]
  readonly ram?: {
    readonly transferred: number
    readonly remaining: number
    readonly total: number
    readonly mbps: number
    readonly 'dirty-sync-count': number
    readonly 'dirty-pages-rate': number
    readonly 'page-size': number
  }
}

export interface Observation {
  /** `query-status`. */
  readonly status: string
  /** `query-migrate`'s status; `none` where there never was a migration. */
  readonly migration: string
  /** An incoming guest that nobody has let go yet (its `incoming.json` is there). */
  readonly isArriving: boolean
}

const inFlight = new Set([
  'setup',
  'active',
  'pre-switchover',
  'device',
  'postcopy-active',
  'postcopy-paused',
  'postcopy-recover',
  'postcopy-recover-setup',
  'cancelling',
  'wait-unplug',
])

export function machineState(seen: Observation): MachineState {
  switch (seen.status) {
    case 'running':
    case 'suspended':
      return inFlight.has(seen.migration) && !seen.isArriving ? 'outgoing' : 'running'
    case 'prelaunch':
      return 'prelaunch'
    case 'inmigrate':
      return seen.migration === 'failed' ? 'incoming-failed' : 'incoming'
    case 'finish-migrate':
      return 'outgoing'
    case 'postmigrate':
      // QEMU 7.2 also leaves a guest here that was paused before a migration failed.
      return seen.migration === 'completed' ? 'sent' : 'paused'
    case 'shutdown':
      return 'shutdown'
    case 'guest-panicked':
      return seen.isArriving || inFlight.has(seen.migration) ? 'failed' : 'panicked'
    case 'internal-error':
      return 'failed'
    default:
      return paused(seen)
  }
}

/** `paused`, `io-error`, `debug`, `save-vm`, `restore-vm`, `watchdog`, `colo`: no vCPU runs, and one may be let run. */
function paused(seen: Observation): MachineState {
  if (!seen.isArriving) return inFlight.has(seen.migration) ? 'outgoing' : 'paused'
  if (seen.migration === 'completed' || seen.migration === 'postcopy-active') return 'incoming-complete'
  return seen.migration === 'failed' ? 'incoming-failed' : 'incoming'
}
