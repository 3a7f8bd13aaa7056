/** Leases of hosts, where several managers share a store: granted with the answer to a report, promised in the store. */
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import {
  leaseReportMs,
  usualLeaseTerms,
  type HostPromise,
  type LeaseAnswer,
  type Witness,
} from '../../contracts/host-lease.ts'
import type { HostReport } from '../../contracts/host.ts'
import { mayPromise, wishedArmed, wishedWitnesses } from '../domain/host-promise.ts'
import type { HostPromiseRecord, HostRecord } from '../store/records.ts'
import type { AppContext } from './context.ts'
import { reportIntervalMs } from './host-registry.ts'
import { write } from './write.ts'

export interface LeaseOptions {
  /** Another manager can go on when this one cannot: the only case in which a host may be stopped by silence. */
  readonly isClustered: boolean
  /** Whether this manager's own lead is certain at this moment. */
  readonly holdsLead: () => boolean
}

export class HostLeases {
  readonly #context: AppContext
  readonly #options: LeaseOptions

  constructor(context: AppContext, options: LeaseOptions) {
    this.#context = context
    this.#options = options
  }

  get nextReportMs(): number {
    return this.#options.isClustered ? leaseReportMs : reportIntervalMs
  }

  /**
   * The lease by a report that was taken in; null where none is granted to anybody. Throws `unreachable` when this manager may
   * have lost the lead: what it said could not be relied on.
   */
  answer(report: HostReport): LeaseAnswer | null {
    if (!this.#options.isClustered || report.lease === undefined) return null
    if (!this.#options.holdsLead()) throw notLeading()
    const { mirror, registry } = this.#context
    // Its round is being closed in this moment: what comes of that is said with the next answer.
    if (registry.isLeaseGivenUp(report.host)) return null
    const known = mirror.get('promise', report.host)
    const promises = new Map(mirror.list('promise').map((each) => [each.id, each]))
    const { round = 0, number = 0, armed = [] } = known?.promise ?? {}
    const isClosed = known?.isClosed === true
    return {
      ...{ round, number, isClosed, left: isClosed ? armed : [], terms: usualLeaseTerms },
      armed: wishedArmed(report.host, mirror.list('vm'), (vm) => mirror.get('run', vm)?.run),
      witnesses: wishedWitnesses(report.host, mirror.list('host'), promises).map(witness),
    }
  }

  /** Hosts of which this manager hears nothing, to be looked for by those that it hears. */
  silent(): Witness[] {
    const { mirror, registry } = this.#context
    const lost = mirror.list('host').filter((host) => registry.stateOf(host) === 'unreachable')
    return lost.map(witness)
  }

  /** Writes down what a host promises. Throws `stale-generation` for a round that is closed or over. */
  async promise(host: HostId, promise: HostPromise): Promise<void> {
    const { store } = this.#context
    await write(store, async () => {
      const stored = await store.get('promise', host)
      if (!mayPromise(stored?.value, promise)) {
        throw new HoldfastError('stale-generation', `round ${promise.round} of the lease of ${host} is over`, {
          generation: stored?.value.promise.round ?? 0,
          mend: 'End what was armed in it, and begin another round.',
        })
      }
      const value: HostPromiseRecord = { id: host, v: 1, promise, isClosed: false }
      return {
        changes: [
          stored === undefined
            ? { do: 'create', kind: 'promise', value }
            : { do: 'update', kind: 'promise', value, expected: stored.revision },
        ],
        value: undefined,
      }
    })
  }
}

function witness({ id, addresses, agentPort, tlsName }: HostRecord): Witness {
  const name = addresses.management
  return { host: id, tlsName, url: `https://${name.includes(':') ? `[${name}]` : name}:${agentPort}` }
}

function notLeading(): HoldfastError {
  return new HoldfastError('unreachable', 'this manager does not lead any more', { mend: 'Ask another manager.' })
}
