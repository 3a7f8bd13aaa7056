/**
 * A protected VM's configuration: who runs it, who holds the second copy, and who decides between the two. Each has a
 * number of its own, which is never used again for this VM; see agent/protect/register.ts for what rests on it.
 */
import { HostIdSchema, VmIdSchema } from './ids.ts'
import { Nullable, OneOf, Open, Type, type Static } from './schema.ts'

export const protectionSides = ['primary', 'second'] as const
export type ProtectionSide = (typeof protectionSides)[number]

export const ProtectionConfig = Open({
  vm: VmIdSchema,
  n: Type.Integer({ minimum: 1, description: 'raised with every change of who takes part' }),
  primary: HostIdSchema,
  second: HostIdSchema,
  arbiter: HostIdSchema,
})
export type ProtectionConfig = Static<typeof ProtectionConfig>

/** What an arbiter keeps, durably, of one VM: its newest configuration and what was decided in it. */
export const RegisterRecord = Open({
  config: ProtectionConfig,
  /** Who may go on alone; null while nobody has asked. */
  winner: Nullable(OneOf(protectionSides)),
  /** The configuration that has taken this one's place before anybody had won it. */
  next: Nullable(ProtectionConfig),
})
export type RegisterRecord = Static<typeof RegisterRecord>

export type RegisterAnswer =
  | { readonly is: 'won' }
  | { readonly is: 'lost' }
  /** To a look: nobody has won it yet. */
  | { readonly is: 'open' }
  | { readonly is: 'superseded'; readonly next: ProtectionConfig }
  /** The arbiter has no memory of it: it never had it, or lost it. That is never a yes. */
  | { readonly is: 'unknown' }
