/**
 * Transitions of run records that hosts ask for. A host makes its own alone; each is one compare-and-set, and the same
 * attempt again is answered as the first time.
 */
import { isoTime } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { TransitionRequest, TransitionResponse } from '../../contracts/manager-api.ts'
import { stepRunRecord, type RunRecord, type RunTransition } from '../../contracts/run-record.ts'
import type { RunRecordStored, VmRecord } from '../store/records.ts'
import type { Change, NewEvent, Stored } from '../store/store.ts'
import type { AppContext } from './context.ts'
import { need, newEvent, subjectOf, write } from './write.ts'

export class RunRecords {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  async get(vm: VmId): Promise<RunRecord> {
    return (await need(this.#context.store, 'run', vm)).value.run
  }

  /** Throws `not-found` for a VM that is no more; every other refusal is an answer. */
  transition(host: HostId, request: TransitionRequest): Promise<TransitionResponse> {
    const { store } = this.#context
    const attempt = attemptOf(host, request)
    return write<TransitionResponse>(store, async () => {
      const stored = await need(store, 'run', request.vm)
      const { run, lastAttempt } = stored.value
      if (lastAttempt === attempt) return { changes: [], value: { isAccepted: true, reason: null, record: run } }
      const refuse = (reason: string) => ({ changes: [], value: { isAccepted: false, reason, record: run } })
      if (run.generation !== request.generation) return refuse('stale-generation')
      const transition = transitionOf(host, request)
      if (transition === undefined) return refuse('no-cause')
      const step = stepRunRecord(run, transition, isoTime(this.#context.clock.now()))
      if (!step.ok) return refuse(step.reason)
      const vm = await store.get('vm', request.vm)
      return {
        changes: changesOf(stored, step.record, attempt, vm, request.event === 'arrived'),
        events: vm === undefined ? [] : [await this.#eventOf(vm.value, run, step.record, request)],
        value: { isAccepted: true, reason: null, record: step.record },
      }
    })
  }

  async #eventOf(vm: VmRecord, before: RunRecord, after: RunRecord, request: TransitionRequest): Promise<NewEvent> {
    const { store } = this.#context
    const nameOf = async (id: HostId | null): Promise<string> =>
      id === null ? 'no host' : ((await store.get('host', id))?.value.name ?? id)
    const [from, to] = [await nameOf(before.host), await nameOf(after.host)]
    const words: Record<TransitionRequest['event'], [type: string, message: string]> = {
      started: ['vm.started', `${vm.name} runs on ${to}`],
      stopped: ['vm.stopped', `${vm.name} stopped on ${from} (${after.cause ?? 'asked'})`],
      'post-copy': ['vm.post-copy', `${vm.name} is switched over by post-copy`],
      arrived: ['vm.migrated', `${vm.name} moved from ${from} to ${to}`],
      returned: ['vm.move-ended', `${vm.name} stays on ${to}; its move did not complete`],
      adopted: ['vm.adopted', `${vm.name} was found running on ${to}`],
    }
    const [type, message] = words[request.event]
    const data = { from: before.host, host: after.host, generation: after.generation, cause: after.cause }
    return { ...newEvent(type, subjectOf('vm', vm), message, data), task: before.task ?? vm.operation }
  }
}

function transitionOf(by: HostId, request: TransitionRequest): RunTransition | undefined {
  if (request.event !== 'stopped') return { event: request.event, by }
  return request.cause === null ? undefined : { event: 'stopped', by, cause: request.cause }
}

/** Attempts are named by each host for itself; with the host before it the name is good for all. */
function attemptOf(host: HostId, request: TransitionRequest): string {
  return `${host}/${request.generation}/${request.event}/${request.attempt}`
}

function changesOf(
  stored: Stored<RunRecordStored>,
  run: RunRecord,
  attempt: string,
  vm: Stored<VmRecord> | undefined,
  hasArrived: boolean,
): Change[] {
  const changes: Change[] = [
    {
      do: 'update',
      kind: 'run',
      value: { ...stored.value, run, lastAttempt: attempt },
      expected: stored.revision,
    },
  ]
  // The disks that the guest now writes to are those of the new place: from the same commit on, the spec says so.
  const spec = vm?.value.specAfterMove ?? null
  if (hasArrived && vm !== undefined && spec !== null) {
    const value = { ...vm.value, spec, specAfterMove: null }
    changes.push({ do: 'update', kind: 'vm', value, expected: vm.revision })
  }
  return changes
}
