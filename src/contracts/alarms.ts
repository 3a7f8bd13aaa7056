/** Alarms as the API shows them, and what may be set about them. */
import { AlarmIdSchema } from './ids.ts'
import { Count, Nullable, OneOf, Open, Strict, Time, Type, type Static } from './schema.ts'

/** The worst first. */
export const alarmSeverities = ['critical', 'warning', 'info'] as const
export type AlarmSeverity = (typeof alarmSeverities)[number]

/** `raised` and `acknowledged` are open: the condition lasts. */
export const alarmStates = ['raised', 'acknowledged', 'cleared'] as const
export type AlarmState = (typeof alarmStates)[number]

export const AlarmSubject = Open({ kind: Type.String(), id: Type.String(), name: Type.String() })
export type AlarmSubject = Static<typeof AlarmSubject>

export const Alarm = Open({
  id: AlarmIdSchema,
  /** `host-down`, `datastore-full`, …: docs/alarms.md has them all. */
  type: Type.String(),
  subject: AlarmSubject,
  /** Where, when that is part of it: the host on which a datastore cannot be used. */
  place: Nullable(AlarmSubject),
  severity: OneOf(alarmSeverities),
  state: OneOf(alarmStates),
  /** One sentence, with figures. */
  message: Type.String(),
  /** What to do about it. */
  mend: Type.String(),
  raisedAt: Time,
  acknowledgedAt: Nullable(Time),
  acknowledgedBy: Nullable(Type.String()),
  clearedAt: Nullable(Time),
  /** Null when it was cleared because its condition was over. */
  clearedBy: Nullable(Type.String()),
  /** How often it was raised: 1 the first time. */
  count: Count,
  revision: Count,
})
export type Alarm = Static<typeof Alarm>

const Percent = Type.Integer({ minimum: 1, maximum: 100 })
const settings = {
  /** Share of a datastore in use at which it is near full. */
  datastoreFullPercent: Percent,
  /** Share under which it is not so any more. */
  datastoreClearPercent: Percent,
  /** How far a host's clock may be from the manager's. */
  clockSkewMs: Type.Integer({ minimum: 50, maximum: 86_400_000 }),
  /** How long before its end a certificate is an alarm. */
  certificateDays: Type.Integer({ minimum: 1, maximum: 365 }),
  /** How long people are told of a VM that was started again by itself. */
  restartedHours: Type.Integer({ minimum: 1, maximum: 720 }),
  /** Types of alarms that are never raised. */
  disabledTypes: Type.Array(Type.String({ pattern: '^[a-z][a-z0-9-]{0,63}$' }), { maxItems: 100 }),
}

export const AlarmSettings = Open(settings)
export type AlarmSettings = Static<typeof AlarmSettings>

export const defaultAlarmSettings: AlarmSettings = {
  datastoreFullPercent: 90,
  datastoreClearPercent: 85,
  clockSkewMs: 1000,
  certificateDays: 30,
  restartedHours: 24,
  disabledTypes: [],
}

/** What is not given is left as it is (PATCH), or becomes the default (PUT). */
export const ChangeAlarmSettings = Strict({
  datastoreFullPercent: Type.Optional(settings.datastoreFullPercent),
  datastoreClearPercent: Type.Optional(settings.datastoreClearPercent),
  clockSkewMs: Type.Optional(settings.clockSkewMs),
  certificateDays: Type.Optional(settings.certificateDays),
  restartedHours: Type.Optional(settings.restartedHours),
  disabledTypes: Type.Optional(settings.disabledTypes),
})
export type ChangeAlarmSettings = Static<typeof ChangeAlarmSettings>
