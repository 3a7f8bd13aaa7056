/** Whether a guest is ready, as its host sees it. */
import { Nullable, OneOf, Open, Type, type Static } from './schema.ts'

export const ProbeRequest = Open({
  kind: OneOf(['guest-agent', 'port']),
  /** With `port`: asked on each of the guest's addresses. */
  port: Type.Optional(Type.Integer({ minimum: 1, maximum: 65535 })),
})
export type ProbeRequest = Static<typeof ProbeRequest>

export const ProbeResult = Open({
  isReady: Type.Boolean(),
  /** Why not, in words. */
  problem: Nullable(Type.String()),
})
export type ProbeResult = Static<typeof ProbeResult>
