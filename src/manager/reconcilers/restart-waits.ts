/**
 * Says why VMs are not started again: in their records, where people see it as the VM's problem whichever manager they ask,
 * and once for each reason as an event. What is over is taken out again.
 */
import type { VmId } from '../../base/ids.ts'
import type { RestartWait, VmRecord } from '../store/records.ts'
import { commitChanges } from '../sagas/vm-records.ts'
import type { ReconcilerDeps } from './deps.ts'
import { RepeatLimit } from './repeat-limit.ts'

/** Figures in a reason change all the time: not every change is worth a commit. */
const newWordsEveryMs = 30_000
const commitsPerLook = 50

/** What is to be written: the reason, or null for none any more. Pure. */
export function planWaits(
  vms: readonly VmRecord[],
  waits: ReadonlyMap<VmId, RestartWait>,
): { readonly vm: VmRecord; readonly wait: RestartWait | null; readonly isNews: boolean }[] {
  return vms.flatMap((vm) => {
    const [before, wait] = [vm.restartWait ?? null, waits.get(vm.id) ?? null]
    if (before?.code === wait?.code && before?.why === wait?.why) return []
    return [{ vm, wait, isNews: wait !== null && before?.code !== wait.code && wait.code !== 'exhausted' }]
  })
}

export class RestartWaits {
  readonly #deps: Pick<ReconcilerDeps, 'store' | 'clock'>
  readonly #newWords: RepeatLimit<VmId>

  constructor(deps: Pick<ReconcilerDeps, 'store' | 'clock'>) {
    this.#deps = deps
    this.#newWords = new RepeatLimit(deps.clock, newWordsEveryMs)
  }

  /** `waits`: all that wait for something worth telling. */
  async tell(vms: readonly VmRecord[], waits: ReadonlyMap<VmId, RestartWait>): Promise<void> {
    let commits = 0
    for (const { vm, wait, isNews } of planWaits(vms, waits)) {
      if (commits >= commitsPerLook) return
      const isDue = this.#newWords.take(vm.id)
      if (!isDue && !isNews && wait !== null) continue
      commits += 1
      await this.#write(vm, wait, isNews)
    }
  }

  async #write({ id }: VmRecord, wait: RestartWait | null, isNews: boolean): Promise<void> {
    await commitChanges(this.#deps, async () => {
      const stored = await this.#deps.store.get('vm', id)
      if (stored === undefined) return undefined
      const value: VmRecord = { ...stored.value, restartWait: wait }
      const message = `${value.name} is not started again yet: ${wait?.why ?? ''}`
      const subject = { kind: 'vm', id, name: value.name }
      const news = { type: 'vm.restart-waits', subject, message, task: null, data: { code: wait?.code ?? '' } }
      const isTold = isNews && stored.value.restartWait?.code !== wait?.code
      return {
        changes: [{ do: 'update', kind: 'vm', value, expected: stored.revision }],
        events: isTold ? [news] : [],
      }
    })
  }
}
