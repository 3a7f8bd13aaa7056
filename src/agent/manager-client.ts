/**
 * The agent's client of its managers: HTTPS with the host's certificate, believing the cluster's authority alone. Of
 * several managers the one that answered last is asked first; the next is tried when one cannot be reached, or does not lead:
 * then it names the leader, which is asked next, also by addresses that this host has not been told yet: managers may have come
 * and gone while it was off.
 */
import { deadline, type Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Network, TlsIdentity } from '../base/network.ts'
import { managerCalls } from '../contracts/agent-routes.ts'
import type { HostReport } from '../contracts/host.ts'
import { exchangeJson } from '../contracts/http-exchange.ts'
import type {
  JoinRequest,
  JoinResponse,
  ManagerApi,
  RenewResponse,
  ReportResponse,
  StreamCertificateResponse,
  TransitionResponse,
} from '../contracts/manager-api.ts'
import type { RegisterAnswer } from '../contracts/protection.ts'
import type { RunRecord } from '../contracts/run-record.ts'

export interface ManagerClientOptions {
  readonly network: Network
  readonly clock: Clock
  /** `https://manager:8443`, one or more. */
  readonly urls: () => readonly string[]
  /** The leader has told where managers are asked. */
  readonly onManagers?: (urls: readonly string[]) => void
  readonly identity: () => Omit<TlsIdentity, 'serverName'>
}

/** Every manager's certificate bears this name, whatever it is reached by. */
export const managerTlsName = 'manager.holdfast'

/** With several managers one that is silent is not waited for as long: it may be frozen, and another lead by now. */
const [answerWithinMs, oneOfSeveralMs, connectMs] = [10_000, 5000, 1500]
/**
 * A report is what keeps a host's lease, and tells that it lives: it is given up soon, and none is begun so late after the first
 * attempt; the host then reports anew, to one that has answered before those that have not.
 */
const [reportWithinMs, reportConnectMs] = [1500, 700]

type CallName = keyof typeof managerCalls

export function managerClient(options: ManagerClientOptions): ManagerApi {
  const order = new AddressOrder()
  const call = async <T>(name: CallName, body: unknown): Promise<T> => {
    const urls = options.urls()
    const lastBeginAt = name === 'report' ? options.clock.monotonic() + reportWithinMs : Infinity
    let waiting = order.of(urls)
    const tried = new Set<string>()
    let last: unknown
    for (let url = waiting.shift(); url !== undefined; url = waiting.shift()) {
      if (tried.size > 0 && options.clock.monotonic() >= lastBeginAt) break
      tried.add(url)
      try {
        const answer = await post<T>(options, { url, isOnly: urls.length === 1 && tried.size === 1 }, name, body)
        order.didAnswer(url)
        return answer
      } catch (thrown) {
        if (!(thrown instanceof HoldfastError) || !thrown.isUnknown) throw thrown
        last = thrown
        if (leaderIn(thrown).length === 0) order.didFail(url)
        const named = leaderIn(thrown).filter((each) => !tried.has(each))
        waiting = [...new Set([...named, ...waiting])]
      }
    }
    throw last instanceof Error ? last : new HoldfastError('unreachable', 'this host knows no manager')
  }
  const report = async (of: HostReport): Promise<ReportResponse> => {
    const answer = await call<ReportResponse>('report', of)
    if (answer.managers !== undefined) options.onManagers?.(answer.managers)
    return answer
  }
  return {
    report,
    transition: (request) => call<TransitionResponse>('transition', request),
    record: (vm) => call<RunRecord>('record', { vm }),
    promise: async (promise) => {
      await call('promise', promise)
    },
    renew: (request) => call<RenewResponse>('renew', request),
    streamCertificate: (request) => call<StreamCertificateResponse>('streamCertificate', request),
    arbiterLife: () => call<{ life: string }>('arbiterLife', {}),
    arbiterOpen: async (request) => {
      await call('arbiterOpen', request)
    },
    arbiterClaim: (request) => call<RegisterAnswer>('arbiterClaim', request),
    arbiterLook: (request) => call<RegisterAnswer>('arbiterLook', request),
    arbiterSupersede: (request) => call<RegisterAnswer>('arbiterSupersede', request),
  }
}

/** In which order managers are asked: the one that has carried out the last call, then the others, then those that did not answer. */
class AddressOrder {
  #first: string | undefined
  readonly #failed = new Map<string, number>()
  #failures = 0

  of(urls: readonly string[]): string[] {
    const rank = (url: string): number => this.#failed.get(url) ?? (url === this.#first ? -1 : 0)
    return [...new Set(urls)].sort((a, b) => rank(a) - rank(b))
  }

  didAnswer(url: string): void {
    this.#first = url
    this.#failed.delete(url)
  }

  /** It goes behind all that have failed before. */
  didFail(url: string): void {
    this.#failed.set(url, ++this.#failures)
  }
}

/** Joins with a one-time token: the only call that shows no certificate. */
export function sendJoin(
  options: Pick<ManagerClientOptions, 'network' | 'clock'>,
  url: string,
  ca: string,
  request: JoinRequest,
): Promise<JoinResponse> {
  return post<JoinResponse>({ ...options, identity: () => ({ ca }) }, { url, isOnly: true }, 'join', request)
}

/** Where the leader is asked, as one that does not lead says; an older one says one address only. */
function leaderIn({ details: { leader, leaderUrls } }: HoldfastError): string[] {
  const urls: readonly unknown[] = Array.isArray(leaderUrls) ? leaderUrls : [leader]
  return urls.filter((url) => typeof url === 'string')
}

async function post<T>(
  options: Pick<ManagerClientOptions, 'network' | 'clock' | 'identity'>,
  { url, isOnly }: { readonly url: string; readonly isOnly: boolean },
  name: CallName,
  body: unknown,
): Promise<T> {
  const withinMs = name === 'report' ? reportWithinMs : isOnly ? answerWithinMs : oneOfSeveralMs
  const late = new HoldfastError('timeout', `the manager ${url} did not answer in ${withinMs / 1000} s`)
  using limit = deadline(options.clock, withinMs, late)
  return (await exchangeJson(options.network, {
    method: 'POST',
    url: url.replace(/\/+$/, '') + managerCalls[name].path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    tls: { ...options.identity(), serverName: managerTlsName },
    signal: limit.signal,
    ...(isOnly ? {} : { connectMs: name === 'report' ? reportConnectMs : connectMs }),
  })) as T
}
