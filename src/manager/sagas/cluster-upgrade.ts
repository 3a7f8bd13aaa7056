/**
 * Rolls over the hosts of a cluster, one after the other: each is a task of its own (host-upgrade.ts). What has been done is
 * read from those tasks, so that another manager goes on where this one died. The first that does not succeed ends the roll;
 * hosts that were not begun are not touched.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, TaskId } from '../../base/ids.ts'
import { admissionProblem, withoutHost } from '../domain/admission.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import type { TaskRecord } from '../store/records.ts'
import type { SagaDeps } from './deps.ts'
import { patienceMs } from './host-upgrade.ts'
import type { HostUpgradeParams } from './host-upgrade-deps.ts'
import { saga, type StepContext } from './saga.ts'

export interface ClusterUpgradeParams extends Omit<HostUpgradeParams, 'roll' | 'host'> {
  /** In this order. */
  readonly hosts: readonly HostId[]
}

/** The tasks of single hosts. */
export interface HostUpgradesPort {
  begin(params: HostUpgradeParams, startedBy: string): Promise<TaskId>
  /** Of this roll and this host; undefined: it was not begun. */
  find(roll: TaskId, host: HostId): Promise<TaskRecord | undefined>
  look(task: TaskId): Promise<TaskRecord>
  cancel(task: TaskId): Promise<void>
  /** How far it is, 0–1, and what it does now. */
  doing(task: TaskId): Promise<{ readonly fraction: number; readonly words: string }>
}

export interface ClusterUpgradeDeps extends Pick<SagaDeps, 'store' | 'clock' | 'log' | 'cluster'> {
  readonly upgrades: HostUpgradesPort
}

type Context = StepContext<ClusterUpgradeParams, unknown, ClusterUpgradeDeps>

export const clusterUpgradeName = 'cluster.upgrade/1'
const lookAgainMs = 1000

export const upgradeClusterSaga = saga<ClusterUpgradeParams, ClusterUpgradeDeps>(clusterUpgradeName)
  .step({ name: 'roll', patienceMs, do: (context) => new Roll(context).run() })
  .result((done) => ({ hosts: done.roll }))

/** Why no host can be taken out of use now, or not this one; undefined: it can. */
export function rollProblem(cluster: ClusterView, host: HostId): string | undefined {
  const name = cluster.hosts.find(({ id }) => id === host)?.name ?? host
  const lost = cluster.hosts.filter(
    ({ id, state, maintenance }) =>
      state !== 'connected' && (id === host || (maintenance === 'off' && state !== 'never-seen')),
  )
  if (lost.length > 0) return lost.map((each) => `${each.name} is ${each.state}`).join(', ')
  const { admission } = cluster
  const room = admissionProblem(withoutHost(cluster, host), admission)
  return room === undefined ? undefined : `without ${name}, ${room}`
}

interface Renewed extends Record<string, unknown> {
  readonly host: HostId
  readonly task: TaskId
}

class Roll {
  readonly #context: Context

  constructor(context: Context) {
    this.#context = context
  }

  async run(): Promise<readonly Renewed[]> {
    const { params, deps, task } = this.#context
    const renewed: Renewed[] = []
    for (const [at, host] of params.hosts.entries()) {
      this.#context.signal.throwIfAborted()
      const record = (await deps.upgrades.find(task, host)) ?? (await this.#begin(at, host))
      const ended = record.ended === null ? await this.#follow(at, host, record.id) : record
      if (ended.state !== 'done') throw await this.#failure(host, ended)
      renewed.push({ host, task: ended.id, ...ended.result })
    }
    return renewed
  }

  async #begin(at: number, host: HostId): Promise<TaskRecord> {
    const { params, deps, task } = this.#context
    await this.#awaitRoom(at, host)
    const { isByHand, timeoutSeconds } = params
    const begun = await deps.upgrades.begin({ roll: task, host, isByHand, timeoutSeconds }, `upgrade (${task})`)
    return await deps.upgrades.look(begun)
  }

  async #awaitRoom(at: number, host: HostId): Promise<void> {
    const { params, deps, signal } = this.#context
    const until = deps.clock.monotonic() + params.timeoutSeconds * 1000
    for (;;) {
      signal.throwIfAborted()
      const problem = rollProblem(await deps.cluster(), host)
      if (problem === undefined) return
      await this.#say(at, host, 0, `not before all is well: ${problem}`)
      if (deps.clock.monotonic() > until) {
        throw new HoldfastError('host-error', `the roll ends before ${await this.#name(host)}: ${problem}`)
      }
      await deps.clock.sleep(lookAgainMs, signal).catch(() => undefined)
    }
  }

  /** A cancel is passed on, and what came of it waited for: nothing may go on behind the roll's back. */
  async #follow(at: number, host: HostId, child: TaskId): Promise<TaskRecord> {
    const { deps, signal } = this.#context
    for (;;) {
      const record = await deps.upgrades.look(child)
      if (record.ended !== null) return record
      if (signal.aborted) await deps.upgrades.cancel(child)
      const { fraction, words } = await deps.upgrades.doing(child)
      await this.#say(at, host, fraction, words)
      await deps.clock.sleep(lookAgainMs)
    }
  }

  async #say(at: number, host: HostId, fraction: number, words: string): Promise<void> {
    const all = this.#context.params.hosts.length
    const phase = `${await this.#name(host)} (${at + 1} of ${all}): ${words}`
    this.#context.progress((at + fraction) / all, { phase })
  }

  async #name(host: HostId): Promise<string> {
    return (await this.#context.deps.store.get('host', host))?.value.name ?? host
  }

  async #failure(host: HostId, { id, state, problem }: TaskRecord): Promise<HoldfastError> {
    const name = await this.#name(host)
    if (state === 'cancelled') return new HoldfastError('refused', `the renewal of ${name} was cancelled (${id})`)
    const mend = problem?.mend
    return new HoldfastError('refused', `${name}: ${problem?.detail ?? `its renewal ended as ${state}`}`, {
      ...{ task: id },
      ...(mend === undefined ? {} : { mend }),
    })
  }
}
