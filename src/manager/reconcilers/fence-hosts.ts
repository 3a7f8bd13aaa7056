/** Begins the fencing of lost hosts (domain/fence-plan.ts says which). What was begun goes on as a task of its own. */
import { describeError, toHoldfastError } from '../../base/errors.ts'
import { idNumber, type HostId, type TaskId } from '../../base/ids.ts'
import {
  heldWords,
  holdsVms,
  isLost,
  markOf,
  planFence,
  withUsual,
  type FenceCandidate,
  type FencingTask,
  type HeldReason,
} from '../domain/fence-plan.ts'
import type { FenceDeps } from '../sagas/fence-deps.ts'
import { hostEvent } from '../sagas/fence-records.ts'
import { fenceHostSaga, fenceOperation } from '../sagas/host-fence.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HostRecord, Records, TaskRecord } from '../store/records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

export interface FenceReconcilerDeps extends Pick<ReconcilerDeps, 'begin'>, FenceDeps {
  readonly inventory: {
    list<K extends 'host' | 'run' | 'task' | 'cluster'>(kind: K): readonly Records[K][]
  }
}

/** After a fencing that came to nothing, the nth in a row. A person who cancels one means it for a while. */
const pausesMs = [10_000, 30_000, 120_000, 300_000] as const
const cancelledMs = 600_000
/** A reason that passes by itself within this is none to tell. */
const tellAfterMs = 10_000

/** Until when a host is let be after its last fencing, the `count`th in a row that came to nothing. */
interface Pause {
  readonly task: string
  readonly count: number
  readonly until: number
}

export class FenceHosts implements Reconciler {
  readonly name = 'fence-hosts'
  readonly everyMs = 250
  readonly #deps: FenceReconcilerDeps
  /** When this manager began, or took the lead: nobody counts as silent for longer. */
  readonly #since: number
  readonly #paused = new Map<HostId, Pause>()
  /** Begun, and not in the inventory yet: it counts as running all the same. */
  readonly #begun = new Map<HostId, TaskId>()
  readonly #held = new Map<HostId, { readonly reason: HeldReason; readonly since: number; readonly isTold: boolean }>()

  constructor(deps: FenceReconcilerDeps) {
    this.#deps = deps
    this.#since = deps.clock.monotonic()
  }

  async look(): Promise<void> {
    const { inventory, clock } = this.#deps
    const records = inventory.list('host')
    if (!records.some(({ fence }) => fence != null)) return
    const settings = withUsual(inventory.list('cluster')[0]?.fencing)
    const hosts = records.map((record) => this.#candidate(record))
    if (!hosts.some((host) => isLost(host, settings))) return this.#held.clear()
    const tasks = inventory.list('task').filter(({ saga }) => saga === fenceHostSaga.name)
    for (const task of tasks) this.#learn(task)
    for (const [host, id] of this.#begun) if (tasks.some((task) => task.id === id)) this.#begun.delete(host)
    const begun = [...this.#begun.keys()].map((host): FencingTask => ({ host, endedAgoMs: null, ageMs: 0 }))
    const now = clock.monotonic()
    const paused = new Set([...this.#paused].flatMap(([id, { until }]) => (until > now ? [id] : [])))
    const plan = planFence(hosts, [...tasks.map((task) => this.#taskOf(task)), ...begun], settings, paused)
    for (const id of plan.fence) await this.#begin(id)
    await this.#tellHeld(plan.held, now)
  }

  #candidate(record: HostRecord): FenceCandidate {
    const { hosts, clock, inventory } = this.#deps
    return {
      id: record.id,
      isKnown: record.facts !== null,
      silentMs: Math.min(hosts.silentMs(record.id), clock.monotonic() - this.#since),
      steadyMs: hosts.steadyMs(record.id),
      hasDevices: (record.fence?.levels.length ?? 0) > 0,
      isConfirmedOff: record.confirmedOff,
      isIdle: record.maintenance === 'on' && !holdsVms(record.id, inventory.list('run')),
    }
  }

  #taskOf({ target, ended, created }: TaskRecord): FencingTask {
    // By the wall clock, as this must outlive a manager; a clock that jumps makes it a wrong bound for ten minutes.
    const now = this.#deps.clock.now()
    return {
      host: (target?.id ?? '') as HostId,
      endedAgoMs: ended === null ? null : now - Date.parse(ended),
      ageMs: now - Date.parse(created),
    }
  }

  #learn({ id, target, state, ended }: TaskRecord): void {
    const host = target?.id as HostId | undefined
    if (host === undefined || ended === null) return
    const before = this.#paused.get(host)
    if (before !== undefined && idNumber(before.task) >= idNumber(id)) return
    const count = state === 'failed' ? (before?.count ?? 0) + 1 : 0
    const pauseMs = state === 'cancelled' ? cancelledMs : (pausesMs[Math.min(count, pausesMs.length) - 1] ?? 0)
    // By the wall clock, as this must outlive a manager; one that was put back makes no pause longer.
    const leftMs = Math.min(pauseMs, pauseMs - (this.#deps.clock.now() - Date.parse(ended)))
    this.#paused.set(host, { task: id, count, until: this.#deps.clock.monotonic() + leftMs })
  }

  async #begin(id: HostId): Promise<void> {
    const { store, hosts, begin, log } = this.#deps
    try {
      const task = await begin('reconciler/fence-hosts', async () => {
        const stored = await store.get('host', id)
        if (stored === undefined) throw new HoldfastError('not-found', `there is no host ${id}`)
        const mark = markOf(hosts.report(id))
        const then = stored.value.fence?.then ?? 'on'
        return fenceOperation(stored, { isForced: false, isAutomatic: true, then, mark })
      })
      this.#begun.set(id, task)
    } catch (thrown) {
      const { code } = toHoldfastError(thrown)
      if (code !== 'wrong-state' && code !== 'not-found' && code !== 'conflict') throw thrown
      log.debug({ host: id, reason: describeError(thrown) }, 'a fencing was not begun')
    }
  }

  async #tellHeld(held: readonly { host: HostId; reason: HeldReason }[], now: number): Promise<void> {
    for (const id of this.#held.keys()) if (!held.some(({ host }) => host === id)) this.#held.delete(id)
    for (const { host, reason } of held) {
      const before = this.#held.get(host)
      if (before?.reason !== reason) {
        this.#held.set(host, { reason, since: now, isTold: false })
      } else if (!before.isTold && now - before.since >= tellAfterMs) {
        this.#held.set(host, { ...before, isTold: true })
        await this.#tell(host, reason)
      }
    }
  }

  async #tell(id: HostId, reason: HeldReason): Promise<void> {
    const { inventory, store } = this.#deps
    const record = inventory.list('host').find((each) => each.id === id)
    if (record === undefined) return
    const words = `${record.name} is lost and is not fenced now: ${heldWords[reason]} (docs/runbooks/fence-failing.md)`
    await store.commit({ changes: [], events: [hostEvent('host.fence-held', record, words, null, { reason })] })
  }
}
