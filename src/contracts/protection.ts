/**
 * Fault tolerance: a VM is held in step on two hosts. This page has the words that managers, agents and the pumps of both
 * hosts share: the configuration (who runs it, who holds the second copy, who decides between the two), the arbiter's
 * register, and what is asked of the two hosts. Each configuration has a number of its own, which is never used again for
 * this VM; see protection-register.ts for what rests on it.
 */
import { DatastoreIdSchema, DiskIdSchema, HostIdSchema, VmIdSchema } from './ids.ts'
import { diskFormats } from './machine-spec.ts'
import { Count, Nullable, OneOf, Open, Type, type Static } from './schema.ts'

export const protectionSides = ['primary', 'second'] as const
export type ProtectionSide = (typeof protectionSides)[number]

/** Where there is no third host, the managers' own store decides. */
export const managersArbiter = 'managers'

export const ArbiterId = Type.Union([HostIdSchema, Type.Literal(managersArbiter)])
export type ArbiterId = Static<typeof ArbiterId>

const arbiterPlace = {
  /** `https://10.1.0.3:7444`; tried in turn. */
  urls: Type.Array(Type.String(), { minItems: 1 }),
  /** Name that its certificate bears. */
  tlsName: Type.String(),
}

/** Where an arbiter is asked: an agent, or one of the managers. */
export const ArbiterAddress = Open({ arbiter: ArbiterId, ...arbiterPlace })
export type ArbiterAddress = Static<typeof ArbiterAddress>

