/** Scenario files: what is in one, as a schema. docs/simulation.md says the same for people. */
import { ChangeFencing } from '../../contracts/fence.ts'
import { isolationPolicies } from '../../contracts/host-lease.ts'
import { MonitoringWish } from '../../contracts/monitoring.ts'
import { restartPriorities } from '../../contracts/restart-words.ts'
import { ChangeCluster, CreateRule, DependencyRequests } from '../../contracts/restart.ts'
import { OneOf, Strict, Type, type Static } from '../../contracts/schema.ts'

const Span = Type.String({ pattern: '^[0-9]+(\\.[0-9]+)?(ms|s|min|h)$', description: 'such as 500ms, 12s, 1.5s, 3min' })
const Sentence = Type.String({ minLength: 20, maxLength: 400 })
const Words = Type.String({ minLength: 1, maxLength: 200 })
const OneOrMore = Type.Union([Words, Type.Array(Words, { minItems: 1 })])
const HostName = Type.String({ pattern: '^node[1-9]$' })

export const ScenarioVm = Strict({
  /** The host that runs it at the beginning; absent: it is powered off. */
  on: Type.Optional(HostName),
  datastore: Type.Optional(Type.String({ pattern: '^(shared|local[1-9])$' })),
  memoryMiB: Type.Optional(Type.Integer({ minimum: 16, maximum: 8192 })),
  priority: Type.Optional(OneOf(restartPriorities)),
  isolation: Type.Optional(OneOf(isolationPolicies)),
  restart: Type.Optional(OneOf(['on-failure', 'never'])),
  allowPostCopy: Type.Optional(Type.Boolean()),
  dependsOn: Type.Optional(DependencyRequests),
  monitoring: Type.Optional(MonitoringWish),
  /** An agent runs in the guest and answers, until the guest hangs. */
  guestAgent: Type.Optional(Type.Boolean()),
})
export type ScenarioVm = Static<typeof ScenarioVm>

export const Topology = Strict({
  hosts: Type.Optional(Type.Integer({ minimum: 1, maximum: 6, description: 'node1, node2, …; default 3' })),
  /** `several`: hosts have leases, and stop what is armed when they are cut off. */
  managers: Type.Optional(OneOf(['one', 'several'])),
  /** Term of the hosts' hardware watchdogs; absent: they have none. */
  watchdog: Type.Optional(Span),
  /** False: the storage keeps no locks, and nothing but the program holds a second copy back. */
  imageLocks: Type.Optional(Type.Boolean()),
  /** Hosts with a fence device. */
  fences: Type.Optional(Type.Union([OneOf(['all']), Type.Array(HostName, { minItems: 1 })])),
  /** Hosts with a second device of its own faults (`fence_spare`), and its level. */
  spareFences: Type.Optional(Strict({ hosts: Type.Array(HostName, { minItems: 1 }), level: Type.Integer() })),
  /** What becomes of a host that was fenced, once its VMs are free; default on. */
  fencedThen: Type.Optional(OneOf(['on', 'off'])),
  fencing: Type.Optional(ChangeFencing),
  cluster: Type.Optional(ChangeCluster),
  guests: Type.Optional(
    Strict({
      transfer: Type.Optional(Span),
      neverConverges: Type.Optional(Type.Boolean()),
      obeysPowerButton: Type.Optional(Type.Boolean()),
      agentAfter: Type.Optional(Span),
    }),
  ),
  vms: Type.Record(Type.String({ pattern: '^[a-z][a-z0-9-]{0,30}$' }), ScenarioVm, { additionalProperties: false }),
  rules: Type.Optional(Type.Array(CreateRule)),
})
export type Topology = Static<typeof Topology>

export const Step = Strict({
  /** Since the beginning. */
  at: Type.Optional(Span),
  /** What has to be seen in the log, after the step before, or a state. */
  after: Type.Optional(Words),
  /** So much later still. */
  wait: Type.Optional(Span),
  /** Done one after the other. */
  do: Type.Optional(OneOrMore),
  /** What must be so now, or within a time. */
  holds: Type.Optional(OneOrMore),
  within: Type.Optional(Span),
})
export type Step = Static<typeof Step>

const expected = {
  is: Words,
  /** At most so long after what it is counted from. */
  within: Type.Optional(Span),
  /** At least. */
  notBefore: Type.Optional(Span),
  /** What times are counted from: the first such line of the log; absent: what was expected before this, or the first step. */
  from: Type.Optional(Words),
}
export const ExpectedEvent = Strict(expected)
export type ExpectedEvent = Static<typeof ExpectedEvent>
export const ExpectedGroup = Strict({ anyOrder: Type.Array(ExpectedEvent, { minItems: 2 }) })

export const Never = Strict({
  is: Words,
  /** Only what comes before the first such line counts. */
  before: Type.Optional(Words),
  /** Only what comes after it. */
  after: Type.Optional(Words),
  /** So many are allowed. */
  moreThan: Type.Optional(Type.Integer({ minimum: 1 })),
})
export type Never = Static<typeof Never>

export const Expectations = Strict({
  /** Come in this order; others may come between them. */
  events: Type.Optional(Type.Array(Type.Union([ExpectedEvent, ExpectedGroup]), { minItems: 1 })),
  never: Type.Optional(Type.Array(Type.Union([Words, Never]), { minItems: 1 })),
  /** At the end, before anything is healed. */
  held: Type.Optional(Type.Array(Words, { minItems: 1 })),
  /** When all is healed and settled. */
  settled: Type.Optional(Type.Array(Words, { minItems: 1 })),
})
export type Expectations = Static<typeof Expectations>

export const ScenarioFile = Strict({
  /** What HA managers get wrong here. */
  about: Sentence,
  topology: Topology,
  steps: Type.Array(Step, { minItems: 1 }),
  /** How long it goes on after the last step; default a minute. */
  lasts: Type.Optional(Span),
  expect: Expectations,
})
export type ScenarioFile = Static<typeof ScenarioFile>

const units = { ms: 1, s: 1000, min: 60_000, h: 3_600_000 } as const

/** Milliseconds of a span that the schema has let pass; one that begins with a minus is below zero. */
export function spanMs(text: string): number {
  const [, number = '0', unit = 'ms'] = /^([+-]?[0-9.]+)(ms|s|min|h)$/.exec(text) ?? []
  return Number(number) * units[unit as keyof typeof units]
}

export function listOf(words: string | readonly string[] | undefined): readonly string[] {
  return words === undefined ? [] : typeof words === 'string' ? [words] : words
}
