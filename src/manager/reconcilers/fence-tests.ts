/** Asks the fence devices of every host for their status once an hour, and oftener while they fail. */
import type { HostId } from '../../base/ids.ts'
import { testFence } from '../sagas/fence-test.ts'
import { fenceCycleSaga } from '../sagas/host-fence-cycle.ts'
import { fenceHostSaga } from '../sagas/host-fence.ts'
import type { Reconciler } from './deps.ts'
import type { FenceReconcilerDeps } from './fence-hosts.ts'

const [everyMs, whileFailingMs] = [3_600_000, 300_000]

export class FenceTests implements Reconciler {
  readonly name = 'fence-tests'
  readonly everyMs = 10_000
  readonly #deps: FenceReconcilerDeps
  /** By the clock that does not jump; a manager that begins knows of none, and asks once. */
  readonly #askedAt = new Map<HostId, number>()

  constructor(deps: FenceReconcilerDeps) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { inventory, clock, store } = this.#deps
    for (const { id, fence } of inventory.list('host')) {
      if (fence == null) continue
      const due = fence.test?.problem == null ? everyMs : whileFailingMs
      if (clock.monotonic() - (this.#askedAt.get(id) ?? -Infinity) < due || this.#isAtWork(id)) continue
      this.#askedAt.set(id, clock.monotonic())
      const stored = await store.get('host', id)
      if (stored !== undefined) await testFence(this.#deps, stored.value)
    }
  }

  /** Devices that switch now are not asked besides: many answer only one at a time. */
  #isAtWork(host: HostId): boolean {
    return this.#deps.inventory.list('task').some(({ saga, target, ended }) => {
      return ended === null && target?.id === host && (saga === fenceHostSaga.name || saga === fenceCycleSaga.name)
    })
  }
}
