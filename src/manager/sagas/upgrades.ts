/** The sagas of renewal with an engine: hosts of a roll are tasks of the same one. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import { clusterUpgradeName, upgradeClusterSaga, type HostUpgradesPort } from './cluster-upgrade.ts'
import type { SagaEngine } from './engine.ts'
import type { MaintenanceDeps } from './host-maintenance.ts'
import { upgradeHostOperation, upgradeHostSaga } from './host-upgrade.ts'
import type { HostUpgradeParams } from './host-upgrade-deps.ts'
import { beginOperation } from './operation.ts'
import { moveOperation } from './protection-operations.ts'
import { needHost } from './vm-records.ts'

type Engine = Pick<SagaEngine, 'register' | 'start' | 'makeWay' | 'cancel' | 'view'>

export function registerUpgrades(engine: Engine, deps: MaintenanceDeps): void {
  const moveTo = (vm: VmId, host: HostId, startedBy: string) =>
    beginOperation(engine, { name: startedBy }, () => moveOperation(deps, vm, {}, host))
  engine.register(upgradeHostSaga, { ...deps, moveTo })
  engine.register(upgradeClusterSaga, { ...deps, upgrades: upgradesPort(engine, deps) })
}

function upgradesPort(engine: Engine, deps: MaintenanceDeps): HostUpgradesPort {
  return {
    begin: (params, startedBy) =>
      beginOperation(engine, { name: startedBy }, async () =>
        upgradeHostOperation(params, (await needHost(deps, params.host)).name),
      ),
    find: async (roll, host) => {
      const tasks = (await deps.store.list('task')).items.map(({ value }) => value)
      return tasks.findLast(({ saga, params }) => {
        if (saga !== upgradeHostSaga.name) return false
        const of = params as HostUpgradeParams
        return of.roll === roll && of.host === host
      })
    },
    look: async (task) => {
      const view = await engine.view(task)
      if (view === undefined) throw new HoldfastError('not-found', `there is no task ${task}`)
      return view.record
    },
    cancel: async (task) => {
      await engine.cancel(task)
    },
    doing: async (task) => {
      const view = await engine.view(task)
      const words = view?.detail?.phase ?? view?.trouble ?? view?.record.step ?? view?.record.state ?? 'gone'
      return { fraction: view?.progress ?? 0, words }
    },
  }
}

/** What is open of the roll; there is one at most. One that was ended with its manager may have left the task of its host. */
export async function openRoll({ store }: Pick<MaintenanceDeps, 'store'>): Promise<string | undefined> {
  const tasks = (await store.list('task')).items
  const open = tasks.filter(({ value }) => value.ended === null)
  const roll = open.find(({ value }) => value.saga === clusterUpgradeName)
  return (roll ?? open.find(({ value }) => value.saga === upgradeHostSaga.name))?.value.id
}
