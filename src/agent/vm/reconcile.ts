/** Carries out what `decide` says, step by step until nothing is left to do. Runs in the VM's queue. */
import { describeError } from '../../base/errors.ts'
import { configurationOf } from '../../contracts/protection.ts'
import type { AgentRunEvent, RunRecord, StopCause } from '../../contracts/run-record.ts'
import { decide, type VmAction, type VmView } from './decide.ts'
import type { PairAction } from './decide-pair.ts'
import type { PendingTransition, VmState } from './vm-state.ts'
import { forgetPair, giveUp, memoryOf } from './pair.ts'
import { dropSecond } from './second.ts'
import { newAttempt } from './transitions.ts'
import { isHeldPrimary, panicWords, type VmCore } from './vm-core.ts'

/** More than any chain of actions is long; a circle would be a fault, and must not spin. */
const mostSteps = 8

export async function reconcile(core: VmCore): Promise<void> {
  for (let step = 0; step < mostSteps; step++) {
    const { record } = core
    if (record === undefined) return
    const machine = await core.askMachine()
    const { state, witnessed, hasRun, isDriven } = core
    const pumpPhase = core.pump?.status.phase
    const keepsPanicked = core.ports.monitored.has(core.vm)
    const seen = { state, machine, witnessed: witnessed && !hasRun, isDriven, pumpPhase, keepsPanicked }
    const decides = await newlyDecidedBy(core, record)
    const action = decide({ me: core.ports.host, record, ...seen, ...(decides === undefined ? {} : { decides }) })
    if (action.do !== 'nothing')
      core.log.info({ action: action.do, phase: record.phase, machine }, 'the record and QEMU are brought together')
    if (!(await carryOut(core, action))) return
  }
  core.log.error({}, 'the VM does not come to rest')
}

/** Who decides by the primary's pump, where that has put another in the place of whom the record names. */
async function newlyDecidedBy(core: VmCore, { protection }: RunRecord): Promise<VmView['decides']> {
  const held = core.state.protection
  if (held == null || protection == null || !isHeldPrimary(core.state)) return undefined
  if ((core.pump?.status.n ?? 0) <= configurationOf(protection)) return undefined
  const memory = await memoryOf(core, held)
  return memory === undefined ? undefined : { n: memory.config.n, arbiter: memory.config.arbiter }
}

/** Whether to look again afterwards. */
async function carryOut(core: VmCore, action: VmAction): Promise<boolean> {
  switch (action.do) {
    case 'nothing':
      await settleRole(core)
      return false
    case 'resume':
      await letGo(core)
      return false
    case 'quit':
      await endMachine(core)
      return true
    case 'forbid':
      await forbid(core)
      return false
    case 'discard':
      await discard(core)
      return true
    case 'mark-vanished':
      await core.save({ role: 'none', vanished: core.state.moveGeneration, incoming: null })
      await core.ports.places.release(core.vm)
      return true
    case 'clear':
      await endMachine(core)
      return true
    case 'settle-outgoing':
      core.background.settleOutgoing()
      return false
    case 'transition':
      await beginTransition(core, action.event, action.cause)
      return false
    case 'end':
      await end(core, action.cause)
      return false
    default:
      return carryOutOfPair(core, action)
  }
}

async function carryOutOfPair(core: VmCore, action: PairAction): Promise<boolean> {
  switch (action.do) {
    case 'end-protection':
      core.background.endProtection()
      return false
    case 'tell-arbiter':
      if (core.state.pending === null) {
        await core.save({ pending: newAttempt(core, 'new-arbiter', { decides: action.decides }) })
      }
      core.background.tell()
      return false
    case 'quit-held':
      core.log.error({}, 'QEMU met an internal error and cannot go on: it is ended, and the pair decides')
      await core.machine?.quit()
      return false
    case 'drop-second':
      await dropUnwanted(core)
      return false
    case 'give-up':
      await giveUp(core)
      return true
    case 'forget-protection':
      await forgetPair(core)
      return true
  }
}

/** The record names another pair, or none. */
async function dropUnwanted(core: VmCore): Promise<void> {
  await dropSecond(core).catch((err: unknown) => {
    core.log.info({ err: describeError(err) }, 'a second that is wanted no more cannot be given up now')
  })
}

/** The role follows from the record once both agree that the guest is this host's. */
async function settleRole(core: VmCore): Promise<void> {
  const { record, state, machineState } = core
  const runs = machineState === 'running' || machineState === 'paused'
  if (!runs || record?.phase !== 'running' || record.host !== core.ports.host) return
  if (state.role !== 'running') await core.save({ role: 'running', problem: null })
}

/** The record permits it: the vCPUs go first, what is remembered of it second. */
async function letGo(core: VmCore): Promise<void> {
  const wasIncoming = core.state.role === 'incoming'
  await core.resume()
  if (wasIncoming) await arrive(core)
  else await core.save({ role: 'running', startedAt: core.state.startedAt ?? core.wallClock(), problem: null })
}

