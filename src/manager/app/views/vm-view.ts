/** A VM as the API shows it: what should be, what the run record says, and what its host sees. */
import type { VmObservation } from '../../../contracts/host.ts'
import type { Vm } from '../../../contracts/inventory.ts'
import type { RunRecord } from '../../../contracts/run-record.ts'
import type { HostState } from '../../domain/cluster-view.ts'
import { protectionState } from '../../domain/protection-state.ts'
import { priorityOf } from '../../domain/restart-order.ts'
import { vmState } from '../../domain/vm-state.ts'
import type { TaskRecord, VmRecord } from '../../store/records.ts'
import { objectView } from './object-view.ts'

/** All that a view is made of, and nothing else: the same parts make the same view. */
export interface VmParts {
  readonly vm: VmRecord
  readonly revision: number
  readonly run: RunRecord
  /** Of the record's host. */
  readonly hostName: string | null
  readonly hostState: HostState | null
  /** The newest word of that host on the VM, while it is connected. */
  readonly observation: VmObservation | undefined
  /** Names of the second's host and of who decides; null while the record names none. */
  readonly secondName: string | null
  readonly arbiterName: string | null
  /** Of the second's host and of the host that decides; null where there is none. */
  readonly secondState: HostState | null
  readonly arbiterState: HostState | null
  /** The newest word of the second's host on the VM, while it is connected. */
  readonly secondObservation: VmObservation | undefined
  /** The task that holds it. */
  readonly task: TaskRecord | undefined
}

export function vmView(parts: VmParts): Vm {
  const { vm, run, hostState, observation, task } = parts
  const operation = task === undefined ? null : operationOf(task)
  const sight = { power: vm.power, run, host: hostState, observation: observation ?? null, operation }
  const shown = vmState({ ...sight, restartWait: restartWaitOf(vm, run) })
  const isHere = run.phase === 'running' || run.phase === 'moving'
  return {
    ...objectView(vm, parts.revision),
    description: vm.description,
    project: vm.project,
    pool: vm.pool,
    folder: vm.folder,
    power: vm.power,
    state: shown.state,
    host: parts.hostName,
    hostId: run.host,
    addresses: vm.spec.nics.flatMap((nic) => (nic.address === null ? [] : [nic.address])),
    spec: vm.spec,
    policies: vm.policies,
    ...(vm.dependsOn === undefined ? {} : { dependsOn: [...vm.dependsOn] }),
    run,
    protection: protectionState({
      isWanted: vm.protection?.isWanted ?? false,
      reason: vm.protection?.reason ?? null,
      run,
      host: hostState,
      second: parts.secondName ?? '',
      arbiter: parts.arbiterName ?? '',
      secondState: parts.secondState,
      arbiterState: parts.arbiterState,
      primarySees: observation?.protection ?? null,
      secondSees: parts.secondObservation?.protection ?? null,
    }),
    operation: vm.operation,
    problem: shown.problem,
    ...(isHere && observation?.guest !== undefined ? { guest: observation.guest } : {}),
    usage:
      isHere && observation !== undefined
        ? { cpuSeconds: observation.cpuSeconds, rssMiB: observation.rssMiB, startedAt: observation.startedAt }
        : null,
  }
}

function restartWaitOf(vm: VmRecord, run: RunRecord): string | null {
  if (vm.power === 'off') return null
  if (vm.restartWait) return vm.restartWait.why
  const isHostGone = run.cause === 'host-lost' || run.cause === 'lost-in-move'
  if (!isHostGone || priorityOf(vm.policies) !== 'disabled') return null
  return 'its restart priority is disabled, so nobody starts it again by itself'
}

function operationOf(task: TaskRecord): { saga: string; state: string; problem: string | null } {
  return { saga: sagaName(task.saga), state: task.state, problem: task.problem?.detail ?? null }
}

/** `vm.migrate` for `vm.migrate/1`. */
export function sagaName(versioned: string): string {
  const slash = versioned.lastIndexOf('/')
  return slash < 0 ? versioned : versioned.slice(0, slash)
}
