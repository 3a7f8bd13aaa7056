/**
 * The agent's client of its managers: HTTPS with the host's certificate, believing the cluster's authority alone. Of
 * several managers the one that answered last is asked first; the next is tried when one cannot be reached.
 */
import { deadline, type Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Network, TlsIdentity } from '../base/network.ts'
import { managerCalls } from '../contracts/agent-routes.ts'
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
  readonly urls: readonly string[]
  readonly identity: () => Omit<TlsIdentity, 'serverName'>
}

/** Every manager's certificate bears this name, whatever it is reached by. */
export const managerTlsName = 'manager.holdfast'

const answerWithinMs = 10_000

type CallName = keyof typeof managerCalls

export function managerClient(options: ManagerClientOptions): ManagerApi {
  let first = 0
  const call = async <T>(name: CallName, body: unknown): Promise<T> => {
    let last: unknown
    for (let tried = 0; tried < options.urls.length; tried++) {
      const at = (first + tried) % options.urls.length
      try {
        const answer = await post<T>(options, options.urls[at] ?? '', name, body)
        first = at
        return answer
      } catch (thrown) {
        if (!(thrown instanceof HoldfastError) || !thrown.isUnknown) throw thrown
        last = thrown
      }
    }
    throw last instanceof Error ? last : new HoldfastError('unreachable', 'this host knows no manager')
  }
  return {
    report: (report) => call<ReportResponse>('report', report),
    transition: (request) => call<TransitionResponse>('transition', request),
    record: (vm) => call<RunRecord>('record', { vm }),
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

/** Joins with a one-time token: the only call that shows no certificate. */
export function sendJoin(
  options: Pick<ManagerClientOptions, 'network' | 'clock'>,
  url: string,
  ca: string,
  request: JoinRequest,
): Promise<JoinResponse> {
  return post<JoinResponse>({ ...options, urls: [url], identity: () => ({ ca }) }, url, 'join', request)
}

async function post<T>(options: ManagerClientOptions, url: string, name: CallName, body: unknown): Promise<T> {
  const late = new HoldfastError('timeout', `the manager ${url} did not answer in ${answerWithinMs / 1000} s`)
  using limit = deadline(options.clock, answerWithinMs, late)
  return (await exchangeJson(options.network, {
    method: 'POST',
    url: url.replace(/\/+$/, '') + managerCalls[name].path,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    tls: { ...options.identity(), serverName: managerTlsName },
    signal: limit.signal,
  })) as T
}
