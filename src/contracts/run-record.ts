/**
 * The run record: the one truth about who may run a VM (docs/architecture.md, "One VM runs at most once").
 *
 *   stopped ──started(h)──▶ running{h} ──move──▶ moving{h→t} ──arrived(t)──▶ running{t}
 *      ▲                       │                     │  ╰──returned(h)──▶ running{h}
 *      ╰──────stopped(h)───────╯                     ╰──lost / fenced──▶ stopped
 *
 *   running{h} ──protect(b)──▶ running{h, second b} ──took-over(b)──▶ running{b}
 *       ▲─────────alone(h)────────────╯     ╰╴new-arbiter(h)
 *
 * Invariants:
 * - Each transition is a compare-and-set on the generation, and raises it by one.
 * - No vCPU runs on a host until that host's own agent has made the transition that permits it: `started`, or for the
 *   target of a migration the manager's `move`, which is its permission.
 * - From `moving` the source never goes on by itself unless it knows that its stream never completed (`returned` with
 *   that proof), or the target has durably answered `discarded`.
 * - While a second is named the record follows what the two sides settle by their arbiter: nothing but `alone` (the primary
 *   has won, or the pair never began) and `took-over` (the second has won) ends it, whoever is confirmed off.
 * - `unknown` is what every record becomes when a store is restored from a backup: nobody starts anything until each
 *   host has said what it runs (`adopted`) or is confirmed off.
 */
import type { HostId } from '../base/ids.ts'
import { machine, no } from '../base/machine.ts'
import { LeftBy } from './host-lease.ts'
import { HostIdSchema, TaskIdSchema, VmIdSchema } from './ids.ts'
import { configurationOf, RunProtection, type ArbiterId } from './protection.ts'
import { Nullable, OneOf, Open, Time, Type, type Static } from './schema.ts'

export const runPhases = ['stopped', 'running', 'moving', 'unknown'] as const
export type RunPhase = (typeof runPhases)[number]

/** Why a VM is stopped. Only `crashed`, `host-lost` and `lost-in-move` are restarted by the power reconciler. */
export const stopCauses = [
  'never-started',
  'asked',
  'guest-shutdown',
  'crashed',
  'start-failed',
  'host-lost',
  'lost-in-move',
] as const
export type StopCause = (typeof stopCauses)[number]

export const RunRecord = Open({
  vm: VmIdSchema,
  phase: OneOf(runPhases),
  /** Who runs it (running), or who ran it last (stopped), or the source (moving). */
  host: Nullable(HostIdSchema),
  /** Where it moves to; null but in `moving`. */
  target: Nullable(HostIdSchema),
  /** In `moving`: post-copy has begun, so the loss of either side is a restart from disk. */
  postCopy: Type.Boolean(),
  /** Who else holds the VM's state, and may go on with it; null or absent: nobody. */
  protection: Type.Optional(Nullable(RunProtection)),
  /** In `moving`: the migration's task. */
  task: Nullable(TaskIdSchema),
  /** Why it is stopped; null in the other phases. */
  cause: Nullable(OneOf(stopCauses)),
  /** In `stopped`: it was left behind by a host whose lease was over, and is started only by one that has not vouched for that. */
  leftBy: Type.Optional(Nullable(LeftBy)),
  /** Which life of the store wrote this; a restored store begins a new one. */
  incarnation: Type.Integer({ minimum: 1 }),
  /** Raised by one with every transition. */
  generation: Type.Integer({ minimum: 0 }),
  since: Time,
})
export type RunRecord = Static<typeof RunRecord>

export const runEvents = [
  'started',
  'stopped',
  'revoke',
  'move',
  'post-copy',
  'arrived',
  'returned',
  'lost',
  'fenced',
  'restored',
  'adopted',
  'absent',
  'protect',
  'protected',
  'alone',
  'took-over',
  'new-arbiter',
] as const
export type RunEvent = (typeof runEvents)[number]

const gone = no('not-known-yet')

