/**
 * Resets a guest that hangs or has panicked, and keeps what was seen of it before. Whatever is lost on the way, one boot of a
 * guest is reset once: its host is asked which boot it is at just before, and a reset begins another.
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { ResetReason } from '../../contracts/monitoring.ts'
import { defaultMonitoring } from '../../contracts/monitoring.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { noHistory, recentResets, type ResetDecision } from '../domain/monitoring.ts'
import type { NewEvent } from '../store/store.ts'
import type { SagaDeps } from './deps.ts'
import { keepEvidence } from './evidence.ts'
import { onVm } from './on-vm.ts'
import type { Operation } from './operation.ts'
import { saga, type SagaEnd } from './saga.ts'
import { needRun, needVm } from './vm-records.ts'

export interface ResetHungParams {
  readonly vm: VmId
  readonly name: string
  readonly why: ResetReason
  /** Of the guest that was judged. */
  readonly boot: string
  readonly detail: string
}

export const resetHungVmSaga = saga<ResetHungParams, SagaDeps>('vm.reset-hung/1', { givesWay: true })
  .step({
    name: 'evidence',
    do: async ({ params, deps, task }) => {
      const { vm, why, detail } = params
      const { host } = await mustRun(deps, vm)
      const isStill = await isAtBoot(deps, host, params)
      if (isStill) await keepEvidence(deps, host, { vm, task, why, detail })
      return { isKept: isStill }
    },
  })
  .step({
    name: 'reset',
    do: async ({ params, deps, task, signal }) => {
      const run = await mustRun(deps, params.vm)
      if (!(await isAtBoot(deps, run.host, params))) return { host: run.host }
      signal.throwIfAborted()
      await deps.hosts.agent(run.host).signal(params.vm, { generation: run.generation, signal: 'reset', task })
      return { host: run.host }
    },
  })
  .result((done) => ({ host: done.reset.host, hasEvidence: done.evidence.isKept }), eventsOf)

async function mustRun(deps: SagaDeps, vm: VmId): Promise<RunRecord & { readonly host: HostId }> {
  const run = await needRun(deps, vm)
  const { host } = run
  if (run.phase === 'running' && host !== null) return { ...run, host }
  throw new HoldfastError('wrong-state', `${vm} does not run (${run.phase})`)
}

/** False: it has begun anew since it was judged, by our own reset or by itself. */
async function isAtBoot(deps: SagaDeps, host: HostId, { vm, boot }: ResetHungParams): Promise<boolean> {
  return (await deps.hosts.agent(host).observe(vm)).guest?.boot === boot
}

function eventsOf({ task, params, state, done }: SagaEnd<ResetHungParams>): readonly NewEvent[] {
  if (state !== 'done') return []
  const { vm, name, why, boot, detail } = params
  const { isKept } = done['evidence'] as { isKept: boolean }
  const because = why === 'hang' ? 'hung' : 'had panicked'
  const event = {
    ...{ type: `vm.reset-after-${why}`, subject: { kind: 'vm', id: vm, name }, task },
    message: `${name} was reset, as its guest ${because}: ${detail}`,
    data: { why, boot, evidence: isKept ? task : null },
  }
  return [event]
}

/** Ready to begin. The reset is counted with the beginning of its task, so that no manager makes more than there may be. */
export async function resetHungOperation(
  deps: Pick<SagaDeps, 'store' | 'clock'>,
  id: VmId,
  { why, boot, detail }: Exclude<ResetDecision, { do: 'nothing' }>,
): Promise<Operation<ResetHungParams>> {
  const vm = await needVm(deps, id)
  const { name, policies, monitoring = noHistory } = vm.value
  const now = deps.clock.now()
  const recent = recentResets(policies.monitoring ?? defaultMonitoring, monitoring, now)
  const value = {
    ...vm.value,
    monitoring: { resets: [...recent, isoTime(now)], lastBoot: boot, gaveUpAt: null },
  }
  return {
    ...{ saga: resetHungVmSaga, params: { vm: id, name, why, boot, detail }, ...onVm(vm) },
    changes: [{ do: 'update', kind: 'vm', value, expected: vm.revision }],
  }
}
