/**
 * After a store was restored from a backup: it is a new life of the inventory, and nobody knows what runs. Every run record
 * becomes `unknown` until hosts have said what they run (`adopted`) or all are known not to (reconcilers/run-record-watch.ts).
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Store } from '../store/store.ts'
import { transitionRun } from './run-records.ts'
import { commitChanges } from './vm-records.ts'

/**
 * Begins the new life; returns its incarnation. Called before a manager opens the store. When it dies in the middle it is
 * called again: the cluster's own record is the last to change.
 */
export async function declareRestored(deps: { readonly store: Store; readonly clock: Clock }): Promise<number> {
  const cluster = (await deps.store.list('cluster')).items[0]
  if (cluster === undefined) throw new HoldfastError('wrong-state', 'The store holds no cluster')
  const incarnation = cluster.value.incarnation + 1
  for (const { value } of (await deps.store.list('run')).items) {
    if (value.run.incarnation < incarnation) {
      await transitionRun(deps, value.id, { event: 'restored', incarnation })
    }
  }
  await commitChanges(deps, async () => {
    const stored = await deps.store.get('cluster', cluster.value.id)
    if (stored === undefined || stored.value.incarnation >= incarnation) return undefined
    return [{ do: 'update', kind: 'cluster', value: { ...stored.value, incarnation }, expected: stored.revision }]
  })
  return incarnation
}
