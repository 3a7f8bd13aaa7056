/** What a cluster does for VMs whose host is lost: priorities, dependencies, rules of placement, and room that is kept. */
import { ClusterIdSchema, HostIdSchema, RuleIdSchema, VmIdSchema } from './ids.ts'
import {
  admissionPolicies,
  afterTimeout,
  mostHostFailures,
  readyKinds,
  ruleKinds,
  ruleStrengths,
} from './restart-words.ts'
import { Count, Name, OneOf, Open, Ref, Strict, Time, Type, Uuid, type Static } from './schema.ts'

const Port = Type.Integer({ minimum: 1, maximum: 65535 })
const TimeoutSeconds = Type.Integer({ minimum: 1, maximum: 86_400, description: 'default 300' })

/** A VM that has to be ready before another one is started again. What is absent has its default. */
export const VmDependency = Open({
  vm: VmIdSchema,
  ready: OneOf(readyKinds),
  port: Type.Optional(Port),
  timeoutSeconds: Type.Optional(TimeoutSeconds),
  onTimeout: Type.Optional(OneOf(afterTimeout)),
})
export type VmDependency = Static<typeof VmDependency>

export const DependencyRequest = Strict({
  vm: Ref,
  ready: Type.Optional(OneOf(readyKinds, { description: 'default running' })),
  port: Type.Optional(Port),
  timeoutSeconds: Type.Optional(TimeoutSeconds),
  onTimeout: Type.Optional(OneOf(afterTimeout, { description: 'default start' })),
})
export type DependencyRequest = Static<typeof DependencyRequest>

export const DependencyRequests = Type.Array(DependencyRequest, {
  maxItems: 32,
  description: 'VMs that are to be ready before this one is started again after the loss of a host',
})

const restartFields = {
  levelWaitSeconds: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 3600, description: 'how long one VM holds up lower priorities; default 60' }),
  ),
  startsPerHost: Type.Optional(
    Type.Integer({ minimum: 1, maximum: 64, description: 'VMs that start on one host at a time; default 4' }),
  ),
}
export const RestartSettings = Open(restartFields)
export type RestartSettings = Static<typeof RestartSettings>

const admissionFields = {
  policy: OneOf(admissionPolicies),
  hosts: Type.Optional(Type.Integer({ minimum: 1, maximum: mostHostFailures, description: 'with `hosts`' })),
  percent: Type.Optional(Type.Integer({ minimum: 1, maximum: 90, description: 'with `percent`' })),
}
export const AdmissionSettings = Open(admissionFields)
export type AdmissionSettings = Static<typeof AdmissionSettings>

export const ChangeCluster = Strict({
  restart: Type.Optional(Strict(restartFields)),
  admission: Type.Optional(Strict(admissionFields)),
})
export type ChangeCluster = Static<typeof ChangeCluster>

/** What would be if one host, or the worst of several together, failed now. */
export const FailureForecast = Open({
  hosts: Type.Array(Type.String()),
  /** Memory of the VMs that would have to be started elsewhere, MiB. */
  needMiB: Count,
  /** Memory that is free on the hosts that would be left, MiB. */
  freeMiB: Count,
  vms: Count,
  fits: Type.Boolean(),
  /** What would not fit, in words; null when all does. */
  problem: Type.Union([Type.String(), Type.Null()]),
})
export type FailureForecast = Static<typeof FailureForecast>

export const AdmissionReport = Open({
  settings: AdmissionSettings,
  /** Memory for VMs of the hosts that take any, MiB. */
  capacityMiB: Count,
  /** Of that, promised to VMs. */
  usedMiB: Count,
  /** Of that, to be kept free by the settings. */
  reservedMiB: Count,
  /** Whether what is to be kept is free now. */
  isKept: Type.Boolean(),
  /** Failures of any hosts at once that every VM would survive, 0 to 4; VMs in `bound` aside. */
  survives: Count,
  /** Each host alone. */
  each: Type.Array(FailureForecast),
  /** The worst combination of one host more than it survives; null where there is none. */
  worst: Type.Union([FailureForecast, Type.Null()]),
  /** VMs that no free memory helps, since their storage (or a rule) leaves them no other host. */
  bound: Type.Array(Open({ vm: VmIdSchema, name: Type.String(), why: Type.String() })),
})
export type AdmissionReport = Static<typeof AdmissionReport>

const Named = <T extends Parameters<typeof Type.Array>[0]>(id: T) => Type.Array(Open({ id, name: Type.String() }))

export const Rule = Open({
  id: RuleIdSchema,
  uuid: Uuid,
  name: Type.String(),
  created: Time,
  revision: Count,
  cluster: ClusterIdSchema,
  kind: OneOf(ruleKinds),
  strength: OneOf(ruleStrengths),
  vms: Named(VmIdSchema),
  hosts: Named(HostIdSchema),
  /** What is noteworthy of it as things are: it cannot be kept, or is broken now. */
  warnings: Type.Array(Type.String()),
})
export type Rule = Static<typeof Rule>

export const CreateRule = Strict({
  name: Name,
  kind: OneOf(ruleKinds),
  strength: Type.Optional(OneOf(ruleStrengths, { description: 'default must' })),
  vms: Type.Array(Ref, { minItems: 1, maxItems: 256 }),
  hosts: Type.Optional(Type.Array(Ref, { minItems: 1, maxItems: 256, description: 'with on-hosts and not-on-hosts' })),
})
export type CreateRule = Static<typeof CreateRule>
