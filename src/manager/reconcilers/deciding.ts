/**
 * Keeps somebody there who decides: where the host that decides between the two copies of a VM is off, removed, out of reach
 * for long or in maintenance, or has forgotten the pair, another does from then on; and a third host does instead of the
 * managers. With growing pauses where that does not work, and once said why.
 */
import { describeError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { configurationOf } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { planNewArbiter, type DecidingSight, type NewArbiterPlan, type Pair } from '../domain/deciding-plan.ts'
import { arbiterOf, changeArbiterOf } from '../sagas/arbiters.ts'
import type { VmRecord } from '../store/records.ts'
import type { Reconciler, ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

/** The pause after the nth attempt in a row that came to nothing, milliseconds; the last of them again and again. */
const pausesMs = [2_000, 10_000, 60_000] as const
/** Who decides is asked so often whether it still knows of the pair. */
const rememberEveryMs = 60_000
/** Pairs that are changed at once. */
const atATime = 4

interface Misses {
  readonly count: number
  readonly at: number
}

export class DecidingKeeper implements Reconciler {
  readonly name = 'deciding'
  readonly everyMs = 1000
  readonly #deps: ReconcilerDeps
  /** Since when each host is in reach and not about to go, or not. */
  readonly #since = new Map<HostId, { readonly isReady: boolean; readonly at: number }>()
  readonly #misses = new Map<VmId, Misses>()
  readonly #told = new Map<VmId, string>()
  readonly #remembering: RepeatLimit<string>
  /** The configuration that its arbiter knows nothing of. */
  readonly #forgotten = new Map<VmId, number>()

  constructor(deps: ReconcilerDeps) {
    this.#deps = deps
    this.#remembering = new RepeatLimit(deps.clock, rememberEveryMs)
  }

  async look(): Promise<void> {
    const { inventory, clock } = this.#deps
    const sight = this.#sight()
    const runs = new Map(inventory.list('run').map(({ id, run }) => [id, run]))
    const due: NewArbiterPlan[] = []
    for (const vm of inventory.list('vm')) {
      const run = runs.get(vm.id)
      if (run?.protection?.phase !== 'protected' || vm.operation !== null) continue
      const missed = this.#misses.get(vm.id)
      const pauseMs = missed === undefined ? 0 : (pausesMs[Math.min(missed.count, pausesMs.length) - 1] ?? 0)
      if (missed !== undefined && clock.monotonic() - missed.at < pauseMs) continue
      await this.#askWhetherKnown(vm.id, run)
      const plan = planNewArbiter(sight, this.#pair(vm, run, missed))
      if (plan === undefined) this.#misses.delete(vm.id)
      else due.push(plan)
    }
    await Promise.all(due.slice(0, atATime).map((plan) => this.#carryOut(plan)))
  }

  #pair(vm: VmRecord, run: RunRecord, missed: Misses | undefined): Pair {
    const former = (vm.protection?.former ?? []).map(({ host }) => host)
    const current = run.protection ? configurationOf(run.protection) : 0
    const isForgotten = this.#forgotten.get(vm.id) === current
    return { vm: vm.id, run, former, isForgotten, misses: missed?.count ?? 0 }
  }

  #sight(): DecidingSight {
    const { inventory, hosts: states, clock } = this.#deps
    const now = clock.monotonic()
    const hosts = inventory.list('host').map((host) => ({ ...host, state: states.stateOf(host) }))
    for (const { id, state, maintenance } of hosts) {
      const isReady = state === 'connected' && maintenance === 'off'
      if (this.#since.get(id)?.isReady !== isReady) this.#since.set(id, { isReady, at: now })
    }
    return { hosts, vms: inventory.list('run'), heldMs: (host) => now - (this.#since.get(host)?.at ?? now) }
  }

  /** A look decides nothing. One that does not answer is no news: its host's state says so. */
  async #askWhetherKnown(vm: VmId, { protection }: RunRecord): Promise<void> {
    if (!protection || !this.#remembering.take(`${vm}/${configurationOf(protection)}`)) return
    const n = configurationOf(protection)
    const { arbiter } = protection
    const answer = await arbiterOf(this.#deps, arbiter)
      .arbiterLook({ vm, n, side: 'primary' })
      .catch((err: unknown) => {
        this.#deps.log.debug({ vm, arbiter, err: describeError(err) }, 'who decides could not be asked')
        return undefined
      })
    if (answer?.is === 'unknown') this.#forgotten.set(vm, n)
    else if (answer !== undefined) this.#forgotten.delete(vm)
  }

  async #carryOut(plan: NewArbiterPlan): Promise<void> {
    const { vm } = plan
    try {
      await changeArbiterOf(this.#deps, plan)
      this.#misses.delete(vm)
      this.#told.delete(vm)
    } catch (thrown) {
      const count = (this.#misses.get(vm)?.count ?? 0) + 1
      this.#misses.set(vm, { count, at: this.#deps.clock.monotonic() })
      // One that is out of reach is asked first, mostly in vain; and a record that moved meanwhile is no news.
      if (count < 2 || toHoldfastError(thrown).code === 'stale-generation') return
      await this.#tell(plan, describeError(thrown))
    }
  }

  async #tell({ vm, why }: NewArbiterPlan, reason: string): Promise<void> {
    const { inventory, store } = this.#deps
    const record = inventory.list('vm').find(({ id }) => id === vm)
    const arbiter = inventory.list('run').find(({ id }) => id === vm)?.run.protection?.arbiter
    if (record === undefined || arbiter === undefined || this.#told.get(vm) === why) return
    this.#told.set(vm, why)
    const { name } = record
    const decides = inventory.list('host').find(({ id }) => id === arbiter)?.name ?? arbiter
    const message = `${decides} decide${arbiter === 'managers' ? '' : 's'} who goes on with ${name} alone, and ${why}; nobody else could be put in its place yet: ${reason} (docs/runbooks/protection-stuck.md)`
    const subject = { kind: 'vm', id: vm, name }
    const event = { type: 'vm.arbiter-waiting', subject, message, task: null, data: { reason } }
    await store.commit({ changes: [], events: [event] })
  }
}