/** The guest of a move runs here: tell the networks and the manager. Nothing waits for either. */
export async function arrive(core: VmCore): Promise<void> {
  core.mustHaveMachine()
  core.announce()
  const isPaused = core.machineState === 'paused'
  await core.save({
    role: 'running',
    startedAt: core.wallClock(),
    pausedByUser: isPaused,
    outOfSpace: false,
    problem: null,
    pending: newAttempt(core, 'arrived'),
  })
  core.background.tell()
}

async function beginTransition(core: VmCore, event: AgentRunEvent, cause: StopCause | null): Promise<void> {
  const runs = core.machineState === 'running' || core.machineState === 'paused'
  if (event === 'arrived' && runs && core.state.role !== 'running' && core.state.pending === null) return arrive(core)
  // One at a time: what is asked already may answer this too. After its answer everything is decided anew.
  if (core.state.pending === null) {
    const isOver = core.machineState === 'gone' && event === 'stopped'
    await core.save({ ...(isOver ? { role: 'none' as const } : {}), pending: newAttempt(core, event, { cause }) })
    if (core.machineState === 'gone') await core.ports.places.release(core.vm)
  }
  core.background.tell()
}

/** Ends QEMU and forgets what it was for. */
export async function endMachine(core: VmCore): Promise<void> {
  await core.quitMachine()
  await core.save({
    role: 'none',
    pausedByUser: false,
    outOfSpace: false,
    startedAt: null,
    incoming: null,
    movingDisk: null,
  })
}

/** QEMU cannot go on. The cause is durable before QEMU, who knows it, is gone. */
async function end(core: VmCore, cause: StopCause): Promise<void> {
  const { record } = core
  const isMine = record?.phase === 'running' && record.host === core.ports.host
  const crash = core.machineState === 'panicked' ? panicWords : 'QEMU met an internal error and could not go on'
  const problem = cause === 'crashed' ? crash : null
  await core.save({
    problem,
    ...(isMine && core.state.pending === null ? { pending: newAttempt(core, 'stopped', { cause }) } : {}),
  })
  await endMachine(core)
  if (core.state.pending !== null) core.background.tell()
}

async function forbid(core: VmCore): Promise<void> {
  const { record } = core
  const problem = `A copy ran here that the run record (${record?.phase ?? 'none'}, generation ${record?.generation ?? 0}) does not permit; it was stopped.`
  core.log.error({ record }, problem)
  await core.machine?.pause().catch((err: unknown) => core.log.error({ err }, 'the forbidden copy could not be paused'))
  core.ports.onChange()
  await endMachine(core)
  await core.save({ problem, pending: null })
}

/** Gives up the incoming side: QEMU is gone first, the promise is durable second, the disks of the move go last. */
export async function discard(core: VmCore): Promise<void> {
  const { incoming, moveGeneration, generation, discarded } = core.state
  await core.quitMachine()
  await core.save({
    role: 'none',
    discarded: Math.max(moveGeneration ?? generation, discarded ?? 0),
    incoming: null,
    startedAt: null,
    outOfSpace: false,
  })
  if (incoming === null) return
  await core.ports.places
    .removeMovedDisks(incoming.request.movingDisks, 'to', incoming.request.task ?? null)
    .catch((err: unknown) => {
      core.log.warn({ err }, 'disks of a discarded move could not be removed')
    })
}

/** After the manager has answered: nothing is pending any more, and its record is the newest. */
export async function afterAnswer(
  core: VmCore,
  pending: PendingTransition,
  answer: { isAccepted: boolean; reason: string | null; record: RunRecord } | undefined,
): Promise<void> {
  const done: Partial<VmState> = { pending: null }
  if (answer === undefined) {
    core.log.warn({ event: pending.event }, 'the manager knows no such VM')
    await core.save(done)
    return
  }
  if (!answer.isAccepted) core.log.info({ event: pending.event, reason: answer.reason }, 'the transition was refused')
  if (pending.event === 'took-over' && !isOwnOrMayBe(core, answer.record)) {
    done.problem = `It runs here by the arbiter's word, and the run record (${answer.record.phase}, generation ${answer.record.generation}) names another.`
    core.log.error({ record: answer.record }, done.problem)
  }
  const isSettled = answer.record.phase !== 'moving'
  if (pending.event === 'returned' && core.state.role === 'outgoing' && isSettled) done.role = 'running'
  await core.save(done)
  await core.see(answer.record)
  await reconcile(core)
}

/** The record names this host, or its pair, or nobody can say yet. */
function isOwnOrMayBe(core: VmCore, { phase, host, protection }: RunRecord): boolean {
  const me = core.ports.host
  return phase === 'unknown' || (phase === 'running' && (host === me || protection?.second === me))
}
