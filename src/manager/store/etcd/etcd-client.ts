/**
 * The few calls of etcd 3.4 and later that the store makes, by etcd's own JSON gateway
 * (https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/): bytes are base64, 64-bit numbers are text, and what is false or 0
 * is left out. Every call goes to one member, and to the next when that one does not answer; a call may so have been carried
 * out twice, so callers write only under a condition that their first success makes false.
 */
import { deadline, type Clock } from '../../../base/clock.ts'
import { HoldfastError, toHoldfastError } from '../../../base/errors.ts'
import type { HttpResponse, Network, TlsIdentity } from '../../../base/network.ts'
import { readBody } from '../../../contracts/http-exchange.ts'

export interface EtcdOptions {
  readonly network: Network
  readonly clock: Clock
  /** `http://10.0.0.1:2379`, one or more members of the same cluster. */
  readonly endpoints: readonly string[]
  /** With `https:`. */
  readonly tls?: TlsIdentity
  /** How long one member is waited for, and all of them together; default 3 s and 10 s. */
  readonly attemptMs?: number
  readonly patienceMs?: number
}

export interface KeyValue {
  readonly key: string
  readonly value: string
  /** etcd's own revision, in which it was written last. */
  readonly modRevision: number
}

export interface Range {
  readonly items: readonly KeyValue[]
  /** etcd's revision at which it was read. */
  readonly revision: number
  readonly isMore: boolean
}

/** Holds when the key has this value; undefined: when it is not there. */
export interface Condition {
  readonly key: string
  readonly value: string | undefined
}

/** `end`: all keys from `key` on before this one. */
export type Operation =
  | { readonly do: 'put'; readonly key: string; readonly value: string }
  | { readonly do: 'delete'; readonly key: string; readonly end?: string }

/** One of the members that are named. */
export interface EtcdMember {
  readonly url: string
  /** Why it is of no use, or what it complains of; null: it is well. */
  readonly problem: string | null
}

export interface WatchAnswer {
  /** In the order in which they were written; `value` is undefined where a key was deleted. */
  readonly events: readonly { readonly key: string; readonly value: string | undefined; readonly modRevision: number }[]
}

const [usualAttemptMs, usualPatienceMs, pauseMs] = [3000, 10_000, 100]
/** https://grpc.io/docs/guides/status-codes/ */
const [grpcOutOfRange, grpcResourceExhausted] = [11, 8]
const transient = new Set([1, 4, 10, 14])

export class EtcdClient {
  readonly #options: EtcdOptions
  #member = 0

  /** Throws `invalid-request` where no endpoint is named. */
  constructor(options: EtcdOptions) {
    this.#options = options
    if (options.endpoints.length === 0) throw new HoldfastError('invalid-request', 'no member of etcd is named')
  }

