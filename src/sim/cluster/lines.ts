/** The two wires over the simulated network: what a manager has of an agent, and an agent of its manager. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import type { NeighbourCalls } from '../../agent/lease/parts.ts'
import type { AgentApi, NeighbourApi } from '../../contracts/agent-api.ts'
import type { ManagerApi } from '../../contracts/manager-api.ts'
import type { Manager } from '../../manager/app/manager.ts'
import type { ManagementNetwork } from './management-network.ts'
import type { SimulatedProcess } from './process.ts'

/** A process and what answers in it; undefined while none runs. */
export type Served<T> = () => { readonly process: SimulatedProcess; readonly api: T } | undefined

/** Methods that wait for QEMU have the longer deadline, as over the real wire. */
const longCalls = new Set([
  ...['start', 'stop', 'prepareIncoming', 'discardIncoming', 'settle'],
  ...['prepareSecond', 'discardSecond', 'unprotect', 'changeArbiter'],
])
const [usualMs, longMs, managerMs, vouchMs] = [30_000, 120_000, 10_000, 700]

/** What managers hold of the agent of a host. */
export function agentLine(network: ManagementNetwork, host: HostId, served: Served<AgentApi>): AgentApi {
  return new Proxy<AgentApi>({} as AgentApi, {
    get: (_target, name) => {
      if (typeof name !== 'string' || name === 'then') return undefined
      return (...args: unknown[]) => {
        const sent = args.map((arg) => (arg instanceof AbortSignal ? undefined : asSent(arg)))
        return network.call({
          from: 'manager',
          to: host,
          what: name,
          deadlineMs: longCalls.has(name) ? longMs : usualMs,
          server: () => served()?.process,
          work: () => {
            const api = served()?.api
            const method: unknown = api === undefined ? undefined : Reflect.get(api, name)
            if (typeof method !== 'function') throw new HoldfastError('internal', `an agent has no ${name}`)
            const answer: unknown = Reflect.apply(method, api, sent.map(asSent))
            return answer as Promise<unknown>
          },
        })
      }
    },
  })
}

/** What the agent of a host holds of its manager. */
export function managerLine(network: ManagementNetwork, host: HostId, served: Served<Manager>): ManagerApi {
  const call = <T>(what: string, work: (manager: Manager) => Promise<T>): Promise<T> =>
    network.call({
      from: host,
      to: 'manager',
      what,
      deadlineMs: managerMs,
      server: () => served()?.process,
      work: () => {
        const manager = served()?.api
        if (manager === undefined) throw new HoldfastError('unreachable', 'no manager runs')
        return work(manager)
      },
    })
  return {
    report: (report) => call('report', (manager) => manager.reports.take(host, asSent(report))),
    transition: (request) =>
      call(`transition ${request.event}`, (manager) => manager.runRecords.transition(host, asSent(request))),
    record: (vm) => call('record', (manager) => manager.runRecords.get(vm)),
    arbiterLife: () => call('arbiterLife', (manager) => manager.arbiter.arbiterLife()),
    arbiterOpen: (request) => call('arbiterOpen', (manager) => manager.arbiter.arbiterOpen(asSent(request))),
    arbiterClaim: (request) => call('arbiterClaim', (manager) => manager.arbiter.arbiterClaim(asSent(request))),
    arbiterLook: (request) => call('arbiterLook', (manager) => manager.arbiter.arbiterLook(asSent(request))),
    arbiterSupersede: (request) =>
      call('arbiterSupersede', (manager) => manager.arbiter.arbiterSupersede(asSent(request))),
    promise: (promise) => call('promise', (manager) => manager.leases.promise(host, asSent(promise))),
    renew: () => Promise.reject(new HoldfastError('not-found', 'this cluster signs nothing')),
    streamCertificate: () => Promise.reject(new HoldfastError('not-found', 'this cluster signs nothing')),
  }
}

/** What the agent of one host holds of another's. */
export function neighbourLine(
  network: ManagementNetwork,
  from: HostId,
  to: HostId,
  served: Served<NeighbourApi>,
): NeighbourCalls {
  const call = <T>(what: string, deadlineMs: number, work: (api: NeighbourApi) => Promise<T>): Promise<T> =>
    network.call({
      ...{ from, to, what, deadlineMs },
      server: () => served()?.process,
      work: () => {
        const api = served()?.api
        if (api === undefined) throw new HoldfastError('unreachable', 'no agent runs')
        return work(api)
      },
    })
  return {
    vouch: (request) => call('vouch', vouchMs, (api) => api.vouch(asSent(request))),
    greet: () => call('greet', vouchMs, async () => null),
  }
}

/** As it comes out of JSON at the other end. */
function asSent<T>(value: T): T {
  return value === undefined ? value : (JSON.parse(JSON.stringify(value)) as T)
}
