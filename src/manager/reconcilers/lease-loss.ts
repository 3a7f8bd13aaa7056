/**
 * A host that nobody could switch off, but whose lease is over: its round is closed, and what was armed in it is written down
 * as stopped, since the host's own watchdog has stopped it by then. Such VMs are started only where nobody has vouched for the
 * host. Whatever was not armed waits until the host is known to be off.
 */
import type { HostId } from '../../base/ids.ts'
import { lossTermMs } from '../../contracts/host-lease.ts'
import { leftBehind, planClosing, planLeaving, type LeftVm } from '../domain/host-promise.ts'
import { transitionRun } from '../sagas/run-records.ts'
import { commitChanges } from '../sagas/vm-records.ts'
import type { HostPromiseRecord, VmRecord } from '../store/records.ts'
import type { Change, Stored } from '../store/store.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

export class LeaseLoss implements Reconciler {
  readonly name = 'lease-loss'
  readonly everyMs = 250
  readonly #deps: ReconcilerDeps

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { inventory, hosts } = this.#deps
    const promises = inventory.list('promise')
    if (promises.length === 0) return
    const records = inventory.list('host')
    const silences = records.map((record) => ({
      ...{ host: record.id, state: hosts.stateOf(record), silentMs: hosts.silentMs(record.id) },
      vouchedFor: hosts.report(record.id)?.lease?.vouchedFor ?? [],
    }))
    for (const { id, promise } of planClosing(promises, silences)) await this.#close(id, promise.round)
    for (const { host, left } of planLeaving(inventory.list('promise'), inventory.list('run')))
      await this.#leave(host, left)
  }

  async #close(host: HostId, round: number): Promise<void> {
    const { store, hosts } = this.#deps
    const closed = new Set<HostId>()
    await commitChanges(this.#deps, async () => {
      closed.clear()
      const stored = await store.get('promise', host)
      const record = await store.get('host', host)
      if (stored === undefined || stored.value.isClosed || stored.value.promise.round !== round) return undefined
      // It may have been heard while others were asked.
      if (record !== undefined && hosts.silentMs(host) < lossTermMs(stored.value.promise)) return undefined
      closed.add(host)
      const runs = (await store.list('run')).items.map((run) => run.value)
      const left = leftBehind(stored.value, runs)
      const value: HostPromiseRecord = { ...stored.value, isClosed: true, left }
      const name = record?.value.name ?? host
      const event = {
        ...{ type: 'host.lease-over', subject: { kind: 'host', id: host, name }, task: null },
        message: `the lease of ${name} is over: what its watchdog stops may be started elsewhere`,
        data: { round, left: left.map(({ vm }) => vm) },
      }
      return { changes: [{ do: 'update', kind: 'promise', value, expected: stored.revision }], events: [event] }
    })
    if (closed.size > 0) this.#deps.nudge()
  }

  /** The record moves only while the round is closed: its host may have begun another. */
  async #leave(host: HostId, { vm, generation }: LeftVm): Promise<void> {
    const promise = await this.#deps.store.get('promise', host)
    if (promise?.value.isClosed !== true) return
    const leftBy = { host, round: promise.value.promise.round }
    const check: Change = { do: 'check', kind: 'promise', id: host, expected: promise.revision }
    const alongside = async ({ value }: Stored<VmRecord>): Promise<{ vm: VmRecord; changes: Change[] }> => ({
      ...{ vm: value, changes: [check] },
    })
    const moved = await transitionRun(this.#deps, vm, { event: 'fenced', leftBy }, { generation, alongside })
    if (moved.ok) this.#deps.nudge()
  }
}
