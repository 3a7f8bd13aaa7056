/** A manager that has just begun has not heard every host. */
import { unreachableAfterMs, type ClusterView } from '../domain/cluster-view.ts'
import type { HostsPort } from './deps.ts'

/** Whether a host may only not have been heard yet: none is known to be lost then, and no VM to have nowhere to go. */
export function isBeforeFirstWords(hosts: Pick<HostsPort, 'silentMs'>, cluster: ClusterView): boolean {
  return cluster.hosts.some(({ id, state }) => state === 'unreachable' && hosts.silentMs(id) < unreachableAfterMs)
}
