/**
 * Hosts that were chosen for a VM a moment ago. A choice counts for the next one from the instant in which it is made: until
 * the log of its task says so, nothing else does, and two VMs that start at once would take the same host.
 */
import type { Clock } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { ClusterView } from '../domain/cluster-view.ts'

/** The log is written within milliseconds; a choice that never came to that is forgotten. */
const countsForMs = 10_000

export class HostPromises {
  readonly #clock: Clock
  readonly #promised = new Map<VmId, { readonly host: HostId; readonly at: number }>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Chooses from the cluster as it is with all that was promised, and keeps the choice. Nothing else runs in between. */
  choose(cluster: ClusterView, vm: VmId, choice: (cluster: ClusterView) => HostId): HostId {
    const now = this.#clock.monotonic()
    for (const [id, { at }] of this.#promised) if (now - at >= countsForMs) this.#promised.delete(id)
    const vms = cluster.vms.map((each) => {
      const promised = each.id === vm ? undefined : this.#promised.get(each.id)
      return promised === undefined ? each : { ...each, startingOn: promised.host }
    })
    const host = choice({ ...cluster, vms })
    this.#promised.set(vm, { host, at: now })
    return host
  }
}
