/**
 * Empties a host: every VM that runs there is moved away, and every second copy there ends, two at a time; of pairs for
 * which it decides another does from then on. The host is then kept empty.
 *
 *   enter (entering) ─▶ evacuate ─▶ empty (on)        undo: off again; what has moved stays where it is
 */
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import type { HostRecord, TaskRecord } from '../store/records.ts'
import { hostsHeldBy, type ClusterView, type VmView } from '../domain/cluster-view.ts'
import { decideElsewhere } from './arbiters.ts'
import type { OperationsPort, SagaDeps } from './deps.ts'
import { isBeforeFirstWords } from './first-words.ts'
import { saga, type StepContext } from './saga.ts'
import { commitChanges } from './vm-records.ts'

export interface MaintenanceParams {
  readonly host: HostId
}

export interface MaintenanceDeps extends SagaDeps {
  readonly operations: OperationsPort
}

type Context = StepContext<MaintenanceParams, unknown, MaintenanceDeps>

const movesAtATime = 2
const lookAgainMs = 500
/** What a move ends with that was begun and broke on its way; what a pre-check refuses is refused the next time too. */
const passing: ReadonlySet<string> = new Set(['unreachable', 'timeout', 'host-error', 'hypervisor-error'])
const [decideAgainMs, decidePatienceMs] = [2000, 30_000]

export const maintenanceSaga = saga<MaintenanceParams, MaintenanceDeps>('host.maintenance/1')
  .step({
    name: 'enter',
    do: ({ params, deps }) => setMaintenance(deps, params.host, 'entering'),
    undo: async ({ params, deps }) => {
      await setMaintenance(deps, params.host, 'off')
    },
  })
  .step({ name: 'evacuate', weight: 98, do: evacuate })
  .step({ name: 'empty', do: ({ params, deps }) => setMaintenance(deps, params.host, 'on') })
  .result((done) => ({ moved: done.evacuate.moved }))

/** Moves away what holds the host; see `Evacuation.run`. */
export function evacuate(context: Context): Promise<{ moved: number }> {
  return new Evacuation(context).run()
}

/** Sets the host's maintenance state; the same again changes nothing. Throws `wrong-state` for `on` from `off`. */
export async function setMaintenance(
  deps: Pick<SagaDeps, 'store'>,
  host: HostId,
  maintenance: 'off' | 'entering' | 'on',
): Promise<null> {
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('host', host)
    if (stored === undefined) throw new HoldfastError('not-found', `There is no host ${host}`)
    if (maintenance === 'on') mustBeEntering(stored.value)
    if (stored.value.maintenance === maintenance) return undefined
    return [{ do: 'update', kind: 'host', value: { ...stored.value, maintenance }, expected: stored.revision }]
  })
  return null
}

/** Throws `wrong-state` when somebody has taken the host out of maintenance while it was still being emptied. */
function mustBeEntering(host: Pick<HostRecord, 'name' | 'maintenance'>): void {
  if (host.maintenance !== 'off') return
  throw new HoldfastError('wrong-state', `${host.name} was taken out of maintenance before it was empty`)
}

interface Stay {
  readonly vm: VmId
  readonly name: string
  readonly reason: string
}

interface WhatIsHere {
  readonly vms: VmView[]
  readonly hasQemu: boolean
  readonly deciding: { readonly vms: VmView[]; readonly cluster: ClusterView }
  /** A manager that has just begun has not heard every host: neither this one nor one that could take a VM is known to be lost. */
  readonly isTooEarly: boolean
}

class Evacuation {
  readonly #context: Context
  readonly #moving = new Set<VmId>()
  /** Moves of which no end was seen. */
  readonly #open = new Set<TaskId>()
  readonly #stays = new Map<VmId, Stay>()
  /** Since when, and when last, another was to decide about a pair. */
  readonly #deciding = new Map<VmId, { readonly since: number; readonly at: number }>()
  /** Since when, and when last, moves of a VM have failed that may succeed the next time. */
  readonly #failing = new Map<VmId, { readonly since: number; readonly at: number }>()
  #moved = 0

  constructor(context: Context) {
    this.#context = context
  }

