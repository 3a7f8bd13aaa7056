/**
 * Starts a VM again that stopped without being asked: its intent is `on`, its policy allows it, and the record says that
 * it crashed, that its host was lost, or that its memory was lost in a move. With growing pauses, and a bound per hour: a
 * guest that keeps crashing is left alone. A start that found no host says nothing of the guest, and counts for nothing: it
 * is tried again until there is one.
 */
import type { TaskId, VmId } from '../../base/ids.ts'
import type { StopCause } from '../../contracts/run-record.ts'
import type { RunRecordStored, VmRecord } from '../store/records.ts'
import { describeError, toHoldfastError } from '../../base/errors.ts'
import { startOperation } from '../sagas/vm-operations.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'

const restarting: ReadonlySet<StopCause> = new Set(['crashed', 'host-lost', 'lost-in-move'])

/** The pause after the nth restart within the hour, milliseconds: the first is at once. */
const pausesMs = [0, 10_000, 30_000, 120_000, 600_000] as const
const hourMs = 3_600_000

/** The pause after the nth start in a row that came to nothing; the last of them again and again. */
const missPausesMs = [2_000, 5_000, 15_000, 30_000] as const

/** Starts of one VM by this reconciler; times are of the clock that does not jump. */
export interface StartHistory {
  /** Those that came to run the VM. */
  readonly restarts: readonly number[]
  /** Those since then that did not. */
  readonly misses: readonly number[]
}

export type RestartHistory = ReadonlyMap<VmId, StartHistory>

const noHistory: StartHistory = { restarts: [], misses: [] }

export interface PowerPlan {
  /** To be started now. */
  readonly start: readonly VmId[]
  /** Restarted too often within the hour: they wait until it is over. */
  readonly exhausted: readonly VmId[]
}

/** What to start now. Pure. */
export function planPower(
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  history: RestartHistory,
  nowMs: number,
): PowerPlan {
  const runOf = new Map(runs.map((stored) => [stored.id, stored.run]))
  const start: VmId[] = []
  const exhausted: VmId[] = []
  for (const vm of vms) {
    const run = runOf.get(vm.id)
    if (vm.power !== 'on' || vm.operation !== null || vm.policies.restart !== 'on-failure') continue
    if (run?.phase !== 'stopped' || run.cause === null || !restarting.has(run.cause)) continue
    const { restarts, misses } = history.get(vm.id) ?? noHistory
    const recent = restarts.filter((at) => nowMs - at < hourMs)
    const pauseMs = pausesMs[recent.length]
    const missPauseMs = missPausesMs[Math.min(misses.length, missPausesMs.length) - 1] ?? 0
    const isDue =
      nowMs - (recent.at(-1) ?? -Infinity) >= (pauseMs ?? 0) && nowMs - (misses.at(-1) ?? -Infinity) >= missPauseMs
    if (pauseMs === undefined) exhausted.push(vm.id)
    else if (isDue) start.push(vm.id)
  }
  return { start, exhausted }
}

export class VmPower implements Reconciler {
  readonly name = 'vm-power'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps
  readonly #history = new Map<VmId, StartHistory>()
  /** Starts whose end is not known yet. */
  readonly #begun = new Map<VmId, { readonly task: TaskId; readonly at: number }>()
  readonly #told = new Set<VmId>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { inventory, clock } = this.#deps
    const now = clock.monotonic()
    await this.#learn(now)
    const plan = planPower(inventory.list('vm'), inventory.list('run'), this.#history, now)
    for (const vm of plan.start) await this.#start(vm, now)
    for (const vm of plan.exhausted) await this.#tellExhausted(vm)
  }

  /** Takes down what became of the starts that were begun. */
  async #learn(now: number): Promise<void> {
    for (const [vm, { task, at }] of this.#begun) {
      const record = (await this.#deps.store.get('task', task))?.value
      if (record !== undefined && record.ended === null) continue
      this.#begun.delete(vm)
      const { restarts, misses } = this.#history.get(vm) ?? noHistory
      const recent = restarts.filter((each) => now - each < hourMs)
      // What nobody knows any more counts as a restart: the bound is there to protect.
      const isMiss = record !== undefined && record.state !== 'done'
      // A miss is paused after its end: an attempt may have taken long.
      this.#history.set(
        vm,
        isMiss
          ? { restarts: recent, misses: [...misses, now].slice(-missPausesMs.length) }
          : { restarts: [...recent, at], misses: [] },
      )
    }
  }

  async #start(vm: VmId, now: number): Promise<void> {
    try {
      const task = await this.#deps.begin('reconciler/vm-power', () => startOperation(this.#deps, vm, null))
      this.#told.delete(vm)
      this.#begun.set(vm, { task, at: now })
    } catch (thrown) {
      // Another operation was faster, or it runs already: the next look sees it.
      const { code } = toHoldfastError(thrown)
      if (code !== 'operation-in-progress' && code !== 'wrong-state' && code !== 'not-found') throw thrown
      this.#deps.log.debug({ vm, reason: describeError(thrown) }, 'a restart was not begun')
    }
  }

  async #tellExhausted(vm: VmId): Promise<void> {
    if (this.#told.has(vm)) return
    this.#told.add(vm)
    const record = this.#deps.inventory.list('vm').find((each) => each.id === vm)
    if (record === undefined) return
    const message = `${record.name} stopped ${pausesMs.length} times within an hour; it is not started again for a while`
    const subject = { kind: 'vm', id: vm, name: record.name }
    await this.#deps.store.commit({
      changes: [],
      events: [{ type: 'vm.restart-paused', subject, message, task: null, data: {} }],
    })
  }
}
