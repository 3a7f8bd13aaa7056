/**
 * A host that is confirmed off runs nothing: the records of its VMs say so, and vm-power starts them elsewhere. Moves have
 * their own judge. Hosts that come back or go off for certain make waiting tasks look again.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { RunRecordStored } from '../store/records.ts'
import { transitionRun } from '../sagas/run-records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

export interface Fencing {
  readonly vm: VmId
  readonly generation: number
}

/** VMs whose record names a host that is confirmed off. Pure. */
export function planFencing(runs: readonly RunRecordStored[], states: ReadonlyMap<HostId, Host['state']>): Fencing[] {
  return runs.flatMap(({ id, run }) =>
    run.phase === 'running' && run.host !== null && states.get(run.host) === 'confirmed-off'
      ? [{ vm: id, generation: run.generation }]
      : [],
  )
}

export class ConfirmedOff implements Reconciler {
  readonly name = 'confirmed-off'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps
  #before = new Map<HostId, Host['state']>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { inventory, hosts } = this.#deps
    const states = new Map(inventory.list('host').map((host) => [host.id, hosts.stateOf(host)]))
    const hasNews = [...states].some(([id, state]) => state !== 'unreachable' && this.#before.get(id) !== state)
    this.#before = states
    if (hasNews) this.#deps.nudge()
    for (const { vm, generation } of planFencing(inventory.list('run'), states)) {
      await transitionRun(this.#deps, vm, { event: 'fenced' }, { generation })
    }
  }
}