export const ProtectionConfig = Open({
  vm: VmIdSchema,
  n: Type.Integer({ minimum: 1, description: 'raised with every change of who takes part' }),
  primary: HostIdSchema,
  second: HostIdSchema,
  arbiter: ArbiterId,
  /**
   * Where that arbiter is asked: whoever comes to know a configuration, by whatever way, can ask about it. Absent in the one
   * with which a pair begins, whose arbiter both sides were told of.
   */
  at: Type.Optional(Open(arbiterPlace)),
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

/**
 * - `open`, to a look: nobody has won it yet.
 * - `superseded`: ask about `next`, at its arbiter.
 * - `unknown`: the arbiter has no memory of it: it never had it, or lost it. That is never a yes.
 */
export const RegisterAnswer = Type.Union([
  Open({ is: Type.Literal('won') }),
  Open({ is: Type.Literal('lost') }),
  Open({ is: Type.Literal('open') }),
  Open({ is: Type.Literal('superseded'), next: ProtectionConfig }),
  Open({ is: Type.Literal('unknown') }),
])
export type RegisterAnswer = Static<typeof RegisterAnswer>

/** What an arbiter is asked; the same words at an agent and at a manager. */
export const ArbiterOpenRequest = Open({ config: ProtectionConfig, life: Type.String() })
export type ArbiterOpenRequest = Static<typeof ArbiterOpenRequest>
export const ArbiterAskRequest = Open({
  vm: VmIdSchema,
  n: ProtectionConfig.properties.n,
  side: OneOf(protectionSides),
})
export type ArbiterAskRequest = Static<typeof ArbiterAskRequest>
export const ArbiterSupersedeRequest = Open({
  vm: VmIdSchema,
  n: ProtectionConfig.properties.n,
  next: ProtectionConfig,
})
export type ArbiterSupersedeRequest = Static<typeof ArbiterSupersedeRequest>

/** What the pumps of a pair ask of their arbiter. Every call may throw `unreachable`. */
export interface ArbiterApi {
  /** Identity of the arbiter's memory; another one after it was lost. */
  arbiterLife(): Promise<{ life: string }>
  /** Durable when it resolves. Throws `refused` when another life is meant, or a newer configuration is known. */
  arbiterOpen(request: ArbiterOpenRequest): Promise<void>
  arbiterClaim(request: ArbiterAskRequest): Promise<RegisterAnswer>
  arbiterLook(request: ArbiterAskRequest): Promise<RegisterAnswer>
  arbiterSupersede(request: ArbiterSupersedeRequest): Promise<RegisterAnswer>
}

/** An image of the second's own, beside the primary's, on shared datastores too. `key` 0 is UEFI's variable store. */
export const CopyDisk = Open({
  key: Count,
  disk: DiskIdSchema,
  datastore: DatastoreIdSchema,
  format: OneOf(diskFormats),
  sizeBytes: Count,
})
export type CopyDisk = Static<typeof CopyDisk>

/** All times in milliseconds. */
export const ProtectionSettings = Open({
  /** Silence of the other side after which it is given up. */
  silenceMs: Type.Integer({ minimum: 50, maximum: 60_000 }),
  /** Between two words of life. */
  beatMs: Type.Integer({ minimum: 5, maximum: 10_000 }),
  /** The shortest epoch, while output waits to leave: what is added to latency. */
  shortestEpochMs: Type.Integer({ minimum: 5, maximum: 10_000 }),
  /** The longest, while nothing waits. */
  longestEpochMs: Type.Integer({ minimum: 5, maximum: 10_000 }),
  /** An alarm is raised when the guest's clock is this far behind; 0: never. Absent (older managers): the default. */
  clockLimitMs: Type.Optional(Type.Integer({ minimum: 0, maximum: 86_400_000 })),
})
export type ProtectionSettings = Static<typeof ProtectionSettings>

export const defaultProtectionSettings: Required<ProtectionSettings> = {
  silenceMs: 500,
  beatMs: 50,
  shortestEpochMs: 20,
  longestEpochMs: 500,
  clockLimitMs: 1000,
}

/** What a run record says of a VM's protection, while there is any. */
export const RunProtection = Open({
  /** The number with which the pair began. */
  n: ProtectionConfig.properties.n,
  second: HostIdSchema,
  /** Who decides now. */
  arbiter: ArbiterId,
  /** By which number: that of the newest change of who decides; absent: `n`. */
  currentN: Type.Optional(ProtectionConfig.properties.n),
  /** `syncing`: the second is being brought in step. `protected`: it holds the state, as the primary's host has said. */
  phase: OneOf(['syncing', 'protected']),
})
export type RunProtection = Static<typeof RunProtection>

/** The configuration that the pair is bound by, by the record's word. */
export function configurationOf({ n, currentN }: RunProtection): number {
  return currentN ?? n
}

/** Whether a host speaks of this pair: a newer number says that another arbiter decides. */
export function isOfPair({ n }: Pick<ProtectionObservation, 'n'>, pair: Pick<RunProtection, 'n'>): boolean {
  return n >= pair.n
}

/** How the pump of one side sees it. `primary`: syncing → protecting → … ; `second`: candidate → following → … */
export const pumpPhases = [
  'syncing',
  'protecting',
  'confirming',
  'claiming',
  'alone',
  'lost',
  'candidate',
  'following',
  'running',
  'dropped',
] as const
export type PumpPhase = (typeof pumpPhases)[number]

/** How far the guest's clock is behind its host's, which is as good as that is. */
export const GuestClock = Open({
  /** Milliseconds that it lost to the stops of epochs and to takeovers, unless it was measured; negative: it is ahead. */
  lagMs: Type.Number(),
  /** By the guest's own word (its agent), and not only by what was taken from it. */
  isMeasured: Type.Boolean(),
  /** Of the setting `clockLimitMs`. */
  isBeyondLimit: Type.Boolean(),
})
export type GuestClock = Static<typeof GuestClock>

/** Live figures of a protected VM, from the host that says them. */
export const ProtectionObservation = Open({
  side: OneOf(protectionSides),
  n: ProtectionConfig.properties.n,
  phase: OneOf(pumpPhases),
  /** Newest epoch that was cut here (primary) or is safe here (second). */
  epoch: Count,
  /** Age of the newest state that is safe on the second host, milliseconds; null before there is any. */
  lagMs: Nullable(Type.Number()),
  /** How long the guest stood still for an epoch, median of late ones, milliseconds. */
  pauseMs: Nullable(Type.Number()),
  /** Median time between epochs of late, milliseconds. */
  epochMs: Nullable(Type.Number()),
  bytesPerSecond: Count,
  /** Share of the time, of late, in which the guest stood still because it writes faster than the link carries: 0–1. */
  heldBack: Type.Number({ minimum: 0, maximum: 1 }),
  /** While syncing: 0–1. */
  progress: Type.Number({ minimum: 0, maximum: 1 }),
  /** Null or absent: not known (yet). */
  clock: Type.Optional(Nullable(GuestClock)),
  /** What is wrong, in words. */
  problem: Nullable(Type.String()),
})
export type ProtectionObservation = Static<typeof ProtectionObservation>

/** Of a pump that has none to tell. */
export const noFigures: Omit<ProtectionObservation, 'side' | 'n' | 'phase'> = {
  ...{ epoch: 0, lagMs: null, pauseMs: null, epochMs: null, bytesPerSecond: 0, heldBack: 0 },
  ...{ progress: 0, problem: null },
}

/** Where the second's pump listens: on two networks, so that one that is cut is not taken for a dead host. */
export const SecondEndpoint = Open({
  /** On the storage network: epochs. */
  data: Open({ host: Type.String(), port: Type.Integer() }),
  /** On the management network: words of life. */
  beats: Open({ host: Type.String(), port: Type.Integer() }),
  /** Name that its certificate bears. */
  tlsName: Type.String(),
  /** QEMU's own NBD server, for the first copy of disks; null without disks. */
  nbd: Nullable(Open({ host: Type.String(), port: Type.Integer(), tlsName: Type.String() })),
  /** Disk key → NBD export name. */
  exports: Type.Array(Open({ key: Count, name: Type.String() })),
})
export type SecondEndpoint = Static<typeof SecondEndpoint>
