/**
 * The least that an agent needs of a manager: run records moved by the real rule, with answers that can be lost. For the
 * agent's own tests; the cluster's simulation runs the real manager.
 */
import { isoTime, type Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { HostId, VmId } from '../base/ids.ts'
import type { HostReport } from '../contracts/host.ts'
import {
  transitionBy,
  type ManagerApi,
  type ReportResponse,
  type TransitionRequest,
  type TransitionResponse,
} from '../contracts/manager-api.ts'
import { stepRunRecord, type RunRecord, type RunTransition } from '../contracts/run-record.ts'

export class FakeManager {
  readonly #clock: Clock
  readonly #records = new Map<VmId, RunRecord>()
  readonly #attempts = new Map<VmId, string>()
  readonly reports: HostReport[] = []
  incarnation = 1
  isReachable = true
  /** The next answers are lost after the work is done. */
  loseAnswers = 0
  latencyMs = 2

  constructor(clock: Clock) {
    this.#clock = clock
  }

  create(vm: VmId): RunRecord {
    const since = isoTime(this.#clock.now())
    const none = { host: null, target: null, postCopy: false, task: null }
    const record: RunRecord = {
      vm,
      phase: 'stopped',
      ...none,
      cause: 'never-started',
      incarnation: 1,
      generation: 1,
      since,
    }
    this.#records.set(vm, record)
    return record
  }

  record(vm: VmId): RunRecord {
    const record = this.#records.get(vm)
    if (record === undefined) throw new HoldfastError('not-found', `there is no ${vm}`)
    return record
  }

  /** The VM was deleted. */
  forget(vm: VmId): void {
    this.#records.delete(vm)
  }

  /** A transition that managers make. Throws when the rule refuses it. */
  move(vm: VmId, transition: RunTransition): RunRecord {
    const step = stepRunRecord(this.record(vm), transition, isoTime(this.#clock.now()))
    if (!step.ok) throw new HoldfastError('wrong-state', step.reason)
    this.#records.set(vm, step.record)
    return step.record
  }

  /** The door that the agent of this host has. */
  api(host: HostId): ManagerApi {
    return {
      report: (report) => this.#answer(() => this.#report(report)),
      transition: (request) => this.#answer(() => this.#transition(host, request)),
      record: (vm) => this.#answer(() => this.record(vm)),
      promise: async () => undefined,
      renew: () => Promise.reject(new HoldfastError('not-found', 'this manager has no authority')),
      streamCertificate: () => Promise.reject(new HoldfastError('not-found', 'this manager has no authority')),
      arbiterLife: () => noArbiter(),
      arbiterOpen: () => noArbiter(),
      arbiterClaim: () => noArbiter(),
      arbiterLook: () => noArbiter(),
      arbiterSupersede: () => noArbiter(),
    }
  }

  async #answer<T>(work: () => T): Promise<T> {
    await this.#clock.sleep(this.latencyMs)
    if (!this.isReachable) throw new HoldfastError('unreachable', 'the manager does not answer')
    const result = work()
    await this.#clock.sleep(this.latencyMs)
    if (this.loseAnswers > 0) {
      this.loseAnswers--
      throw new HoldfastError('unreachable', 'the answer was lost')
    }
    return result
  }

  #report(report: HostReport): ReportResponse {
    this.reports.push(report)
    const managerTime = isoTime(this.#clock.now())
    return { incarnation: this.incarnation, configuration: null, managerTime, nextReportMs: 2000 }
  }

  #transition(host: HostId, request: TransitionRequest): TransitionResponse {
    const record = this.record(request.vm)
    if (this.#attempts.get(request.vm) === request.attempt) return { isAccepted: true, reason: null, record }
    if (record.generation !== request.generation) return { isAccepted: false, reason: 'stale-generation', record }
    const step = stepRunRecord(record, transitionBy(host, request), isoTime(this.#clock.now()))
    if (!step.ok) return { isAccepted: false, reason: step.reason, record }
    this.#records.set(request.vm, step.record)
    this.#attempts.set(request.vm, request.attempt)
    return { isAccepted: true, reason: null, record: step.record }
  }
}

function noArbiter(): Promise<never> {
  return Promise.reject(new HoldfastError('refused', 'this manager is no arbiter'))
}
