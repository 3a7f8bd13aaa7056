/** VM monitoring: when a guest that hangs or has panicked is reset, what is seen of it, and what is kept of it from before. */
import { TaskIdSchema, VmIdSchema } from './ids.ts'
import { Count, Nullable, OneOf, Open, Strict, Time, Type, type Static } from './schema.ts'

/** What a guest is reset for. */
export const resetPolicies = ['off', 'on-panic', 'on-panic-or-hang'] as const

export const MonitoringPolicy = Open({
  reset: OneOf(resetPolicies),
  /** Its agent has been silent, and its disks and NICs idle, for so long: it hangs. */
  hangAfterMs: Count,
  /** After a start or a reset nothing counts as a hang for so long. */
  startupGraceMs: Count,
  /** More resets than this within `windowMs` are not made. */
  maxResets: Count,
  windowMs: Count,
})
export type MonitoringPolicy = Static<typeof MonitoringPolicy>

/** What a VM of which nobody has said anything has. */
export const defaultMonitoring: MonitoringPolicy = {
  reset: 'off',
  hangAfterMs: 60_000,
  startupGraceMs: 120_000,
  maxResets: 3,
  windowMs: 3_600_000,
}

const day = 24 * 3_600_000

/** As it is asked for: what is not named stays as it is. */
export const MonitoringWish = Strict({
  reset: Type.Optional(OneOf(resetPolicies, { description: 'default: off' })),
  hangAfterMs: Type.Optional(Type.Integer({ minimum: 5000, maximum: day, description: 'default: 60000' })),
  startupGraceMs: Type.Optional(Type.Integer({ minimum: 0, maximum: day, description: 'default: 120000' })),
  maxResets: Type.Optional(Type.Integer({ minimum: 1, maximum: 100, description: 'default: 3' })),
  windowMs: Type.Optional(Type.Integer({ minimum: 60_000, maximum: 7 * day, description: 'default: 3600000' })),
})
export type MonitoringWish = Static<typeof MonitoringWish>

/** A VM whose guest the hosts watch. */
export const MonitoredVm = Open({
  vm: VmIdSchema,
  /** How often its agent is asked for a sign of life; null: never, a panic alone counts. */
  everyMs: Nullable(Type.Integer({ minimum: 1000 })),
})
export type MonitoredVm = Static<typeof MonitoredVm>

/** What the host of a monitored VM sees of its guest. Time in which it cannot be judged (paused, moving, held) counts for nothing. */
export const GuestObservation = Open({
  /** Another one after each start and each reset. */
  boot: Type.String(),
  /** Since then. */
  upMs: Count,
  /** The agent in the guest; `never`: none has answered since then, and the guest is never taken for hung. */
  agent: OneOf(['never', 'answering', 'silent']),
  /** For how long it has been silent. */
  silentMs: Count,
  /** For how long its disks were asked nothing, and no frame left it. */
  idleMs: Count,
  /** Its kernel has panicked, and it stands still. */
  isPanicked: Type.Boolean(),
})
export type GuestObservation = Static<typeof GuestObservation>

/** Why a guest was reset. */
export const resetReasons = ['hang', 'panic'] as const
export type ResetReason = (typeof resetReasons)[number]

export const EvidencePart = Open({
  mediaType: Type.String(),
  sizeBytes: Count,
  /** Absent where only a list was asked for. */
  base64: Type.Optional(Type.String()),
})
export type EvidencePart = Static<typeof EvidencePart>

/** What was seen of a guest just before it was reset. */
export const Evidence = Open({
  /** The task that has reset it, which is the evidence's name too. */
  task: TaskIdSchema,
  vm: VmIdSchema,
  at: Time,
  why: OneOf(resetReasons),
  /** In words, what it was judged by. */
  detail: Type.String(),
  /** The screen as PNG; null where there is none, or it could not be had. */
  screen: Nullable(EvidencePart),
  /** The end of what it said on its serial line; null where that could not be had. */
  serial: Nullable(EvidencePart),
  /** Why a part is missing, in words; null: none is. */
  missing: Nullable(Type.String()),
})
export type Evidence = Static<typeof Evidence>

export const EvidenceQuery = Strict({
  content: Type.Optional(Type.Boolean({ description: 'with what was kept, not only its sizes' })),
})
export const EvidenceList = Open({ items: Type.Array(Evidence, { description: 'the newest first' }) })