  /** Keys and values, in order of key. Linearizable; at a `revision` of before when it is named, which throws `not-found` where etcd keeps it no more. */
  async range(
    key: string,
    options: { readonly end?: string; readonly limit?: number; readonly revision?: number } = {},
  ): Promise<Range> {
    const answer = await this.#call('kv/range', {
      key: encode(key),
      ...(options.end === undefined ? {} : { range_end: encode(options.end) }),
      ...(options.limit === undefined ? {} : { limit: String(options.limit) }),
      ...(options.revision === undefined ? {} : { revision: String(options.revision) }),
    })
    const items = listOf(answer['kvs']).map(keyValue)
    return { items, revision: revisionIn(answer), isMore: answer['more'] === true }
  }

  /** Carries out all operations, or none unless every condition holds. May have been tried before (see above). */
  async write(
    conditions: readonly Condition[],
    operations: readonly Operation[],
  ): Promise<{ readonly isDone: boolean; readonly revision: number }> {
    const answer = await this.#call('kv/txn', {
      compare: conditions.map(({ key, value }) =>
        value === undefined
          ? { key: encode(key), target: 'VERSION', result: 'EQUAL', version: '0' }
          : { key: encode(key), target: 'VALUE', result: 'EQUAL', value: encode(value) },
      ),
      success: operations.map((each) =>
        each.do === 'put'
          ? { request_put: { key: encode(each.key), value: encode(each.value) } }
          : {
              request_delete_range: {
                key: encode(each.key),
                ...(each.end === undefined ? {} : { range_end: encode(each.end) }),
              },
            },
      ),
    })
    return { isDone: answer['succeeded'] === true, revision: revisionIn(answer) }
  }

  /** Forgets what was superseded before this revision. */
  async compact(revision: number): Promise<void> {
    await this.#call('kv/compaction', { revision: String(revision) })
  }

  /**
   * What is written from `from` on to keys that begin with `prefix`, from one member, until the signal is aborted or that
   * member is lost: then it throws `unreachable`, and the next watch asks the next one. Throws `not-found` where etcd does not
   * keep that revision any more.
   */
  async *watch(prefix: string, from: number, signal: AbortSignal): AsyncGenerator<WatchAnswer, void, undefined> {
    const create = { key: encode(prefix), range_end: encode(endOf(prefix)), start_revision: String(from) }
    const member = this.#member
    try {
      // A member that has lost its leader ends the watch: nothing would come of it, without a word.
      const headers = { 'grpc-metadata-hasleader': 'true' }
      const request = { path: 'watch', body: { create_request: create }, endpoint: this.#endpoint }
      const response = await this.#send(request, signal, headers)
      for await (const line of linesOf(response)) {
        const answer = parse(line)
        const result = (answer['result'] ?? {}) as Json
        if (answer['error'] !== undefined) throw problemOf(answer['error'] as Json)
        if (result['compact_revision'] !== undefined) throw compacted()
        if (result['canceled'] === true) throw new HoldfastError('unreachable', 'etcd has ended a watch')
        yield { events: listOf(result['events']).map(watchEvent) }
      }
      if (!signal.aborted) throw new HoldfastError('unreachable', 'etcd has closed a watch')
    } catch (thrown) {
      if (signal.aborted) return
      const error = toHoldfastError(thrown)
      if (error.code !== 'not-found') this.#leave(member)
      throw error
    }
  }

  /** What every member that is named says of itself, each asked once and all at the same time. Never rejects. */
  members(): Promise<EtcdMember[]> {
    return Promise.all(
      this.#options.endpoints.map(async (url) => {
        const problem = await this.#complaint(url).catch((thrown: unknown) => toHoldfastError(thrown).message)
        return { url, problem }
      }),
    )
  }

  async #complaint(endpoint: string): Promise<string | null> {
    const status = await this.#exchange('maintenance/status', {}, endpoint)
    const errors = listOf(status['errors']).map(String)
    return errors.length === 0 ? null : errors.join('; ')
  }

  /** The member that is asked now is not to be asked next. */
  leave(): void {
    this.#leave(this.#member)
  }

  #leave(member: number): void {
    if (this.#member === member) this.#member = (member + 1) % this.#options.endpoints.length
  }

  async #call(path: string, body: Json): Promise<Json> {
    const { clock, patienceMs = usualPatienceMs } = this.#options
    const until = clock.monotonic() + patienceMs
    for (;;) {
      const member = this.#member
      try {
        return await this.#exchange(path, body, this.#endpoint)
      } catch (thrown) {
        const error = toHoldfastError(thrown)
        if (!error.isUnknown || clock.monotonic() > until) throw error
        this.#leave(member)
        await clock.sleep(pauseMs)
      }
    }
  }

  async #exchange(path: string, body: Json, endpoint: string): Promise<Json> {
    const { clock, attemptMs = usualAttemptMs } = this.#options
    const late = new HoldfastError('unreachable', `${endpoint} did not answer within ${attemptMs} ms`)
    using limit = deadline(clock, attemptMs, late)
    const response = await this.#send({ path, body, endpoint }, limit.signal)
    return parse(Buffer.from(await readBody(response.body)).toString())
  }

  get #endpoint(): string {
    return this.#options.endpoints[this.#member] ?? ''
  }

  async #send(
    { path, body, endpoint }: { readonly path: string; readonly body: Json; readonly endpoint: string },
    signal: AbortSignal,
    headers = {},
  ): Promise<HttpResponse> {
    const { network, tls } = this.#options
    const response = await network.request({
      ...{ method: 'POST', url: `${endpoint}/v3/${path}`, body: JSON.stringify(body), signal },
      headers: { 'content-type': 'application/json', ...headers },
      ...(tls === undefined ? {} : { tls }),
    })
    if (response.status === 200) return response
    throw problemOf(parse(Buffer.from(await readBody(response.body)).toString()))
  }
}

/** The first key after all that begin with this text. */
export function endOf(prefix: string): string {
  const last = prefix.charCodeAt(prefix.length - 1)
  return prefix.slice(0, -1) + String.fromCharCode(last + 1)
}

type Json = Readonly<Record<string, unknown>>

function encode(text: string): string {
  return Buffer.from(text).toString('base64')
}

function decode(value: unknown): string {
  return typeof value === 'string' ? Buffer.from(value, 'base64').toString() : ''
}

function listOf(value: unknown): readonly Json[] {
  return Array.isArray(value) ? (value as Json[]) : []
}

function keyValue(item: Json): KeyValue {
  return { key: decode(item['key']), value: decode(item['value']), modRevision: Number(item['mod_revision'] ?? 0) }
}

function watchEvent(event: Json): WatchAnswer['events'][number] {
  const { key, value, modRevision } = keyValue((event['kv'] ?? {}) as Json)
  return { key, modRevision, value: event['type'] === 'DELETE' ? undefined : value }
}

function revisionIn(answer: Json): number {
  return Number(((answer['header'] ?? {}) as Json)['revision'] ?? 0)
}

function parse(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch (cause) {
    throw new HoldfastError('host-error', 'what answers is not etcd', {}, { cause })
  }
}

function compacted(): HoldfastError {
  return new HoldfastError('not-found', 'etcd does not keep that revision any more')
}

/** A status of gRPC, as the gateway writes it; of a watch with other names. */
function problemOf(answer: Json): HoldfastError {
  const code = Number(answer['code'] ?? answer['grpc_code'] ?? 0)
  const said = answer['message'] ?? answer['error']
  const message = typeof said === 'string' ? said : 'it refuses, and does not say why'
  if (code === grpcOutOfRange) return compacted()
  const isFull = code === grpcResourceExhausted && message.includes('space')
  // The other use of that code is `too many requests`.
  if (transient.has(code) || (code === grpcResourceExhausted && !isFull)) {
    return new HoldfastError('unreachable', `etcd: ${message}`)
  }
  const mend = isFull
    ? "etcd's space is used up: compact and defragment it, or raise its quota; then `etcdctl alarm disarm`."
    : 'See the log of etcd.'
  return new HoldfastError('store-error', `etcd: ${message}`, { mend })
}

async function* linesOf(response: HttpResponse): AsyncGenerator<string, void, undefined> {
  let rest = ''
  response.body.setEncoding('utf8')
  for await (const chunk of response.body as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line.trim() !== '') yield line
  }
}
