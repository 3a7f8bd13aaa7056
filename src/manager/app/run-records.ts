/** Run records as hosts ask for them. Who writes them, and what follows from a transition, is sagas/run-records.ts. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { TransitionRequest, TransitionResponse } from '../../contracts/manager-api.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import { answerTransition } from '../sagas/run-records.ts'
import type { AppContext } from './context.ts'
import { need } from './write.ts'

export class RunRecords {
  readonly #context: AppContext

  constructor(context: AppContext) {
    this.#context = context
  }

  async get(vm: VmId): Promise<RunRecord> {
    return (await need(this.#context.store, 'run', vm)).value.run
  }

  /**
   * Makes a transition for a host that has shown who it is. Throws `not-found` for a VM that is no more, and
   * `invalid-request` for a stop without a cause; every other refusal is an answer.
   */
  async transition(host: HostId, request: TransitionRequest): Promise<TransitionResponse> {
    if (request.event === 'stopped' && request.cause === null) {
      throw new HoldfastError('invalid-request', 'a stop needs a cause', { field: 'cause' })
    }
    return answerTransition(this.#context, host, request)
  }
}
