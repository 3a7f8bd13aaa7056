/**
 * Faults of the program itself, planted at the simulated world's joints, so that no code that ships knows of them: each is
 * what a wrong line in the manager, an agent or the store would amount to. Tests prove with them that the invariants see.
 */
import type { NeighbourCalls } from '../../agent/lease/parts.ts'
import type { Watchdog } from '../../agent/lease/watchdog-port.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import type { ManagerApi } from '../../contracts/manager-api.ts'
import type { MemoryStore } from '../../manager/store/memory/memory-store.ts'
import type { VirtualClock } from '../virtual-clock.ts'

export const plantedFaults = [
  /** A target that does not answer is taken for one that has given the move up. */
  'judge-guesses',
  /** An agent whose transition is not answered in time believes that it was made. */
  'agent-runs-without-record',
  /** The store acknowledges every fifth change of a run record without keeping it. */
  'store-forgets',
  /** A host that is cut off takes the silence of the others for their word that the managers are lost. */
  'silence-vouches',
  /** The watchdog's program has hung. */
  'watchdog-hangs',
] as const
export type Planted = (typeof plantedFaults)[number]

export interface Plants {
  agent(api: AgentApi): AgentApi
  manager(api: ManagerApi): ManagerApi
  store(store: MemoryStore): MemoryStore
  neighbour(calls: NeighbourCalls): NeighbourCalls
  watchdog(watchdog: Watchdog): Watchdog
}

const patienceMs = 1000

export function withPlanted(planted: ReadonlySet<Planted>, clock: VirtualClock): Plants {
  return {
    agent: (api) => (planted.has('judge-guesses') ? guessing(api) : api),
    manager: (api) => (planted.has('agent-runs-without-record') ? believing(api, clock) : api),
    store: (store) => (planted.has('store-forgets') ? forgetting(store) : store),
    neighbour: (calls) => (planted.has('silence-vouches') ? hopeful(calls) : calls),
    watchdog: (watchdog) => (planted.has('watchdog-hangs') ? hung(watchdog) : watchdog),
  }
}

/** The judge hears `discarded` of a host that says nothing. */
function guessing(api: AgentApi): AgentApi {
  return replaced(api, 'observe', async (vm) => {
    try {
      return await api.observe(vm)
    } catch {
      const none = { problem: null, outOfSpace: false, startedAt: null, cpuSeconds: 0, rssMiB: 0 }
      return { vm, process: 'none', generation: 0, discarded: Number.MAX_SAFE_INTEGER, ...none }
    }
  })
}

function believing(api: ManagerApi, clock: VirtualClock): ManagerApi {
  return replaced(api, 'transition', async (request) => {
    const answer = api.transition(request)
    const late = clock.sleep(patienceMs).then(() => undefined)
    const first = await Promise.race([answer.catch(() => undefined), late])
    if (first !== undefined) return first
    const record = await api.record(request.vm).catch(() => undefined)
    if (record === undefined) return answer
    return {
      isAccepted: true,
      reason: null,
      record: { ...record, phase: 'running', generation: request.generation + 1 },
    }
  })
}

function hopeful(calls: NeighbourCalls): NeighbourCalls {
  const said = { isVouched: true, why: 'it did not say no' }
  return replaced(calls, 'vouch', (request) => calls.vouch(request).catch(() => said))
}

function hung(watchdog: Watchdog): Watchdog {
  return replaced(watchdog, 'order', async () => undefined)
}

function forgetting(store: MemoryStore): MemoryStore {
  let changes = 0
  return replaced(store, 'commit', async (commit) => {
    const isOfRun = commit.changes.some((change) => change.kind === 'run' && change.do === 'update')
    if (isOfRun && ++changes % 5 === 0) return { ok: true, revision: await store.revision() }
    return store.commit(commit)
  })
}

function replaced<T extends object, K extends keyof T>(target: T, name: K, method: T[K]): T {
  return new Proxy(target, {
    get: (_target, asked) => {
      if (asked === name) return method
      const member: unknown = Reflect.get(target, asked, target)
      return typeof member === 'function'
        ? (...args: unknown[]) => Reflect.apply(member, target, args) as unknown
        : member
    },
  })
}
