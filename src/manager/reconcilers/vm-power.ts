/**
 * Starts a VM again that stopped without being asked: its intent is `on`, its policies allow it, and the record says that
 * it crashed, that its host was lost, or that its memory was lost in a move. In which order, where, and what waits for what
 * is the plan's to say (domain/restart-plan.ts). With growing pauses, and a bound per hour: a guest that keeps crashing is
 * left alone. A start that found no host says nothing of the guest, and counts for nothing: it is tried again until there
 * is one.
 */
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import { describeError, toHoldfastError } from '../../base/errors.ts'
import { defaultRestartSettings } from '../../contracts/restart-words.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { isToRestart } from '../domain/restart-order.ts'
import { mostRestarts, restartPauseMs } from '../domain/restart-pauses.ts'
import { planRestarts, type RestartPlan } from '../domain/restart-plan.ts'
import type { RestartWait, RunRecordStored, VmRecord } from '../store/records.ts'
import { startOperation } from '../sagas/vm-operations.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { ReadyProbes } from './ready-probes.ts'
import { RestartWaits } from './restart-waits.ts'
import { StateTimes } from './state-times.ts'

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
  /** To be started now, as far as their own history goes. */
  readonly start: readonly VmId[]
  /** Between two attempts. */
  readonly pausing: readonly VmId[]
  /** Restarted too often within the hour: they wait until it is over. */
  readonly exhausted: readonly VmId[]
}

/** What its own history lets be started now. Pure. */
export function planPower(
  vms: readonly VmRecord[],
  runs: readonly RunRecordStored[],
  history: RestartHistory,
  nowMs: number,
): PowerPlan {
  const runOf = new Map(runs.map((stored) => [stored.id, stored.run]))
  const start: VmId[] = []
  const pausing: VmId[] = []
  const exhausted: VmId[] = []
  for (const vm of vms) {
    const run = runOf.get(vm.id)
    if (vm.operation !== null || !isToRestart(vm, run)) continue
    const { restarts, misses } = history.get(vm.id) ?? noHistory
    const recent = restarts.filter((at) => nowMs - at < hourMs)
    const pauseMs = restartPauseMs(run?.cause, recent.length)
    const missPauseMs = missPausesMs[Math.min(misses.length, missPausesMs.length) - 1] ?? 0
    const isDue =
      nowMs - (recent.at(-1) ?? -Infinity) >= (pauseMs ?? 0) && nowMs - (misses.at(-1) ?? -Infinity) >= missPauseMs
    if (pauseMs === undefined) exhausted.push(vm.id)
    else if (isDue) start.push(vm.id)
    else pausing.push(vm.id)
  }
  return { start, pausing, exhausted }
}

const startedBy = 'reconciler/vm-power'

/** What waits no longer than this is not told of: most of it is over at the next look. */
const tellAfterMs = 5_000

