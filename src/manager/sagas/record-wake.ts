/**
 * Wakes whoever follows a VM's run record as soon as it changes. Only sooner than the follower would look by itself: where
 * the store's watch ends or fails, nobody is woken, and nothing else is different.
 */
import type { VmId } from '../../base/ids.ts'
import type { Store } from '../store/store.ts'

export class RecordWake implements Disposable {
  readonly #over = new AbortController()
  #next = Promise.withResolvers<void>()

  constructor(store: Pick<Store, 'revision' | 'watch'>, vm: VmId) {
    this.#watch(store, vm).catch(() => undefined)
  }

  /** Resolves at the next change. Take it before the record is read, so that no change falls between. */
  get changed(): Promise<void> {
    return this.#next.promise
  }

  async #watch(store: Pick<Store, 'revision' | 'watch'>, vm: VmId): Promise<void> {
    for await (const batch of store.watch(await store.revision(), this.#over.signal)) {
      if (this.#over.signal.aborted || batch === 'relist') return
      if (!batch.changes.some((change) => change.kind === 'run' && change.id === vm)) continue
      this.#next.resolve()
      this.#next = Promise.withResolvers<void>()
    }
  }

  [Symbol.dispose](): void {
    this.#over.abort()
  }
}
