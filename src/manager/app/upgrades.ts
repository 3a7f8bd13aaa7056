/** The rolling renewal of hosts (sagas/cluster-upgrade.ts). */
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { CallOf } from '../../contracts/routes.ts'
import { defaultHostUpgradeSeconds } from '../../contracts/upgrade-words.ts'
import type { ClusterView, HostView } from '../domain/cluster-view.ts'
import { rollProblem, upgradeClusterSaga, type ClusterUpgradeParams } from '../sagas/cluster-upgrade.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import { beginOperation, type Operation } from '../sagas/operation.ts'
import { openRoll } from '../sagas/upgrades.ts'
import type { AppContext, Caller } from './context.ts'
import { resolve } from './references.ts'
import { vmCountOf } from './views/host-view.ts'
import { need } from './write.ts'

export class Upgrades {
  readonly #context: AppContext
  readonly #engine: SagaEngine

  constructor(context: AppContext, engine: SagaEngine) {
    this.#context = context
    this.#engine = engine
  }

  /** Begins a roll. Throws `wrong-state` while another is open, and where a host cannot be taken out of use now, with why. */
  async start(body: CallOf<'upgradeCluster'>['body'], caller: Caller): Promise<TaskId> {
    return beginOperation(this.#engine, caller, () => this.#operation(body))
  }

  async #operation(body: CallOf<'upgradeCluster'>['body']): Promise<Operation<ClusterUpgradeParams>> {
    const { store, mirror } = this.#context
    // The same record is written with each roll, so that of two that begin at once one is decided again.
    const { value, revision } = await need(store, 'cluster', mirror.list('cluster')[0]?.id ?? '')
    const open = await openRoll(this.#context)
    if (open !== undefined) {
      throw new HoldfastError('wrong-state', `hosts are being rolled over already (${open})`, {
        ...{ task: open, mend: `holdfast task wait ${open} follows it, holdfast task cancel ${open} ends it.` },
      })
    }
    const cluster = await this.#context.cluster()
    const hosts = hostsInOrder(cluster, body.hosts)
    for (const host of hosts) mustBeFit(cluster, host)
    const params = {
      hosts: hosts.map(({ id }) => id),
      ...{ isByHand: body.byHand ?? false, timeoutSeconds: body.hostTimeoutSeconds ?? defaultHostUpgradeSeconds },
    }
    return {
      ...{ saga: upgradeClusterSaga, params, target: { kind: 'cluster', id: value.id, name: value.name } },
      changes: [{ do: 'update', kind: 'cluster', value, expected: revision }],
    }
  }
}

/** As they were named; without names all, those with the fewest VMs first. */
function hostsInOrder(cluster: ClusterView, named: readonly string[] | undefined): HostView[] {
  if (named !== undefined) return [...new Set(named.map((ref) => resolve('host', cluster.hosts, ref)))]
  if (cluster.hosts.length === 0) throw new HoldfastError('wrong-state', 'there are no hosts')
  const count = (host: HostView): number => vmCountOf(cluster.vms, host.id)
  return [...cluster.hosts].sort((a, b) => count(a) - count(b) || a.name.localeCompare(b.name))
}

function mustBeFit(cluster: ClusterView, host: HostView): void {
  if (host.maintenance !== 'off') {
    throw new HoldfastError('wrong-state', `${host.name} is in maintenance already (${host.maintenance})`, {
      mend: `Take it out (holdfast host maintenance ${host.name} --leave), or name the other hosts (--host).`,
    })
  }
  const problem = rollProblem(cluster, host.id)
  if (problem === undefined) return
  throw new HoldfastError('wrong-state', `hosts cannot be taken out of use one after the other now: ${problem}`, {
    mend: 'Mend that first, then begin again.',
  })
}
