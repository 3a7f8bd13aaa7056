/** Fence devices: what switches a host off from outside (IPMI, a PDU, a hypervisor), as the API shows and takes them. */
import { Count, Nullable, OneOf, Open, Strict, Time, Type, type Static } from './schema.ts'

/** The name of an executable of the standard fence-agent API; nothing else is ever run. */
export const FenceAgentName = Type.String({ pattern: '^fence_[a-z0-9_]{1,60}$', examples: ['fence_ipmilan'] })

/** A value is one line of the agent's input. */
const OptionValues = Type.Record(
  Type.String({ pattern: '^[a-zA-Z][a-zA-Z0-9_-]{0,63}$' }),
  Type.String({ maxLength: 4096, pattern: '^[^\\u0000\\r\\n]*$' }),
)

export const fenceThen = ['on', 'off'] as const

/** One device. Without `level` it is the host's only one; with it, it is added to that level (or takes its equal's place). */
export const SetHostFence = Strict({
  agent: FenceAgentName,
  options: Type.Optional(OptionValues),
  /** Kept sealed and never shown again. Options that are known to be secrets are kept so wherever they are given. */
  secrets: Type.Optional(OptionValues),
  level: Type.Optional(Type.Integer({ minimum: 1, maximum: 8 })),
  /** Set it although it does not answer now. */
  untested: Type.Optional(Type.Boolean()),
  /** What becomes of a host that was fenced by itself, once its VMs are free. Default `on`. */
  then: Type.Optional(OneOf(fenceThen)),
})
export type SetHostFence = Static<typeof SetHostFence>

/** Off now, by hand. It stays off unless `then` says otherwise. */
export const FenceHost = Strict({
  /** Also a host that is connected: its VMs die with it. */
  force: Type.Optional(Type.Boolean()),
  then: Type.Optional(OneOf(fenceThen)),
})
export type FenceHost = Static<typeof FenceHost>

export const FenceDevice = Open({
  agent: Type.String(),
  options: Type.Record(Type.String(), Type.String()),
  /** Names of the options that are kept sealed. */
  secrets: Type.Array(Type.String()),
})

export const fenceStates = ['ok', 'failing', 'untested'] as const

export const HostFence = Open({
  /** Tried in this order; every device of a level must succeed. */
  levels: Type.Array(Type.Array(FenceDevice)),
  then: OneOf(fenceThen),
  state: OneOf(fenceStates),
  problem: Nullable(Type.String()),
  testedAt: Nullable(Time),
})
export type HostFence = Static<typeof HostFence>

export const FenceTest = Open({
  state: OneOf(['ok', 'failing']),
  devices: Type.Array(
    Open({
      level: Count,
      agent: Type.String(),
      /** What the device says of the host's power; null: it gave no answer. */
      power: Nullable(OneOf(['on', 'off'])),
      problem: Nullable(Type.String()),
    }),
  ),
})
export type FenceTest = Static<typeof FenceTest>

/** When managers fence by themselves: docs/fencing.md. */
export const FencingSettings = Open({
  /** False: only people fence. */
  automatic: Type.Boolean(),
  /** How long a host is silent before it is fenced. */
  afterMs: Count,
  /** How many at the same time. */
  atOnce: Count,
  /** Of all hosts, within ten minutes; one is always allowed. 0 to 1. */
  mostShare: Type.Number(),
  /** How long one action of a fence agent may take. */
  agentTimeoutMs: Count,
})
export type FencingSettings = Static<typeof FencingSettings>

export const ChangeFencing = Strict({
  automatic: Type.Optional(Type.Boolean()),
  afterMs: Type.Optional(Type.Integer({ minimum: 3000, maximum: 3_600_000 })),
  atOnce: Type.Optional(Type.Integer({ minimum: 1, maximum: 100 })),
  mostShare: Type.Optional(Type.Number({ minimum: 0, maximum: 1 })),
  agentTimeoutMs: Type.Optional(Type.Integer({ minimum: 1000, maximum: 300_000 })),
})
export type ChangeFencing = Static<typeof ChangeFencing>
