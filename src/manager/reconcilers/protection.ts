/**
 * Keeps VMs protected that are to be: one that runs and has no second copy gets one, on whichever host can hold it; so
 * protection comes back on a third host after a takeover, or after the second was lost. With growing pauses where it does
 * not work, and once said why.
 */
import { describeError, toHoldfastError } from '../../base/errors.ts'
import type { TaskId, VmId } from '../../base/ids.ts'
import { protectOperation } from '../sagas/protection-operations.ts'
import { commitChanges } from '../sagas/vm-records.ts'
import type { RunRecordStored, VmRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

/** The pause after the nth attempt in a row that came to nothing, milliseconds; the last of them again and again. */
const pausesMs = [5_000, 15_000, 60_000, 300_000] as const

/** Attempts in a row that came to nothing: how many, and when the last one ended, by the clock that does not jump. */
export interface Misses {
  readonly count: number
  readonly at: number
}

/** VMs to be protected now. Pure. */
export function planProtecting(
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  misses: ReadonlyMap<VmId, Misses>,
  nowMs: number,
): VmId[] {
  const runOf = new Map(runs.map((stored) => [stored.id, stored.run]))
  return vms.flatMap((vm) => {
    const run = runOf.get(vm.id)
    if (vm.protection?.isWanted !== true || vm.operation !== null || vm.power !== 'on') return []
    if (run?.phase !== 'running' || run.protection) return []
    const missed = misses.get(vm.id)
    if (missed === undefined) return [vm.id]
    const pauseMs = pausesMs[Math.min(missed.count, pausesMs.length) - 1] ?? 0
    return nowMs - missed.at >= pauseMs ? [vm.id] : []
  })
}

export class ProtectionKeeper implements Reconciler {
  readonly name = 'protection'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps
  readonly #misses = new Map<VmId, Misses>()
  /** Attempts whose end is not known yet. */
  readonly #begun = new Map<VmId, TaskId>()
  /** What the attempts of each VM rest on: hosts that answer, and those that may hold a former copy. */
  readonly #grounds = new Map<VmId, string>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { inventory, clock } = this.#deps
    await this.#learn()
    this.#hopeAnew()
    const due = planProtecting(inventory.list('vm'), inventory.list('run'), this.#misses, clock.monotonic())
    for (const vm of due) if (!this.#begun.has(vm)) await this.#protect(vm)
  }

  /** Where a host has come back, or has said that it holds nothing any more, the pauses begin anew. */
  #hopeAnew(): void {
    const { inventory, hosts } = this.#deps
    const connected = inventory.list('host').filter((host) => hosts.stateOf(host) === 'connected')
    for (const { id, protection } of inventory.list('vm')) {
      if (!this.#misses.has(id)) continue
      const grounds = JSON.stringify([connected.map((host) => [host.id, host.maintenance]), protection?.former])
      if (this.#grounds.get(id) !== grounds) this.#misses.delete(id)
      this.#grounds.set(id, grounds)
    }
  }

  /** Takes down what became of the attempts that were begun. */
  async #learn(): Promise<void> {
    for (const [vm, task] of this.#begun) {
      const record = (await this.#deps.store.get('task', task))?.value
      if (record !== undefined && record.ended === null) continue
      this.#begun.delete(vm)
      if (record?.state === 'done') this.#misses.delete(vm)
      else await this.#missed(vm, record?.problem?.detail ?? 'the attempt was called off')
    }
  }

  async #protect(vm: VmId): Promise<void> {
    const wish = { host: null, settings: null }
    try {
      this.#begun.set(vm, await this.#deps.begin('reconciler/protection', () => protectOperation(this.#deps, vm, wish)))
    } catch (thrown) {
      const { code } = toHoldfastError(thrown)
      if (code === 'refused') return this.#missed(vm, describeError(thrown))
      // Another operation was faster, or it has stopped: the next look sees it.
      if (code !== 'operation-in-progress' && code !== 'wrong-state' && code !== 'not-found') throw thrown
    }
  }

  async #missed(vm: VmId, reason: string): Promise<void> {
    const count = (this.#misses.get(vm)?.count ?? 0) + 1
    this.#misses.set(vm, { count, at: this.#deps.clock.monotonic() })
    await sayWhy(this.#deps, vm, reason)
  }
}

/** Puts the reason into the VM's record, with an event when it is another one than before. */
async function sayWhy(deps: ReconcilerDeps, vm: VmId, reason: string): Promise<void> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('vm', vm)
    const protection = stored?.value.protection
    if (stored === undefined || protection?.isWanted !== true || protection.second !== null) return undefined
    if (protection.reason === reason) return undefined
    const { id, name } = stored.value
    const event: NewEvent = {
      ...{ type: 'vm.protection-waiting', subject: { kind: 'vm', id, name }, task: null, data: { reason } },
      message: `${name} has no second copy: ${reason}`,
    }
    const value: VmRecord = { ...stored.value, protection: { ...protection, reason } }
    return { changes: [{ do: 'update', kind: 'vm', value, expected: stored.revision }], events: [event] }
  })
}
