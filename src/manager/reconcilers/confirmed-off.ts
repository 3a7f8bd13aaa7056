/**
 * A host that is confirmed off runs nothing: the records of its VMs say so, and vm-power starts them elsewhere. Moves have
 * their own judge. A VM that is held in step on two hosts goes on by itself on its second; only where both are off, or the
 * second has lost its copy, its arbiter is asked here whose copy is the VM's. Hosts that come back or go off for certain make
 * waiting tasks look again.
 */
import { describeError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { planFencingOf, type Fencing } from '../domain/protection-fencing.ts'
import { transitionRun } from '../sagas/run-records.ts'
import { whoseCopy } from '../sagas/settling.ts'
import type { RunRecordStored } from '../store/records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

export interface FencingOfVm {
  readonly vm: VmId
  readonly generation: number
  readonly run: RunRecord
  readonly fencing: Exclude<Fencing, { is: 'wait' }>
}

/** VMs whose record names a host that is confirmed off, and what is to be done about each. Pure. */
export function planFencing(
  runs: readonly RunRecordStored[],
  states: ReadonlyMap<HostId, Host['state']>,
  sees: (host: HostId, vm: VmId) => VmObservation | null | undefined,
): FencingOfVm[] {
  return runs.flatMap(({ id, run }) => {
    if (run.host === null) return []
    const { protection = null } = run
    const second = protection === null ? undefined : protection.second
    const word = second === undefined ? undefined : sees(second, id)
    const fencing = planFencingOf(run, states.get(run.host), second && states.get(second), word)
    return fencing.is === 'wait' ? [] : [{ vm: id, generation: run.generation, run, fencing }]
  })
}

export class ConfirmedOff implements Reconciler {
  readonly name = 'confirmed-off'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps
  /** Arbiters are not asked at every look, and people are told once of each pair that cannot be settled. */
  readonly #asking: RepeatLimit<string>
  readonly #told = new Map<VmId, string>()
  #before = new Map<HostId, Host['state']>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
    this.#asking = new RepeatLimit(deps.clock, 5_000)
  }

  async look(): Promise<void> {
    const { inventory, hosts } = this.#deps
    const states = new Map(inventory.list('host').map((host) => [host.id, hosts.stateOf(host)]))
    const hasNews = [...states].some(([id, state]) => state !== 'unreachable' && this.#before.get(id) !== state)
    this.#before = states
    if (hasNews) this.#deps.nudge()
    const sees = (host: HostId, vm: VmId): VmObservation | null | undefined => {
      const report = hosts.report(host)
      return report === undefined ? undefined : (report.vms.find((each) => each.vm === vm) ?? null)
    }
    for (const each of planFencing(inventory.list('run'), states, sees)) await this.#carryOut(each)
  }

  async #carryOut({ vm, generation, run, fencing }: FencingOfVm): Promise<void> {
    if (fencing.is === 'fence') {
      await transitionRun(this.#deps, vm, { event: 'fenced' }, { generation })
      return
    }
    if (!this.#asking.take(`${vm}/${generation}`)) return
    try {
      await this.#settle(run, fencing)
    } catch (thrown) {
      if (!toHoldfastError(thrown).isUnknown) throw thrown
      await this.#tell(run, describeError(thrown))
    }
  }

  async #settle(run: RunRecord, fencing: Extract<Fencing, { is: 'claim' | 'discard-and-claim' }>): Promise<void> {
    const { vm, protection, generation } = run
    if (!protection) return
    const settled = await whoseCopy(this.#deps, run, fencing)
    switch (settled.is) {
      case 'wait':
        return
      case 'unknown':
        return this.#tell(run, settled.why)
      case 'primary':
        await transitionRun(this.#deps, vm, { event: 'fenced', isSettled: true }, { generation })
        return
      case 'second':
        // It had won, and has lost its guest since: what it wrote is the VM's all the same, and the record says so in its
        // name, since it may never come to it. Then it is found down like any other.
        await transitionRun(this.#deps, vm, { event: 'took-over', by: protection.second }, { generation })
    }
  }

  async #tell({ vm }: RunRecord, why: string): Promise<void> {
    if (this.#told.get(vm) === why) return
    this.#told.set(vm, why)
    const record = this.#deps.inventory.list('vm').find((each) => each.id === vm)
    if (record === undefined) return
    const message = `nobody can say yet which copy of ${record.name} is the newest: ${why} (docs/runbooks/protection-stuck.md)`
    const subject = { kind: 'vm', id: vm, name: record.name }
    const event = { type: 'vm.protection-undecided', subject, message, task: null, data: {} }
    await this.#deps.store.commit({ changes: [], events: [event] })
  }
}
