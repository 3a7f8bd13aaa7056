/** One HTTP exchange of JSON documents, with problem documents turned back into errors. Shared by the typed clients. */
import type { Duplex, Readable } from 'node:stream'
import { HoldfastError } from '../base/errors.ts'
import type { HttpRequest, HttpResponse, Network } from '../base/network.ts'
import { fromProblem, problemMediaType } from './problem-errors.ts'
import type { Problem } from './problem.ts'

/** More than any answer of ours; a reader that gets more is not speaking to Holdfast. */
const maxAnswerBytes = 64 * 1024 * 1024

/** The whole of a body. Throws `too-large` beyond `maxBytes`, `unreachable` when the stream breaks. */
export async function readBody(body: Readable, maxBytes = maxAnswerBytes): Promise<Uint8Array> {
  const chunks: Buffer[] = []
  let size = 0
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length
      if (size > maxBytes) throw new HoldfastError('too-large', `the answer is larger than ${maxBytes} bytes`)
      chunks.push(chunk)
    }
  } catch (thrown) {
    if (thrown instanceof HoldfastError) throw thrown
    throw new HoldfastError('unreachable', 'the connection broke in the middle of the answer', {}, { cause: thrown })
  }
  return Buffer.concat(chunks)
}

/** Sends a request and throws the problem that the other side answers with, as a HoldfastError. */
export async function exchange(network: Network, request: HttpRequest): Promise<HttpResponse> {
  const response = await network.request(request)
  if (response.status >= 200 && response.status < 300) return response
  throw await errorOf(request, response)
}

/** Sends a JSON document and reads the answer as one; null for 204. */
export async function exchangeJson(network: Network, request: HttpRequest): Promise<unknown> {
  const response = await exchange(network, request)
  return readJson(response)
}

export async function readJson(response: HttpResponse): Promise<unknown> {
  const bytes = await readBody(response.body)
  if (response.status === 204 || bytes.length === 0) return null
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8')) as unknown
  } catch (cause) {
    throw new HoldfastError('host-error', 'the answer is not JSON', {}, { cause })
  }
}

/** Opens a WebSocket as a stream, and throws the problem with which the other side refuses it, as a HoldfastError. */
export async function openWebSocket(
  network: Pick<Network, 'webSocket'>,
  url: string,
  options: Parameters<Network['webSocket']>[1],
): Promise<Duplex> {
  try {
    return await network.webSocket(url, options)
  } catch (thrown) {
    if (!(thrown instanceof HoldfastError)) throw thrown
    const { contentType, answer, ...details } = thrown.details
    if (typeof contentType !== 'string' || typeof answer !== 'string') throw thrown
    throw problemIn(contentType, answer) ?? new HoldfastError(thrown.code, thrown.message, details, { cause: thrown })
  }
}

function problemIn(contentType: string | undefined, text: string): HoldfastError | undefined {
  if (contentType?.startsWith(problemMediaType) !== true) return undefined
  try {
    return fromProblem(JSON.parse(text) as Problem)
  } catch {
    // The other side says that it is a problem document, and it is none.
    return undefined
  }
}

async function errorOf(request: HttpRequest, response: HttpResponse): Promise<HoldfastError> {
  const text = Buffer.from(await readBody(response.body, 1024 * 1024)).toString('utf8')
  const { host, pathname } = new URL(request.url)
  const problem = problemIn(response.headers['content-type'], text)
  if (problem !== undefined) return problem
  const what = `${host} answered ${response.status} to ${request.method} ${pathname}`
  return new HoldfastError('host-error', what, {
    status: response.status,
    mend: `Check that ${host} is a Holdfast of about this version.`,
  })
}

/** `/v1/vms/{vm}` with its parameters put in. */
export function fillPath(path: string, params: Readonly<Record<string, string>>): string {
  return path.replaceAll(/\{([a-zA-Z]+)\}/g, (_whole, name: string) => {
    const value = params[name]
    if (value === undefined || value === '') throw new HoldfastError('invalid-request', `${name} is missing`)
    return encodeURIComponent(value)
  })
}

/** `?a=1&b=2` of what is defined; an empty string when nothing is. */
export function queryText(query: Readonly<Record<string, unknown>> | undefined): string {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query ?? {})) {
    if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      search.set(name, String(value))
    }
  }
  return search.size === 0 ? '' : `?${search.toString()}`
}
