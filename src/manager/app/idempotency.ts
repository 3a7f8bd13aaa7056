/**
 * Idempotency keys: the first answer to a key is kept for a day and given again to the same request. What a request makes
 * is committed together with the key (its pledge), so that a manager that dies before it has answered has not forgotten
 * the key either: the answer is then made from what was made. Answers that bear a secret are kept in memory alone, so that
 * no secret reaches the store.
 */
import { isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import { digestOf } from '../../contracts/digest.ts'
import type { Pledge } from '../sagas/operation.ts'
import type { IdempotencyRecord, MadeObject } from '../store/records.ts'
import type { Change, Store, Stored } from '../store/store.ts'
import type { Caller } from './context.ts'
import { hashOf } from './secrets.ts'

const keepMs = 24 * 60 * 60 * 1000
const maxInMemory = 1000
/** Larger answers are not kept: none of those that change anything is so large. */
const maxAnswerChars = 256 * 1024

interface Remembered {
  readonly requestDigest: string
  readonly answer: Promise<unknown>
}

export interface KeyedRequest {
  readonly key: string
  readonly caller: Caller
  readonly method: string
  readonly path: string
  readonly body: unknown
  /** Of every answer to it that is no refusal. */
  readonly status: number
  readonly hasSecretAnswer: boolean
}

/** How what was made is shown, by its kind. */
export type MadeViews = { readonly [K in MadeObject['kind']]: (id: string) => Promise<unknown> }

/** Makes the body of the answer. What the request makes is to be committed with the pledge. */
export type Run = (pledge: Pledge | undefined) => Promise<unknown>

export class Idempotency {
  readonly #store: Store
  readonly #clock: Clock
  readonly #views: MadeViews
  /** Requests that are being answered, and answers with secrets. */
  readonly #inMemory = new Map<string, Remembered>()

  constructor(store: Store, clock: Clock, views: MadeViews) {
    this.#store = store
    this.#clock = clock
    this.#views = views
  }

  /** The first answer to this key, or `run`'s. Refusals are not kept: trying again may succeed. Throws `idempotency-mismatch`. */
  async once(request: KeyedRequest, run: Run): Promise<unknown> {
    if (!/^[\x21-\x7e]{1,200}$/.test(request.key)) {
      throw new HoldfastError('invalid-request', 'an Idempotency-Key is 1 to 200 visible ASCII characters')
    }
    const id = hashOf(`${request.caller.id}\n${request.key}`)
    const requestDigest = digestOf([request.method, request.path, request.body ?? null])
    const running = this.#inMemory.get(id)
    if (running !== undefined) {
      checkDigest(running.requestDigest, requestDigest)
      return running.answer
    }
    const answer = this.#answer(id, requestDigest, request, run)
    this.#inMemory.set(id, { requestDigest, answer })
    try {
      return await answer
    } catch (thrown) {
      this.#inMemory.delete(id)
      throw thrown
    } finally {
      if (!request.hasSecretAnswer) this.#inMemory.delete(id)
      const [oldest] = this.#inMemory.keys()
      if (this.#inMemory.size > maxInMemory && oldest !== undefined) this.#inMemory.delete(oldest)
    }
  }

  async #answer(id: string, requestDigest: string, request: KeyedRequest, run: Run): Promise<unknown> {
    const before = await this.#store.get('idempotency', id)
    const first = await this.#firstAnswer(before, requestDigest)
    if (first !== undefined) return first.body
    if (request.hasSecretAnswer) return run(undefined)
    const empty = { id, v: 1 as const, requestDigest, status: request.status, body: null, expires: this.#expiry() }
    const pledge: Pledge = { changeFor: (made) => putting({ ...empty, made }, before) }
    let body: unknown
    try {
      body = await run(pledge)
    } catch (thrown) {
      // Another manager may have taken the same request meanwhile.
      const now = await this.#store.get('idempotency', id)
      const other = now?.revision === before?.revision ? undefined : await this.#firstAnswer(now, requestDigest)
      if (other !== undefined) return other.body
      throw thrown
    }
    if (JSON.stringify(body ?? null).length > maxAnswerChars) return body
    const change = putting({ ...empty, body }, await this.#store.get('idempotency', id))
    await this.#store.commit({ changes: [change], events: [] })
    return body
  }

  /** What this key was answered with, as far as it still counts. Throws `idempotency-mismatch`. */
  async #firstAnswer(
    stored: Stored<IdempotencyRecord> | undefined,
    requestDigest: string,
  ): Promise<{ readonly body: unknown } | undefined> {
    const kept = stored?.value
    if (kept === undefined || Date.parse(kept.expires) <= this.#clock.now()) return undefined
    checkDigest(kept.requestDigest, requestDigest)
    const { made } = kept
    return { body: made === undefined ? kept.body : await this.#views[made.kind](made.id) }
  }

  #expiry(): string {
    return isoTime(this.#clock.now() + keepMs)
  }
}

/** The record in the place of the one that was read, if any. */
function putting(value: IdempotencyRecord, before: Stored<IdempotencyRecord> | undefined): Change {
  if (before === undefined) return { do: 'create', kind: 'idempotency', value }
  return { do: 'update', kind: 'idempotency', value, expected: before.revision }
}

function checkDigest(first: string, now: string): void {
  if (first === now) return
  throw new HoldfastError('idempotency-mismatch', 'this idempotency key was used for another request', {
    mend: 'Use a new key for each different request.',
  })
}
