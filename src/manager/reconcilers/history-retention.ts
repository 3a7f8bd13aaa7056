/** Forgets old changes and events, so that the store does not grow for ever. Records themselves stay. */
import type { Reconciler, ReconcilerDeps } from './deps.ts'

/** Commits whose changes and events are kept: about a day of a busy cluster. */
export const keptRevisions = 50_000
/** Forgetting is done in pieces of at least this size. */
const worthwhile = 5_000

/** The revision before which all is forgotten; undefined when there is too little to forget. Pure. */
export function planCompaction(oldestKept: number, revision: number): number | undefined {
  const before = revision - keptRevisions
  return before - oldestKept >= worthwhile ? before : undefined
}

export class HistoryRetention implements Reconciler {
  readonly name = 'history-retention'
  readonly everyMs = 10 * 60_000
  readonly #deps: Pick<ReconcilerDeps, 'store'>

  constructor(deps: Pick<ReconcilerDeps, 'store'>) {
    this.#deps = deps
  }

  async look(): Promise<void> {
    const { store } = this.#deps
    const before = planCompaction(await store.oldestKept(), await store.revision())
    if (before !== undefined) await store.compact(before)
  }
}
