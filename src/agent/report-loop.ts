/** Tells the managers what is on this host: at the interval they ask for, and soon after a change. */
import type { Clock } from '../base/clock.ts'
import { toHoldfastError } from '../base/errors.ts'
import type { VmId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { HostConfiguration } from '../contracts/agent-api.ts'
import type { HostReport } from '../contracts/host.ts'
import { leaseRetryMs } from '../contracts/host-lease.ts'
import type { ManagerApi, ReportResponse } from '../contracts/manager-api.ts'

/** Changes come in groups; a report waits for the rest of the group. */
const gatherMs = 20
/** After a report that was refused in words. */
const refusedRetryMs = 2000

export interface ReportWork {
  readonly report: () => Promise<HostReport>
  readonly configure: (configuration: HostConfiguration) => Promise<void>
  /** The store has begun a new life: every run record must be read anew. */
  readonly onNewIncarnation: () => Promise<void>
  /** The manager believes that these are no more. */
  readonly onUnknown: (vms: readonly VmId[]) => Promise<void>
  /** A manager has answered a report that was sent at that moment of the clock that does not jump. */
  readonly onAnswer: (sentAt: number, answer: ReportResponse) => void
}

export class ReportLoop {
  readonly #clock: Clock
  readonly #log: Logger
  readonly #manager: ManagerApi
  readonly #signal: AbortSignal
  #wake: (() => void) | undefined
  /** When the changes that are known are to be told. */
  #dueAt: number | undefined
  #incarnation: number | undefined
  #wasReachable: boolean | undefined
  readonly #busy = new Set<string>()

  constructor(deps: { clock: Clock; log: Logger; manager: ManagerApi }, signal: AbortSignal) {
    this.#clock = deps.clock
    this.#log = deps.log
    this.#manager = deps.manager
    this.#signal = signal
  }

  /** Something changed: report soon, or only so many milliseconds later where the host has better to do. */
  nudge(afterMs = gatherMs): void {
    const at = this.#clock.monotonic() + afterMs
    if (this.#dueAt !== undefined && this.#dueAt <= at) return
    this.#dueAt = at
    this.#wake?.()
  }

  async run(work: ReportWork): Promise<void> {
    while (!this.#signal.aborted) {
      this.#dueAt = undefined
      const intervalMs = await this.#once(work)
      await this.#pause(intervalMs)
    }
  }

  async #once(work: ReportWork): Promise<number> {
    try {
      const report = await work.report()
      const sentAt = this.#clock.monotonic()
      const answer = await this.#manager.report(report)
      work.onAnswer(sentAt, answer)
      this.#note(true, undefined)
      const isNewLife = this.#incarnation !== undefined && this.#incarnation !== answer.incarnation
      this.#incarnation = answer.incarnation
      if (isNewLife) await work.onNewIncarnation()
      const { configuration, unknownVms } = answer
      // They may take long, and what keeps the lease does not wait for them.
      if (configuration !== null) this.#beside('configure', () => work.configure(configuration))
      if (unknownVms !== undefined) this.#beside('forget', () => work.onUnknown(unknownVms))
      return answer.nextReportMs
    } catch (err) {
      if (!this.#signal.aborted) this.#note(false, err)
      // Two intervals of silence are what a host with a fence device is switched off for: one lost report must not be.
      return toHoldfastError(err).isUnknown ? leaseRetryMs : refusedRetryMs
    }
  }

  /** What is at work already is asked for again with the next answer, where it is still needed. */
  #beside(what: string, work: () => Promise<void>): void {
    if (this.#busy.has(what)) return
    this.#busy.add(what)
    void work()
      .catch((err: unknown) =>
        this.#log.warn({ what, err }, 'what the manager asks for could not be done; it asks again'),
      )
      .finally(() => this.#busy.delete(what))
  }

  #note(isReachable: boolean, err: unknown): void {
    if (isReachable === this.#wasReachable) return
    this.#wasReachable = isReachable
    if (isReachable) this.#log.info({}, 'the manager takes reports')
    else this.#log.warn({ err }, 'reports do not reach the manager; VMs run on')
  }

  /** Until the interval is over, or a change is due. */
  async #pause(ms: number): Promise<void> {
    const end = this.#clock.monotonic() + ms
    while (!this.#signal.aborted) {
      const left = Math.min(end, this.#dueAt ?? end) - this.#clock.monotonic()
      if (left <= 0) return
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#wake = resolve
      const wake = (): void => resolve()
      this.#signal.addEventListener('abort', wake, { once: true })
      using _timer = this.#clock.timer(left, wake)
      await promise
      this.#signal.removeEventListener('abort', wake)
      this.#wake = undefined
    }
  }
}
