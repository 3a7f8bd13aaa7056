/**
 * Which VMs are started again now, and where; what each of the others waits for. Pure: a plan from a snapshot, the same after
 * the death of a manager, since all of it comes from the store and from what hosts report.
 *
 * Levels go from the highest to the lowest. A VM holds up the levels below while it is being started, or could be but for
 * its turn on a host, and for `levelWaitMs` at most while it waits for another VM or for a host that is not heard of. One that
 * has failed, and one that no host can take, hold up nobody.
 */
import type { HostId, VmId } from '../../base/ids.ts'
import { restartPriorities } from '../../contracts/restart-words.ts'
import type { VmDependency } from '../../contracts/restart.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { ClusterView } from './cluster-view.ts'
import { unmetDependency } from './dependencies.ts'
import { vmOf, withStarting } from './host-load.ts'
import { place } from './placement.ts'
import { effectiveLevels, inRestartOrder, isToRestart, levelOf, type RestartVm } from './restart-order.ts'
import { noHostReason } from './restart-reason.ts'

export interface RestartWorld {
  readonly vms: readonly RestartVm[]
  readonly runs: ReadonlyMap<VmId, RunRecord>
  readonly cluster: ClusterView
  readonly nowMs: number
  /** Since when a VM waits to be started, or runs. */
  readonly sinceMs: (vm: VmId) => number
  readonly isReady: (run: RunRecord, dependency: VmDependency) => boolean
  /** Since when a start of theirs is under way. */
  readonly begunMs: ReadonlyMap<VmId, number>
  /** Not tried now: they have failed, and are tried again later. */
  readonly pausing: ReadonlySet<VmId>
  /** When this manager began, and the hosts that it has not heard of since, those confirmed off aside. */
  readonly openedMs: number
  readonly unheard: ReadonlySet<HostId>
  readonly settings: { readonly levelWaitMs: number; readonly startsPerHost: number }
}

export interface RestartWait {
  readonly vm: VmId
  /** `turn`: others come first; the rest as in the record's `restartWait`. */
  readonly code: 'turn' | 'dependency' | 'no-host' | 'storage' | 'rule'
  readonly why: string
}

export interface RestartPlan {
  /** In order. */
  readonly start: readonly { readonly vm: VmId; readonly host: HostId }[]
  readonly waits: readonly RestartWait[]
  /** VMs that run, and are to be asked whether they are ready. */
  readonly asks: readonly { readonly run: RunRecord; readonly dependency: VmDependency }[]
}

export function planRestarts(world: RestartWorld): RestartPlan {
  const wanted = world.vms.filter((vm) => isToRestart(vm, world.runs.get(vm.id)))
  const levels = effectiveLevels(wanted)
  const planning = new Planning(world)
  for (const vm of inRestartOrder(world.cluster, wanted, levels)) planning.consider(vm, levels.get(vm.id) ?? 0)
  return planning.plan
}

class Planning {
  readonly #world: RestartWorld
  readonly #byId: ReadonlyMap<VmId, RestartVm>
  readonly #starts = new Map<HostId, number>()
  readonly #start: { vm: VmId; host: HostId }[] = []
  readonly #waits: RestartWait[] = []
  readonly #asks: { run: RunRecord; dependency: VmDependency }[] = []
  /** Grows with each VM that is placed. */
  #cluster: ClusterView
  #holder: { readonly level: number; readonly name: string } = { level: 0, name: '' }

  constructor(world: RestartWorld) {
    this.#world = world
    this.#cluster = world.cluster
    this.#byId = new Map(world.vms.map((vm) => [vm.id, vm]))
    for (const vm of world.cluster.vms) {
      if (vm.startingOn !== null && vm.run.phase === 'stopped') this.#count(vm.startingOn)
    }
    this.#holdForUnheard()
  }