export const runMachine = machine<RunPhase, RunEvent>({
  stopped: {
    started: 'running',
    stopped: no('already-stopped'),
    revoke: 'stopped',
    move: no('not-running'),
    'post-copy': no('not-moving'),
    arrived: no('not-moving'),
    returned: no('not-moving'),
    lost: no('not-moving'),
    fenced: no('already-stopped'),
    restored: 'unknown',
    adopted: no('known'),
    absent: no('known'),
    protect: no('not-running'),
    protected: no('not-running'),
    alone: no('not-running'),
    'took-over': no('not-running'),
    'new-arbiter': no('not-running'),
  },
  running: {
    started: no('already-running'),
    stopped: 'stopped',
    revoke: no('already-running'),
    move: 'moving',
    'post-copy': no('not-moving'),
    arrived: no('not-moving'),
    returned: no('not-moving'),
    lost: no('not-moving'),
    fenced: 'stopped',
    restored: 'unknown',
    adopted: no('known'),
    absent: no('known'),
    protect: 'running',
    protected: 'running',
    alone: 'running',
    'took-over': 'running',
    'new-arbiter': 'running',
  },
  moving: {
    started: no('moving'),
    stopped: no('moving'),
    revoke: no('moving'),
    move: no('moving'),
    'post-copy': 'moving',
    arrived: 'running',
    returned: 'running',
    lost: 'stopped',
    fenced: 'stopped',
    restored: 'unknown',
    adopted: no('known'),
    absent: no('known'),
    protect: no('moving'),
    protected: no('moving'),
    alone: no('moving'),
    'took-over': no('moving'),
    'new-arbiter': no('moving'),
  },
  unknown: {
    started: gone,
    stopped: gone,
    revoke: gone,
    move: gone,
    'post-copy': gone,
    arrived: gone,
    returned: gone,
    lost: gone,
    fenced: 'stopped',
    restored: 'unknown',
    adopted: 'running',
    absent: 'stopped',
    protect: gone,
    protected: gone,
    alone: gone,
    'took-over': gone,
    'new-arbiter': gone,
  },
})

/** Events that a host's own agent makes; the rest are the manager's. */
export const agentEvents = [
  'started',
  'stopped',
  'post-copy',
  'arrived',
  'returned',
  'adopted',
  'protected',
  'alone',
  'took-over',
  'new-arbiter',
] as const
export type AgentRunEvent = (typeof agentEvents)[number]

export type RunTransition =
  | { readonly event: 'started'; readonly by: HostId }
  | { readonly event: 'stopped'; readonly by: HostId; readonly cause: StopCause }
  | { readonly event: 'revoke' }
  | { readonly event: 'move'; readonly target: HostId; readonly task: NonNullable<RunRecord['task']> }
  | { readonly event: 'post-copy'; readonly by: HostId }
  | { readonly event: 'arrived'; readonly by: HostId }
  | { readonly event: 'returned'; readonly by: HostId }
  | { readonly event: 'lost'; readonly cause: StopCause }
  /** `leftBy`: by the host's lease, not by who has seen it off. `isSettled`: of a protected VM, once the arbiter has given it to the primary that is off: the second never runs it. */
  | { readonly event: 'fenced'; readonly isSettled?: boolean; readonly leftBy?: LeftBy }
  | { readonly event: 'restored'; readonly incarnation: number }
  | { readonly event: 'adopted'; readonly by: HostId }
  | { readonly event: 'absent' }
  | { readonly event: 'protect'; readonly protection: Static<typeof RunProtection> }
  | { readonly event: 'protected'; readonly by: HostId }
  | { readonly event: 'alone'; readonly by: HostId }
  | { readonly event: 'took-over'; readonly by: HostId }
  /** The two sides are bound by configuration `n` now, in which `arbiter` decides. */
  | { readonly event: 'new-arbiter'; readonly by: HostId; readonly n: number; readonly arbiter: ArbiterId }

/**
 * The record after a transition, or why it is refused. Pure. `now` is only recorded.
 * A transition by a host that is not the one concerned is refused with `not-yours`.
 */
