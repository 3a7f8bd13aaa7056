/**
 * A host that nobody could switch off, but whose lease is over: its round is closed, and what was armed in it is written down
 * as stopped, since the host's own watchdog has stopped it by then. Such VMs are started only where nobody has vouched for the
 * host. Whatever was not armed waits until the host is known to be off.
 */
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import { lossTermMs } from '../../contracts/host-lease.ts'
import { leftBehind, planClosing, planLeaving, type HostSilence, type LeftVm } from '../domain/host-promise.ts'
import { transitionRun } from '../sagas/run-records.ts'
import { commitChanges } from '../sagas/vm-records.ts'
import type { HostPromiseRecord, VmRecord } from '../store/records.ts'
import type { Change, Stored } from '../store/store.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

/** A manager that has stood still for longer was deaf meanwhile: whose silence it was is not known. */
const deafMs = 3000

export class LeaseLoss implements Reconciler {
  readonly name = 'lease-loss'
  readonly everyMs = 250
  readonly #deps: ReconcilerDeps
  #lookedAt: number
  /** Since when this manager has listened without a gap. */
  #listensSince: number
  /** Hosts that are being given up. */
  readonly #closing = new Set<HostId>()
  /** Host → the closed round of which nothing is left to be done. */
  readonly #done = new Map<HostId, number>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
    this.#lookedAt = this.#listensSince = deps.clock.monotonic()
  }

  async look(): Promise<void> {
    const { inventory } = this.#deps
    this.#noteGap()
    for (const host of this.#closing) await this.#settle(host)
    const promises = inventory.list('promise')
    if (promises.length === 0) return
    for (const { id, promise } of planClosing(promises, this.#silences())) await this.#close(id, promise.round)
    await this.#leaveAll(inventory.list('promise'))
  }

  #noteGap(): void {
    const now = this.#deps.clock.monotonic()
    if (now - this.#lookedAt > deafMs) this.#listensSince = now
    this.#lookedAt = now
  }

  #silences(): HostSilence[] {
    const { inventory, hosts, clock } = this.#deps
    const listensMs = clock.monotonic() - this.#listensSince
    return inventory.list('host').map((record) => ({
      ...{ host: record.id, state: hosts.stateOf(record), silentMs: Math.min(hosts.silentMs(record.id), listensMs) },
      vouchedFor: hosts.report(record.id)?.lease?.vouchedFor ?? [],
    }))
  }

  /** From before the commit until everybody here knows what came of it, nothing that the host says earns it a lease. */
  async #close(host: HostId, round: number): Promise<void> {
    const { inventory, hosts } = this.#deps
    const known = inventory.list('promise').find(({ id }) => id === host)
    if (known === undefined || !hosts.giveUpLease(host, lossTermMs(known.promise))) return
    this.#closing.add(host)
    await commitChanges(this.#deps, () => this.#closed(host, round))
    this.#deps.nudge()
  }

  async #closed(host: HostId, round: number) {
    const { store, hosts } = this.#deps
    const stored = await store.get('promise', host)
    if (stored === undefined || stored.value.isClosed || stored.value.promise.round !== round) return undefined
    // It may promise longer terms by now.
    if (hosts.silentMs(host) < lossTermMs(stored.value.promise)) return undefined
    const name = (await store.get('host', host))?.value.name ?? host
    const runs = (await store.list('run')).items.map((run) => run.value)
    const left = leftBehind(stored.value, runs)
    const value: HostPromiseRecord = { ...stored.value, isClosed: true, left }
    const change: Change = { do: 'update', kind: 'promise', value, expected: stored.revision }
    const event = {
      ...{ type: 'host.lease-over', subject: { kind: 'host', id: host, name }, task: null },
      message: `the lease of ${name} is over: what its watchdog stops may be started elsewhere`,
      data: { round, left: left.map(({ vm }) => vm) },
    }
    return { changes: [change], events: [event] }
  }

  /** Whether the commit was made may not be known; what the store says is. */
  async #settle(host: HostId): Promise<void> {
    const { store, inventory, hosts } = this.#deps
    const stored = (await store.get('promise', host))?.value
    const known = inventory.list('promise').find(({ id }) => id === host)
    if (stored?.isClosed === true && known?.isClosed !== true) return
    this.#closing.delete(host)
    hosts.keepLease(host)
  }

  async #leaveAll(promises: readonly HostPromiseRecord[]): Promise<void> {
    const open = promises.filter(({ id, promise, isClosed }) => isClosed && this.#done.get(id) !== promise.round)
    if (open.length === 0) return
    const plan = planLeaving(open, this.#deps.inventory.list('run'))
    for (const { host, left } of plan) {
      await this.#leave(host, left).catch((err: unknown) => {
        this.#deps.log.warn({ host, vm: left.vm, err: describeError(err) }, 'what was left behind is looked at again')
      })
    }
    for (const { id, promise } of open) if (!plan.some(({ host }) => host === id)) this.#done.set(id, promise.round)
  }

  /** The record moves only while the round is closed: its host may have begun another. */
  async #leave(host: HostId, { vm, generation }: LeftVm): Promise<void> {
    const { store } = this.#deps
    const promise = await store.get('promise', host)
    if (promise?.value.isClosed !== true) return
    const leftBy = { host, round: promise.value.promise.round }
    const alongside = async ({ value }: Stored<VmRecord>): Promise<{ vm: VmRecord; changes: Change[] }> => {
      const now = await store.get('promise', host)
      if (now?.value.isClosed !== true || now.value.promise.round !== leftBy.round)
        throw new HoldfastError('stale-generation', `${host} has begun another round of its lease`)
      return { vm: value, changes: [{ do: 'check', kind: 'promise', id: host, expected: now.revision }] }
    }
    const moved = await transitionRun(this.#deps, vm, { event: 'fenced', leftBy }, { generation, alongside })
    if (moved.ok) this.#deps.nudge()
  }
}
