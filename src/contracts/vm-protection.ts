/** A VM's protection against the loss of its host, as the API shows it and is asked for it. */
import { GuestClock, ProtectionSettings } from './protection.ts'
import { Count, Nullable, OneOf, Open, Strict, Type, type Static } from './schema.ts'

/** What people see of a VM's protection against the loss of its host, made from intent, run record and observation. */
export const protectionStates = ['unprotected', 'syncing', 'protected', 'failing-over', 'unprotected-because'] as const
export type ProtectionState = (typeof protectionStates)[number]

const pair = { second: Type.String({ description: 'name of the host of the second copy' }), arbiter: Type.String() }

export const Protection = Type.Union([
  /** Nobody wants it, and it is not. */
  Open({ state: Type.Literal('unprotected') }),
  Open({ state: Type.Literal('syncing'), ...pair, n: Count, progress: Type.Number(), bytesPerSecond: Count }),
  Open({
    state: Type.Literal('protected'),
    ...pair,
    n: Count,
    /** Figures that no host has given (yet) are null. */
    lagMs: Nullable(Type.Number()),
    epoch: Nullable(Count),
    epochMs: Nullable(Type.Number()),
    pauseMs: Nullable(Type.Number()),
    bytesPerSecond: Nullable(Count),
    /** Share of the time in which the guest stands still because it writes faster than the link carries: 0–1. */
    heldBack: Nullable(Type.Number()),
    clock: Nullable(GuestClock),
    problem: Nullable(Type.String()),
  }),
  /** Its host is lost, and the second goes on in this moment. */
  Open({ state: Type.Literal('failing-over'), ...pair, n: Count }),
  /** It is wanted, and is not so now. */
  Open({ state: Type.Literal('unprotected-because'), reason: Type.String() }),
])
export type Protection = Static<typeof Protection>

export const protectionModes = ['latency', 'throughput'] as const

export const ProtectVm = Strict({
  host: Type.Optional(Type.String({ description: 'id or name of the host of the second copy; absent: placed' })),
  mode: Type.Optional(
    OneOf(protectionModes, { description: 'short epochs, or long ones; absent with no settings: as before' }),
  ),
  /** Instead of a mode, or over it. */
  settings: Type.Optional(
    Strict({
      silenceMs: Type.Optional(ProtectionSettings.properties.silenceMs),
      beatMs: Type.Optional(ProtectionSettings.properties.beatMs),
      shortestEpochMs: Type.Optional(ProtectionSettings.properties.shortestEpochMs),
      longestEpochMs: Type.Optional(ProtectionSettings.properties.longestEpochMs),
      clockLimitMs: ProtectionSettings.properties.clockLimitMs,
    }),
  ),
})
export type ProtectVm = Static<typeof ProtectVm>

export const ProtectPrecheck = Open({
  isPossible: Type.Boolean(),
  /** Each with a code, as those of a migration, and a sentence. */
  reasons: Type.Array(Open({ code: Type.String(), message: Type.String() })),
  /** What would be done. */
  plan: Nullable(Open({ ...pair, memoryBytes: Count, diskBytes: Count })),
})
export type ProtectPrecheck = Static<typeof ProtectPrecheck>
