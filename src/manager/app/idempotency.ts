/**
 * Idempotency keys: the first answer to a key is kept for a day and given again to the same request. Answers that bear a
 * secret are kept in memory alone, so that no secret reaches the store.
 */
import { isoTime, type Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import { digestOf } from '../../contracts/digest.ts'
import type { Store } from '../store/store.ts'
import type { Caller } from './context.ts'
import { hashOf } from './secrets.ts'

const keepMs = 24 * 60 * 60 * 1000
const maxInMemory = 1000
/** Larger answers are not kept: none of those that change anything is so large. */
const maxAnswerChars = 256 * 1024

export interface Answer {
  readonly status: number
  readonly body: unknown
}

interface Remembered {
  readonly requestDigest: string
  readonly answer: Promise<Answer>
}

export interface KeyedRequest {
  readonly key: string
  readonly caller: Caller
  readonly method: string
  readonly path: string
  readonly body: unknown
  readonly hasSecretAnswer: boolean
}

export class Idempotency {
  readonly #store: Store
  readonly #clock: Clock
  /** Requests that are being answered, and answers with secrets. */
  readonly #inMemory = new Map<string, Remembered>()

  constructor(store: Store, clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  /** The first answer to this key, or `run`'s. Refusals are not kept: trying again may succeed. Throws `idempotency-mismatch`. */
  async once(request: KeyedRequest, run: () => Promise<Answer>): Promise<Answer> {
    if (!/^[\x21-\x7e]{1,200}$/.test(request.key)) {
      throw new HoldfastError('invalid-request', 'an Idempotency-Key is 1 to 200 visible ASCII characters')
    }
    const id = hashOf(`${request.caller.id}\n${request.key}`)
    const requestDigest = digestOf([request.method, request.path, request.body ?? null])
    const running = this.#inMemory.get(id)
    if (running !== undefined) return checked(running.requestDigest, requestDigest, await running.answer)
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

  async #answer(id: string, requestDigest: string, request: KeyedRequest, run: () => Promise<Answer>): Promise<Answer> {
    const kept = (await this.#store.get('idempotency', id))?.value
    if (kept !== undefined && Date.parse(kept.expires) > this.#clock.now()) {
      return checked(kept.requestDigest, requestDigest, { status: kept.status, body: kept.body })
    }
    const answer = await run()
    if (request.hasSecretAnswer || JSON.stringify(answer.body ?? null).length > maxAnswerChars) return answer
    const expires = isoTime(this.#clock.now() + keepMs)
    const value = { id, v: 1 as const, requestDigest, status: answer.status, body: answer.body, expires }
    const before = await this.#store.get('idempotency', id)
    const change =
      before === undefined
        ? ({ do: 'create', kind: 'idempotency', value } as const)
        : ({ do: 'update', kind: 'idempotency', value, expected: before.revision } as const)
    await this.#store.commit({ changes: [change], events: [] })
    return answer
  }
}

function checked(first: string, now: string, answer: Answer): Answer {
  if (first === now) return answer
  throw new HoldfastError('idempotency-mismatch', 'this idempotency key was used for another request', {
    mend: 'Use a new key for each different request.',
  })
}
