/**
 * Moves a protected VM to its second host: the second takes over as planned, with the last epoch and no guest's connection
 * lost. The commit is not ours: the second's agent moves the record. Afterwards the VM has no second copy until the
 * reconciler has made a new one.
 */
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { isUnknown, pollPauses } from './agent-jobs.ts'
import type { SagaDeps } from './deps.ts'
import { tellUnprotect } from './protection-watch.ts'
import { RecordWake } from './record-wake.ts'
import { saga, type StepContext, type Verdict } from './saga.ts'
import { needRun } from './vm-records.ts'

export interface HandOverVmParams {
  readonly vm: VmId
  readonly primary: HostId
  /** The second, under the name by which the target of a move is known. */
  readonly host: HostId
  readonly n: number
}

type Context = StepContext<HandOverVmParams, unknown, SagaDeps>
type End =
  { readonly is: 'over' } | { readonly is: 'not'; readonly reason: string } | { readonly is: 'open'; reason: string }

/** A takeover is a matter of milliseconds once it was told of. */
const overdueMs = 60_000

export const handOverVmSaga = saga<HandOverVmParams, SagaDeps>('vm.hand-over/1')
  .commit({
    name: 'hand-over',
    do: async (context) => {
      const end = await handOver(context, 10_000, context.signal)
      if (end.is === 'over') return null
      throw new HoldfastError(end.is === 'open' ? 'unreachable' : 'wrong-state', end.reason)
    },
    settle: async (context): Promise<Verdict<null>> => {
      const end = await handOver(context, overdueMs, context.cancelWish)
      if (end.is === 'over') return { verdict: 'committed', output: null }
      // It may yet happen: then the record says so, and nothing is lost. Only this task waits no longer.
      return { verdict: 'not-committed', code: 'wrong-state', reason: end.reason }
    },
  })
  .result(() => null)

/** Tells the primary, again and again, until the record says what became of it or the time is over. */
async function handOver({ params, deps }: Context, withinMs: number, wish: AbortSignal): Promise<End> {
  const until = deps.clock.monotonic() + withinMs
  const pauses = pollPauses(500)
  using wake = new RecordWake(deps.store, params.vm)
  let reason = `the second copy on ${params.host} has not taken over in time`
  for (;;) {
    const { changed } = wake
    const end = judged(params, await needRun(deps, params.vm))
    if (end !== undefined) return end
    if (wish.aborted) return { is: 'not', reason: 'the task was cancelled' }
    if (deps.clock.monotonic() >= until) return { is: 'open', reason }
    try {
      const { generation } = await needRun(deps, params.vm)
      await tellUnprotect(deps, params.vm, { generation, n: params.n, how: 'hand-over' }, params.primary)
    } catch (thrown) {
      if (!isUnknown(thrown)) return { is: 'not', reason: describeError(thrown) }
      reason = describeError(thrown)
    }
    const over = new AbortController()
    await Promise.race([deps.clock.sleep(pauses.next().value, over.signal).catch(() => undefined), changed])
    over.abort()
  }
}

function judged({ host, n }: HandOverVmParams, run: RunRecord): End | undefined {
  if (run.host === host && run.protection?.n !== n) return { is: 'over' }
  if (run.protection?.n === n) return undefined
  return { is: 'not', reason: `its protection has ended meanwhile (the VM is ${run.phase})` }
}