  get plan(): RestartPlan {
    return { start: this.#start, waits: this.#waits, asks: this.#asks }
  }

  consider(vm: RestartVm, level: number): void {
    const { nowMs, settings, sinceMs, begunMs } = this.#world
    if (vm.operation !== null || begunMs.has(vm.id)) {
      return this.#hold(vm, level, nowMs - (begunMs.get(vm.id) ?? sinceMs(vm.id)) < settings.levelWaitMs)
    }
    const isFresh = nowMs - sinceMs(vm.id) < settings.levelWaitMs
    if (this.#world.pausing.has(vm.id)) return
    const unmet = unmetDependency({ ...this.#world, vms: this.#byId }, vm)
    if (unmet?.canBeAsked === true) this.#ask(unmet.dependency)
    if (level < this.#holder.level) return this.#wait(vm, 'turn', `${this.#holder.name} comes first`)
    if (unmet !== undefined) {
      this.#wait(vm, 'dependency', unmet.why)
      return this.#hold(vm, level, isFresh)
    }
    this.#place(vm, level, isFresh)
  }

  #place(vm: RestartVm, level: number, isFresh: boolean): void {
    const view = vmOf(this.#cluster, vm.id)
    if (view === undefined) return
    const need = { vm: vm.id, spec: view.spec }
    const exclude = [...this.#starts].flatMap(([host, count]) =>
      count >= this.#world.settings.startsPerHost ? [host] : [],
    )
    const isFull = this.#cluster.hosts.every(
      ({ id, state, maintenance }) => state !== 'connected' || maintenance !== 'off' || exclude.includes(id),
    )
    if (exclude.length > 0 && isFull) return this.#waitForTurn(vm, level)
    const placement = place(this.#cluster, { ...need, exclude })
    if (placement.ok) {
      this.#start.push({ vm: vm.id, host: placement.host })
      this.#cluster = withStarting(this.#cluster, vm.id, placement.host)
      this.#count(placement.host)
      return this.#hold(vm, level, true)
    }
    const anywhere = exclude.length === 0 ? placement : place(this.#cluster, need)
    if (anywhere.ok) return this.#waitForTurn(vm, level)
    const reason = noHostReason(this.#cluster, view, anywhere.refusals)
    this.#waits.push({ vm: vm.id, ...reason })
    const mayComeBack = this.#cluster.hosts.some(({ state }) => state === 'unreachable' || state === 'never-seen')
    this.#hold(vm, level, mayComeBack && isFresh)
  }

  #waitForTurn(vm: RestartVm, level: number): void {
    this.#wait(vm, 'turn', 'as many VMs as may be are starting on the hosts that can take it')
    this.#hold(vm, level, true)
  }

  /** A host that this manager has not heard of yet may have VMs to be started that come before others. */
  #holdForUnheard(): void {
    const { vms, runs, unheard, nowMs, openedMs, settings } = this.#world
    if (unheard.size === 0 || nowMs - openedMs >= settings.levelWaitMs) return
    for (const vm of vms) {
      const run = runs.get(vm.id)
      if (run === undefined || run.host === null || run.phase === 'stopped' || !unheard.has(run.host)) continue
      if (vm.power === 'on' && vm.policies.restart === 'on-failure') this.#hold(vm, levelOf(vm), true)
    }
  }

  #hold(vm: RestartVm, level: number, isHolding: boolean): void {
    if (!isHolding || level <= this.#holder.level) return
    this.#holder = { level, name: `${vm.name} (${restartPriorities[level] ?? ''})` }
  }

  #count(host: HostId): void {
    this.#starts.set(host, (this.#starts.get(host) ?? 0) + 1)
  }

  #ask(dependency: VmDependency): void {
    const run = this.#world.runs.get(dependency.vm)
    if (run !== undefined) this.#asks.push({ run, dependency })
  }

  #wait(vm: RestartVm, code: RestartWait['code'], why: string): void {
    this.#waits.push({ vm: vm.id, code, why })
  }
}
