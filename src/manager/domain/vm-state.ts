/** A VM's state for people, from what should be, what the record says, and what its host sees. */
import type { VmObservation } from '../../contracts/host.ts'
import type { VmState } from '../../contracts/inventory.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { HostState } from './cluster-view.ts'

export interface VmSight {
  readonly power: 'on' | 'off'
  readonly run: RunRecord
  /** State of the record's host; null when the record names none. */
  readonly host: HostState | null
  /** The newest word of the record's host on this VM, while that host is connected. */
  readonly observation: VmObservation | null
  /** Why it is not started again by itself, in words; null or absent: nothing is known of that. */
  readonly restartWait?: string | null
  /** The open task that holds the VM: the saga's name without its version, and its state. */
  readonly operation: { readonly saga: string; readonly state: string; readonly problem: string | null } | null
}

export interface VmShown {
  readonly state: VmState
  readonly problem: string | null
}

const stopProblems: Partial<Record<NonNullable<RunRecord['cause']>, string>> = {
  crashed: 'QEMU ended without being asked',
  'start-failed': 'the last start failed',
  'host-lost': 'its host was lost',
  'lost-in-move': 'its memory was lost while it moved',
}

/** What people are shown. Total over all records. */
export function vmState(sight: VmSight): VmShown {
  const { operation } = sight
  if (operation?.state === 'stuck') return { state: 'stuck', problem: operation.problem ?? 'its task is stuck' }
  switch (sight.run.phase) {
    case 'unknown':
      return {
        state: 'unknown',
        problem: 'the inventory was restored, and no host has said yet whether it runs this VM',
      }
    case 'moving':
      return { state: 'migrating', problem: null }
    case 'stopped':
      return stopped(sight)
    case 'running':
      return running(sight)
  }
}

function stopped({ run, operation, power, restartWait = null }: VmSight): VmShown {
  if (operation?.saga === 'vm.start' && operation.state === 'running') return { state: 'starting', problem: null }
  const cause = run.cause === null ? null : (stopProblems[run.cause] ?? null)
  const problem = cause === null || restartWait === null ? cause : `${cause}; ${restartWait}`
  return { state: 'stopped', problem: power === 'on' || run.cause === 'start-failed' ? problem : null }
}

function running({ host, observation, operation }: VmSight): VmShown {
  if (host === 'confirmed-off') return { state: 'unknown', problem: 'its host is confirmed off' }
  if (host !== 'connected') return { state: 'unknown', problem: 'its host is out of reach' }
  const isStopping = operation?.saga === 'vm.stop' || operation?.saga === 'vm.shutdown'
  if (isStopping) return { state: 'stopping', problem: null }
  switch (observation?.process) {
    case 'paused':
      return observation.outOfSpace
        ? { state: 'paused', problem: 'its datastore is full: free some space, then resume it' }
        : { state: 'paused', problem: observation.problem }
    case 'failed':
      return { state: 'stuck', problem: observation.problem ?? 'QEMU cannot go on: power it off' }
    default:
      return { state: 'running', problem: observation?.problem ?? null }
  }
}
