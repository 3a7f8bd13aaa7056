/** What a machine that becomes one more manager asks of the leader, and what it is given. */
import { Name, Open, OneOf, Type, Uuid, type Static } from './schema.ts'

/** Where an inventory is that several managers share. */
export const StorePlace = Open({
  kind: OneOf(['etcd']),
  /** `http://10.0.0.1:2379` each. */
  endpoints: Type.Array(Type.String(), { minItems: 1 }),
  /** Of the inventory's keys; ends with a slash. */
  prefix: Type.String(),
  /** With `https:`, PEM: etcd's authority, and the certificate that etcd knows managers by. */
  tls: Type.Optional(
    Open({ ca: Type.String(), cert: Type.Optional(Type.String()), key: Type.Optional(Type.String()) }),
  ),
})
export type StorePlace = Static<typeof StorePlace>

export const JoinManagerRequest = Open({
  /** The whole token (`join-token.ts`), or its secret alone. */
  token: Type.String({ maxLength: 8192 }),
  name: Name,
  /** Of the manager; made before it asks, so that a request whose answer was lost is known again. */
  uuid: Uuid,
})
export type JoinManagerRequest = Static<typeof JoinManagerRequest>

export const JoinManagerResponse = Open({
  cluster: Uuid,
  clusterName: Type.String(),
  /** The cluster's authority with its key, PEM. */
  ca: Type.String(),
  caKey: Type.String(),
  store: StorePlace,
  /** An API token of an administrator, for the machine's root. */
  token: Type.String(),
  managers: Type.Array(Type.String()),
})
export type JoinManagerResponse = Static<typeof JoinManagerResponse>
