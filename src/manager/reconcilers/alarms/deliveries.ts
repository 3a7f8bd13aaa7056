/**
 * Tells targets what they are owed. One try at a time for each target, the oldest first, and no target waits for another.
 * What is owed is in the store until it was told or is given up, so a manager that dies in the middle tells it again: at least
 * once, with the same delivery id.
 */
import { isoTime, type Clock } from '../../../base/clock.ts'
import { describeError } from '../../../base/errors.ts'
import type { Logger } from '../../../base/log.ts'
import {
  afterFailure,
  isDue,
  type DeliveryRecord,
  type Notice,
  type TargetRecord,
} from '../../domain/alarms/notification.ts'
import type { Change, NewEvent, Store } from '../../store/store.ts'
import type { Reconciler } from '../deps.ts'

/** Tells a target something once, and says what it answered. Rejects when it was not told, or that is not known. */
export type TellTarget = (target: TargetRecord, notice: Notice, signal: AbortSignal) => Promise<string>

export interface DeliveryDeps {
  readonly store: Store
  readonly clock: Clock
  readonly log: Logger
  /** As of a moment ago. */
  readonly inventory: {
    list(kind: 'target'): readonly TargetRecord[]
    list(kind: 'delivery'): readonly DeliveryRecord[]
  }
  readonly tell: TellTarget
}

export class Deliveries implements Reconciler {
  readonly name = 'alarm-deliveries'
  readonly everyMs = 1000
  readonly #deps: DeliveryDeps
  readonly #closing = new AbortController()
  readonly #busy = new Map<string, Promise<void>>()

  constructor(deps: DeliveryDeps) {
    this.#deps = deps
  }

  look(): Promise<void> {
    const { inventory, clock, log } = this.#deps
    const owed = Map.groupBy(inventory.list('delivery'), ({ target }) => target)
    const targets = new Map(inventory.list('target').map((target) => [target.id, target]))
    for (const [id, records] of owed) {
      const target = targets.get(id)
      const due = records.filter((record) => isDue(record, clock.now()))
      if (this.#busy.has(id) || target === undefined || due.length === 0) continue
      const work = this.#tellAll(target, due)
        .catch((err: unknown) =>
          log.warn({ err, target: id }, 'what a target is owed could not be looked after; it is tried again'),
        )
        .finally(() => this.#busy.delete(id))
      this.#busy.set(id, work)
    }
    return Promise.resolve()
  }

  async #tellAll(target: TargetRecord, due: readonly DeliveryRecord[]): Promise<void> {
    for (const { id } of due) {
      if (this.#closing.signal.aborted) return
      await this.#tellOne(target, id)
    }
  }

  async #tellOne(target: TargetRecord, id: string): Promise<void> {
    const { store, clock, log } = this.#deps
    const stored = await store.get('delivery', id)
    if (stored === undefined || !isDue(stored.value, clock.now())) return
    const { value, revision } = stored
    const problem = await this.#try(target, value.notice)
    if (problem === undefined) return
    const next = problem === null ? null : afterFailure(value, problem, clock.now())
    if (problem !== null) {
      log.info(
        { target: target.id, delivery: id, attempts: value.attempts + 1, problem },
        'a target could not be told of an alarm',
      )
    }
    const change: Change =
      next === null
        ? { do: 'remove', kind: 'delivery', id, expected: revision }
        : { do: 'update', kind: 'delivery', value: next, expected: revision }
    const isGivenUp = problem !== null && next === null
    await store.commit({ changes: [change], events: isGivenUp ? [givenUp(target, value, problem)] : [] })
  }

  /** Null: it was told; else why not. Undefined: the manager stops, which says nothing of the target. */
  async #try(target: TargetRecord, notice: Notice): Promise<string | null | undefined> {
    const { log, tell } = this.#deps
    try {
      const answer = await tell(target, notice, this.#closing.signal)
      log.debug({ target: target.id, delivery: notice.delivery, answer }, 'a target was told of an alarm')
      return null
    } catch (thrown) {
      return this.#closing.signal.aborted ? undefined : describeError(thrown)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new Error('the manager is stopping'))
    await Promise.all(this.#busy.values())
  }
}

function givenUp(target: TargetRecord, { notice, created, attempts }: DeliveryRecord, problem: string): NewEvent {
  const { alarm, change } = notice
  const since = isoTime(Date.parse(created))
  return {
    type: 'notification.given-up',
    subject: { kind: 'target', id: target.id, name: target.name },
    message: `${target.name} was never told that ${alarm.id} was ${change}: ${attempts + 1} tries since ${since} failed, the last: ${problem}`,
    ...{ task: null, data: { alarm: alarm.id, change, attempts: attempts + 1 } },
  }
}