export function stepRunRecord(
  record: RunRecord,
  transition: RunTransition,
  now: string,
): { ok: true; record: RunRecord } | { ok: false; reason: string } {
  const step = runMachine.step(record.phase, transition.event)
  if (!step.ok) return step
  if (!concerns(record, transition)) return { ok: false, reason: 'not-yours' }
  const bound = boundBy(record.protection ?? null, transition)
  if (bound !== undefined) return { ok: false, reason: bound }
  const next: RunRecord = { ...record, phase: step.to, generation: record.generation + 1, since: now }
  return { ok: true, record: applied(next, record, transition) }
}

function concerns(record: RunRecord, transition: RunTransition): boolean {
  switch (transition.event) {
    case 'stopped':
    case 'post-copy':
    case 'returned':
      return record.host === transition.by
    case 'arrived':
      return record.target === transition.by
    case 'move':
      return record.host !== transition.target
    case 'protected':
    case 'alone':
    case 'new-arbiter':
      return record.host === transition.by
    case 'took-over':
      return record.protection?.second === transition.by
    case 'protect':
      return record.host !== transition.protection.second
    default:
      return true
  }
}

/** Why a second that is named, or is not, forbids this; undefined: it does not. */
function boundBy(protection: RunProtection | null, transition: RunTransition): string | undefined {
  switch (transition.event) {
    case 'stopped':
    case 'move':
    case 'protect':
      return protection === null ? undefined : 'protected'
    case 'fenced':
      return protection === null || transition.isSettled === true ? undefined : 'protected'
    case 'protected':
    case 'alone':
    // Also while it still says `syncing`: the primary may be lost after the pair began, before its host could say so.
    case 'took-over':
      return protection === null ? 'not-protected' : undefined
    case 'new-arbiter':
      if (protection === null) return 'not-protected'
      return transition.n > configurationOf(protection) ? undefined : 'known'
    default:
      return undefined
  }
}

function applied(next: RunRecord, before: RunRecord, transition: RunTransition): RunRecord {
  const settled = { ...next, target: null, task: null, postCopy: false, cause: null, protection: null, leftBy: null }
  switch (transition.event) {
    case 'started':
    case 'arrived':
    case 'returned':
      return { ...settled, host: transition.by }
    case 'adopted':
      return { ...settled, protection: keptBy(before, transition.by), host: transition.by }
    case 'stopped':
    case 'lost':
      return { ...settled, cause: transition.cause }
    case 'fenced':
      return { ...settled, cause: 'host-lost', leftBy: transition.leftBy ?? null }
    case 'absent':
      return { ...settled, cause: 'host-lost' }
    case 'revoke':
      return { ...settled, cause: before.cause, leftBy: before.leftBy ?? null }
    case 'move':
      return { ...settled, target: transition.target, task: transition.task }
    case 'post-copy':
      return { ...next, postCopy: true }
    case 'restored':
      // Which of the two runs it now is theirs to say; neither is forgotten.
      return { ...settled, protection: before.protection ?? null, incarnation: transition.incarnation }
    case 'protect':
      return { ...next, protection: transition.protection }
    case 'protected':
      return { ...next, protection: before.protection ? { ...before.protection, phase: 'protected' } : null }
    case 'new-arbiter': {
      const { arbiter, n: currentN } = transition
      return { ...next, protection: before.protection ? { ...before.protection, arbiter, currentN } : null }
    }
    case 'alone':
      return { ...next, protection: null }
    case 'took-over':
      return { ...settled, host: transition.by }
  }
}

/** A primary that is found running has its second still; a second that is found running has taken over. */
function keptBy(before: RunRecord, host: HostId): RunProtection | null {
  return before.host === host ? (before.protection ?? null) : null
}

/** Whether this host may have vCPUs of the VM running under this record. */
export function mayRun(record: RunRecord, host: HostId): boolean {
  return (
    (record.phase === 'running' && record.host === host) ||
    (record.phase === 'moving' && (record.host === host || record.target === host))
  )
}
