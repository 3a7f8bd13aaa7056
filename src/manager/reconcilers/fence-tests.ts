/**
 * Asks the fence devices of every host for their status once an hour, and oftener while they fail. In the background: devices
 * that hang keep neither a look nor the end of this manager.
 */
import type { HostId } from '../../base/ids.ts'
import { testFence } from '../sagas/fence-test.ts'
import { fenceCycleSaga } from '../sagas/host-fence-cycle.ts'
import { fenceHostSaga } from '../sagas/host-fence.ts'
import type { Reconciler } from './deps.ts'
import type { FenceReconcilerDeps } from './fence-hosts.ts'

const [everyMs, whileFailingMs] = [3_600_000, 300_000]
/** Each is a program on the manager's machine. */
const mostAtOnce = 8

export class FenceTests implements Reconciler {
  readonly name = 'fence-tests'
  readonly everyMs = 10_000
  readonly #deps: FenceReconcilerDeps
  /** By the clock that does not jump; a manager that begins knows of none, and asks once. */
  readonly #askedAt = new Map<HostId, number>()
  readonly #closing = new AbortController()
  readonly #busy = new Map<HostId, Promise<void>>()

  constructor(deps: FenceReconcilerDeps) {
    this.#deps = deps
  }

  look(): Promise<void> {
    const { inventory, clock, log } = this.#deps
    for (const { id, fence } of inventory.list('host')) {
      if (this.#busy.size >= mostAtOnce) break
      if (fence == null || this.#busy.has(id)) continue
      const due = fence.test?.problem == null ? everyMs : whileFailingMs
      if (clock.monotonic() - (this.#askedAt.get(id) ?? -Infinity) < due || this.#isAtWork(id)) continue
      this.#askedAt.set(id, clock.monotonic())
      const work = this.#ask(id)
        .catch((err: unknown) => log.warn({ err, host: id }, 'fence devices could not be asked; they are asked again'))
        .finally(() => this.#busy.delete(id))
      this.#busy.set(id, work)
    }
    return Promise.resolve()
  }

  async #ask(id: HostId): Promise<void> {
    const stored = await this.#deps.store.get('host', id)
    if (stored !== undefined) await testFence(this.#deps, stored.value, this.#closing.signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the manager is stopping'))
    await Promise.all(this.#busy.values())
  }

  /** Devices that switch now are not asked besides: many answer only one at a time. */
  #isAtWork(host: HostId): boolean {
    return this.#deps.inventory.list('task').some(({ saga, target, ended }) => {
      return ended === null && target?.id === host && (saga === fenceHostSaga.name || saga === fenceCycleSaga.name)
    })
  }
}