export class VmPower implements Reconciler {
  readonly name = 'vm-power'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps
  readonly #openedMs: number
  readonly #history = new Map<VmId, StartHistory>()
  /** Starts whose end is not known yet. */
  readonly #begun = new Map<VmId, { readonly task: TaskId; readonly at: number }>()
  /** Tasks that hold wanted VMs and are no starts of its own that go on, as each was once asked for. */
  readonly #foreign = new Set<TaskId>()
  /** What went wrong with the last start that came to nothing. */
  readonly #failures = new Map<VmId, string>()
  readonly #times: StateTimes
  readonly #probes: ReadyProbes
  readonly #waits: RestartWaits
  readonly #told = new Set<VmId>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
    this.#openedMs = deps.clock.monotonic()
    this.#times = new StateTimes(deps.clock)
    this.#probes = new ReadyProbes(deps)
    this.#waits = new RestartWaits(deps)
  }

  async look(): Promise<void> {
    const { inventory, clock } = this.#deps
    const now = clock.monotonic()
    await this.#learn(now)
    const [vms, stored] = [inventory.list('vm'), inventory.list('run')]
    const runs = new Map(stored.map(({ id, run }) => [id, run]))
    const wanted = vms.filter((vm) => isToRestart(vm, runs.get(vm.id)))
    await this.#takeUp(wanted, now)
    const waits = new Map<VmId, RestartWait>()
    if (wanted.length > 0) {
      const history = planPower(vms, stored, this.#history, now)
      const plan = await this.#plan(vms, runs, history, now)
      for (const { vm, host } of plan.start) await this.#start(vm, host, now)
      for (const { run, dependency } of plan.asks) this.#probes.ask(run, dependency)
      for (const vm of history.exhausted) await this.#tellExhausted(vm, runs.get(vm))
      this.#collect(waits, plan, history, runs, now)
    }
    await this.#waits.tell(vms, waits)
    const relevant = wanted.flatMap((vm) => [vm.id, ...(vm.dependsOn ?? []).map((each) => each.vm)])
    this.#times.keepOnly(new Set(relevant))
  }

  async #plan(
    vms: readonly VmRecord[],
    runs: ReadonlyMap<VmId, RunRecord>,
    { pausing, exhausted }: PowerPlan,
    nowMs: number,
  ): Promise<RestartPlan> {
    const { inventory, hosts } = this.#deps
    const byId = new Map(vms.map((vm) => [vm.id, vm]))
    const settings = { ...defaultRestartSettings, ...inventory.list('cluster')[0]?.restart }
    const unheard = inventory.list('host').filter((host) => hosts.report(host.id) === undefined && !host.confirmedOff)
    return planRestarts({
      ...{ vms, runs, nowMs, cluster: await this.#deps.cluster() },
      sinceMs: (id) => {
        const [vm, run] = [byId.get(id), runs.get(id)]
        return vm === undefined || run === undefined ? nowMs : this.#times.of(run, isToRestart(vm, run))
      },
      isReady: (run, dependency) => this.#probes.isReady(run, dependency),
      begunMs: new Map([...this.#begun].map(([vm, { at }]) => [vm, at])),
      pausing: new Set([...pausing, ...exhausted]),
      openedMs: this.#openedMs,
      unheard: new Set(unheard.map((host) => host.id)),
      settings: { levelWaitMs: settings.levelWaitSeconds * 1000, startsPerHost: settings.startsPerHost },
    })
  }

  /** What of all this people are told. */
  #collect(
    waits: Map<VmId, RestartWait>,
    plan: RestartPlan,
    { pausing, exhausted }: PowerPlan,
    runs: ReadonlyMap<VmId, RunRecord>,
    now: number,
  ): void {
    for (const { vm, code, why } of plan.waits) {
      const run = runs.get(vm)
      const isOld = run !== undefined && now - this.#times.of(run, true) >= tellAfterMs
      if (code !== 'turn' && isOld) waits.set(vm, { code, why })
    }
    for (const vm of pausing) {
      const why = this.#failures.get(vm)
      if (why !== undefined) waits.set(vm, { code: 'failed', why: `the last start failed (${why}); it is tried again` })
    }
    for (const vm of exhausted) waits.set(vm, { code: 'exhausted', why: 'it stopped too often within an hour' })
  }

  /** Starts that a former manager has begun, and that go on. */
  async #takeUp(wanted: readonly VmRecord[], now: number): Promise<void> {
    const holding = new Set(wanted.map(({ operation }) => operation))
    for (const task of this.#foreign) if (!holding.has(task)) this.#foreign.delete(task)
    for (const { id, operation } of wanted) {
      if (operation === null || this.#begun.has(id) || this.#foreign.has(operation)) continue
      const task = (await this.#deps.store.get('task', operation))?.value
      if (task?.startedBy === startedBy && task.ended === null) this.#begun.set(id, { task: task.id, at: now })
      else this.#foreign.add(operation)
    }
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
      if (isMiss) this.#failures.set(vm, record.problem?.detail ?? record.state)
      else this.#failures.delete(vm)
      // A miss is paused after its end: an attempt may have taken long.
      this.#history.set(
        vm,
        isMiss
          ? { restarts: recent, misses: [...misses, now].slice(-missPausesMs.length) }
          : { restarts: [...recent, at], misses: [] },
      )
    }
  }

  async #start(vm: VmId, prefer: HostId, now: number): Promise<void> {
    try {
      const task = await this.#deps.begin(startedBy, () => startOperation(this.#deps, vm, null, { prefer }))
      this.#told.delete(vm)
      this.#begun.set(vm, { task, at: now })
    } catch (thrown) {
      // Another operation was faster, or it runs already: the next look sees it.
      const { code } = toHoldfastError(thrown)
      if (code !== 'operation-in-progress' && code !== 'wrong-state' && code !== 'not-found') throw thrown
      this.#deps.log.debug({ vm, reason: describeError(thrown) }, 'a restart was not begun')
    }
  }

  async #tellExhausted(vm: VmId, run: RunRecord | undefined): Promise<void> {
    if (this.#told.has(vm)) return
    this.#told.add(vm)
    const record = this.#deps.inventory.list('vm').find((each) => each.id === vm)
    if (record === undefined) return
    const often = `${mostRestarts(run?.cause)} times within an hour`
    const message = `${record.name} stopped ${often}; it is not started again for a while`
    const subject = { kind: 'vm', id: vm, name: record.name }
    await this.#deps.store.commit({
      changes: [],
      events: [{ type: 'vm.restart-paused', subject, message, task: null, data: {} }],
    })
  }
}
