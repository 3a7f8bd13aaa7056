/** An agent's lease and its look at its neighbours, from what the agent has. */
import type { Clock } from '../../base/clock.ts'
import type { Files } from '../../base/files.ts'
import type { HostId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { NeighbourApi } from '../../contracts/agent-api.ts'
import type { Witness } from '../../contracts/host-lease.ts'
import type { ManagerApi } from '../../contracts/manager-api.ts'
import type { Datastores } from '../storage/datastores.ts'
import { HostLease } from './host-lease.ts'
import { LeaseFile } from './lease-file.ts'
import { Neighbours } from './neighbours.ts'
import type { Watchdog } from './watchdog-port.ts'

/** Another host, as this one asks it. */
export interface NeighbourCalls extends NeighbourApi {
  /** Resolves when its agent answers. */
  greet(signal: AbortSignal): Promise<unknown>
}

export interface LeaseParts {
  readonly host: HostId
  readonly clock: Clock
  readonly log: Logger
  readonly files: Files
  readonly manager: Pick<ManagerApi, 'promise'>
  readonly datastores: Datastores
  readonly dataDirectory: string
  readonly watchdog: Watchdog
  readonly neighbour: (witness: Witness) => NeighbourCalls
}

export function leaseOf(parts: LeaseParts, signal: AbortSignal): Promise<HostLease> {
  const { host, clock, log, manager, watchdog, neighbour } = parts
  const file = new LeaseFile(parts.files, parts.dataDirectory)
  return HostLease.open({
    ...{ host, clock, log, manager, watchdog, file, signal },
    ask: (witness, request) => neighbour(witness).vouch(request),
  })
}

export function neighboursOf(parts: LeaseParts, session: string, signal: AbortSignal): Neighbours {
  const { host, clock, files, datastores, neighbour } = parts
  return new Neighbours({
    ...{ host, session, clock, files, signal },
    sharedFolders: () => datastores.sharedFolders(),
    greet: (witness, limit) => neighbour(witness).greet(limit),
  })
}
