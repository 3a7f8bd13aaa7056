/** What the use cases share. Each takes of it what it needs; nothing outside of this room sees it. */
import type { Clock } from '../../base/clock.ts'
import type { HostId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import type { AgentApi } from '../../contracts/agent-api.ts'
import type { Role } from '../../contracts/routes.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import type { Pledge } from '../sagas/operation.ts'
import type { Store } from '../store/store.ts'
import type { HostRegistry } from './host-registry.ts'
import type { Mirror } from './mirror.ts'

export type { Pledge }

export interface AppContext {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly mirror: Mirror
  readonly registry: HostRegistry
  /** The agent of a host; each call throws `not-found` for a host that is no more. */
  agent(host: HostId): AgentApi
  /** The inventory with the newest observations, as of now. */
  cluster(): Promise<ClusterView>
}

/** Who calls: what a token or a session stands for. */
export interface Caller {
  /** For events and tasks: `token admin`, `session of token admin`. */
  readonly name: string
  readonly role: Role
  /** What idempotency keys are kept under. */
  readonly id: string
  /** To be committed with what the request makes, when it bears an idempotency key. */
  readonly pledge?: Pledge | undefined
}

const rank: Record<Role, number> = { reader: 1, operator: 2, administrator: 3 }

/** Whether a role includes what another may do. */
export function hasRole(role: Role, needed: Role): boolean {
  return rank[role] >= rank[needed]
}
