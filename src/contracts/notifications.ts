/** Who is told of alarms, as the API shows it and is asked for it. Secrets go in and never come out. */
import { alarmSeverities } from './alarms.ts'
import { TargetIdSchema } from './ids.ts'
import { Count, Name, Nullable, OneOf, Open, Strict, Time, Type, Uuid, type Static } from './schema.ts'

export const mailSecurities = ['starttls', 'tls', 'none'] as const
export type MailSecurity = (typeof mailSecurities)[number]

const MailAddress = Type.String({
  maxLength: 254,
  pattern: '^[^\\s<>@,;:"()\\\\]+@[A-Za-z0-9.\\-]+$',
  description: 'a bare address, such as ops@example.org',
})
const HostName = Type.String({ maxLength: 253, pattern: '^[A-Za-z0-9.:\\-]+$' })
const Port = Type.Integer({ minimum: 1, maximum: 65_535 })
const Secret = Type.String({ minLength: 1, maxLength: 1024 })
const Ca = Type.String({ maxLength: 65_536, pattern: '^\\s*-----BEGIN CERTIFICATE-----' })

export const NotificationTarget = Open({
  id: TargetIdSchema,
  uuid: Uuid,
  name: Type.String(),
  created: Time,
  revision: Count,
  kind: OneOf(['webhook', 'email']),
  /** It is told of alarms that are this bad, or worse. */
  leastSeverity: OneOf(alarmSeverities),
  /** Whether it is told that an alarm is over. */
  tellsClearing: Type.Boolean(),
  /** Of a webhook. Its path may be a secret, and is not shown. */
  webhook: Nullable(Open({ origin: Type.String(), isSigned: Type.Boolean(), hasOwnCa: Type.Boolean() })),
  email: Nullable(
    Open({
      host: Type.String(),
      port: Count,
      security: OneOf(mailSecurities),
      user: Nullable(Type.String()),
      hasPassword: Type.Boolean(),
      hasOwnCa: Type.Boolean(),
      from: Type.String(),
      to: Type.Array(Type.String()),
    }),
  ),
  /** How much it has not been told yet. */
  owed: Count,
  /** Why the oldest of that could not be told, the last time it was tried. */
  problem: Nullable(Type.String()),
})
export type NotificationTarget = Static<typeof NotificationTarget>

const WebhookSettings = Strict({
  url: Type.String({ maxLength: 2048, pattern: '^https?://[^\\s]+$' }),
  secret: Type.Optional(Secret),
  ca: Type.Optional(Ca),
})

const EmailSettings = Strict({
  host: HostName,
  port: Type.Optional(Port),
  security: Type.Optional(OneOf(mailSecurities, { description: 'default starttls' })),
  user: Type.Optional(Type.String({ minLength: 1, maxLength: 254 })),
  password: Type.Optional(Secret),
  ca: Type.Optional(Ca),
  from: MailAddress,
  to: Type.Array(MailAddress, { minItems: 1, maxItems: 20 }),
})

/** Exactly one of `webhook` and `email`. */
export const CreateNotificationTarget = Strict({
  name: Name,
  leastSeverity: Type.Optional(OneOf(alarmSeverities, { description: 'default warning' })),
  tellsClearing: Type.Optional(Type.Boolean({ description: 'default true' })),
  webhook: Type.Optional(WebhookSettings),
  email: Type.Optional(EmailSettings),
})
export type CreateNotificationTarget = Static<typeof CreateNotificationTarget>

/** What came of a test message. */
export const NotificationTest = Open({
  isDelivered: Type.Boolean(),
  /** What the other side said, or why it said nothing. */
  answer: Type.String(),
  milliseconds: Count,
})
export type NotificationTest = Static<typeof NotificationTest>