  /** Resolves when no VM holds the host any more, and no QEMU is left on it. Throws `refused` with each VM that cannot leave, and why. */
  async run(): Promise<{ moved: number }> {
    const { signal, deps } = this.#context
    try {
      for (;;) {
        signal.throwIfAborted()
        const { vms, hasQemu, deciding, isTooEarly } = await this.#whatIsHere()
        const all = [...vms, ...deciding.vms]
        if (all.length === 0 && this.#moving.size === 0 && !hasQemu) return { moved: this.#moved }
        if (!isTooEarly) {
          for (const vm of vms) await this.#moveIfPossible(vm)
          for (const vm of deciding.vms) await this.#decideElsewhere(deciding.cluster, vm)
        }
        if (all.length > 0 && this.#moving.size === 0 && all.every((vm) => this.#stays.has(vm.id)))
          throw this.#refusal()
        const total = vms.length + this.#moved
        this.#context.progress(this.#moved / total)
        await deps.clock.sleep(lookAgainMs, signal).catch(() => undefined)
      }
    } catch (thrown) {
      if (signal.aborted) await this.#cancelMoves()
      throw thrown
    }
  }

  async #whatIsHere(): Promise<WhatIsHere> {
    const { deps, params } = this.#context
    const cluster = await deps.cluster()
    const { hosts, vms } = cluster
    const here = hosts.find(({ id }) => id === params.host)
    if (here !== undefined) mustBeEntering(here)
    // The last of a VM that has moved may still be ending. Of a host that does not answer nothing newer can be known.
    const report = here?.state === 'connected' ? deps.hosts.report(params.host) : undefined
    const hasQemu = report?.vms.some(({ process }) => process !== 'none') ?? false
    const deciding = vms.filter(({ run }) => run.protection?.arbiter === params.host)
    return {
      vms: vms.filter((vm) => hostsHeldBy(vm).includes(params.host)),
      hasQemu,
      deciding: { vms: deciding, cluster },
      isTooEarly: isBeforeFirstWords(deps.hosts, cluster),
    }
  }

  /** A pair that is only being brought in step is waited for. */
  async #decideElsewhere(cluster: ClusterView, vm: VmView): Promise<void> {
    const { deps } = this.#context
    const now = deps.clock.monotonic()
    const tried = this.#deciding.get(vm.id) ?? { since: now, at: -Infinity }
    if (vm.run.protection?.phase !== 'protected' || this.#stays.has(vm.id) || now - tried.at < decideAgainMs) return
    this.#deciding.set(vm.id, { ...tried, at: now })
    try {
      await decideElsewhere(deps, cluster, vm)
    } catch (thrown) {
      const reason = toHoldfastError(thrown).message
      if (now - tried.since > decidePatienceMs) this.#stay(vm, `this host decides who goes on with it alone: ${reason}`)
    }
  }

  async #moveIfPossible(vm: VmView): Promise<void> {
    if (this.#moving.has(vm.id) || this.#stays.has(vm.id) || this.#moving.size >= movesAtATime) return
    // One that arrives, or that another operation holds, is waited for.
    const { deps, params, task, signal } = this.#context
    if (deps.clock.monotonic() - (this.#failing.get(vm.id)?.at ?? Number.NEGATIVE_INFINITY) < decideAgainMs) return
    const isHere = vm.run.host === params.host || vm.run.protection?.second === params.host
    if (vm.run.phase !== 'running' || !isHere) {
      if (vm.run.phase === 'unknown') this.#stay(vm, 'its state is not known')
      return
    }
    try {
      const move = await deps.operations.leaveHost(vm.id, params.host, `maintenance (${task})`)
      const ended = deps.operations.ended(move, signal)
      this.#moving.add(vm.id)
      this.#open.add(move)
      ended.then(
        (record) => {
          this.#open.delete(move)
          this.#settled(vm, record)
        },
        () => this.#moving.delete(vm.id),
      )
    } catch (thrown) {
      const error = toHoldfastError(thrown)
      if (error.isUnknown) throw error
      if (error.code !== 'operation-in-progress') this.#stay(vm, error.message)
    }
  }

  #settled(vm: VmView, record: TaskRecord): void {
    this.#moving.delete(vm.id)
    if (record.state === 'done') this.#moved += 1
    else if (!this.#isTriedAgain(vm, record))
      this.#stay(vm, record.problem?.detail ?? `its move ended as ${record.state}`)
  }

  /**
   * A pair that was just brought in step, or was disturbed, is not in step at every moment; and a move may have met a connection
   * that broke. The next may do.
   */
  #isTriedAgain({ id, run }: VmView, { problem }: TaskRecord): boolean {
    const now = this.#context.deps.clock.monotonic()
    const since = this.#failing.get(id)?.since ?? now
    this.#failing.set(id, { since, at: now })
    const mayPass = problem !== null && passing.has(problem.code)
    return (Boolean(run.protection) || mayPass) && now - since < decidePatienceMs
  }

  #stay(vm: VmView, reason: string): void {
    this.#stays.set(vm.id, { vm: vm.id, name: vm.name, reason })
  }

  #refusal(): HoldfastError {
    const stays = [...this.#stays.values()]
    const words = stays.map(({ name, reason }) => `${name}: ${reason}`).join('; ')
    return new HoldfastError('refused', `Not every VM can leave this host. ${words}`, {
      vms: stays,
      mend: 'Stop these VMs, or mend what keeps them, then try again.',
    })
  }

  async #cancelMoves(): Promise<void> {
    for (const task of this.#open) {
      await this.#context.deps.operations.cancel(task).catch((err: unknown) => {
        this.#context.deps.log.warn({ task, err }, 'a move could not be cancelled')
      })
    }
  }
}
