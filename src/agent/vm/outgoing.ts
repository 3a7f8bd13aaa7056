/**
 * The source's side of a migration. Once its stream completed it stands still and waits for the verdict; it goes on only
 * when the stream never completed, or when the target has durably given up and the record was moved back first.
 */
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { JobProgress, MigrateOutcome, MigrateOutRequest, SettleRequest } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { OutgoingProgress, OutgoingResult } from '../../hypervisor/hypervisor.ts'
import { endMachine, reconcile } from './reconcile.ts'
import { askUntilAnswered, newAttempt } from './transitions.ts'
import { refuseHeld, refusePanicked, type VmCore } from './vm-core.ts'

const settleRetryMs = 2000

/** What begins in the queue. An outcome: this move has already ended here. */
export async function beginOutgoing(core: VmCore, request: MigrateOutRequest): Promise<MigrateOutcome | undefined> {
  const { state } = core
  if (state.moveGeneration === request.generation && state.outcome !== null) return state.outcome
  core.refuseOlder(request.generation, state.role === 'outgoing' ? (state.moveGeneration ?? 0) : state.generation)
  if (state.role === 'outgoing' && state.moveGeneration === request.generation) {
    throw new HoldfastError('wrong-state', `an earlier attempt to move ${core.vm} is still being settled`)
  }
  refuseHeld(core, 'moved')
  refusePanicked(core, 'moved')
  if (state.role !== 'running' || state.pending !== null) {
    throw new HoldfastError('wrong-state', `${core.vm} is ${state.role} here`)
  }
  const record = await core.see(await core.ports.manager.record(core.vm))
  if (record.phase !== 'moving' || record.host !== core.ports.host || record.generation !== request.generation) {
    throw new HoldfastError('wrong-state', `the run record of ${core.vm} names no move from this host`, {
      phase: record.phase,
      generation: record.generation,
    })
  }
  core.mustHaveMachine()
  await core.save({ role: 'outgoing', moveGeneration: request.generation, outcome: null })
  core.isDriven = true
  return undefined
}

/** What lasts, outside of the queue. Never rejects: whatever goes wrong, the outcome says what is known. */
export async function sendOut(
  core: VmCore,
  request: MigrateOutRequest,
  onProgress: (progress: JobProgress) => void,
  signal: AbortSignal,
): Promise<OutgoingResult> {
  const { incoming } = request
  try {
    return await core.mustHaveMachine().migrateOut(
      {
        host: incoming.host,
        port: incoming.port,
        nbdPort: incoming.nbdPort,
        exports: incoming.exports,
        tlsName: request.useTls ? incoming.tlsName : null,
        maxBandwidth: request.maxBandwidth,
        downtimeLimitMs: request.downtimeLimitMs,
        autoConverge: request.autoConverge,
        allowPostCopy: request.allowPostCopy,
        multifdChannels: request.multifdChannels,
        onProgress: (progress) => onProgress(jobProgress(progress)),
        beforePostCopy: () => beginPostCopy(core, request.generation),
      },
      signal,
    )
  } catch (thrown) {
    core.log.error({ err: thrown }, 'the migration broke; how it ended is unknown')
    return unknownOutcome(thrown instanceof Error ? thrown.message : String(thrown))
  }
}

function unknownOutcome(reason: string): OutgoingResult {
  return { outcome: 'unknown', reason, totalMs: 0, downtimeMs: 0, ramBytes: 0, diskBytes: 0 }
}

function jobProgress(progress: OutgoingProgress): JobProgress {
  return {
    fraction: Math.min(1, Math.max(0, progress.fraction)),
    phase: progress.phase,
    doneBytes: progress.doneBytes,
    totalBytes: progress.totalBytes,
    bytesPerSecond: Math.round(progress.bytesPerSecond),
    dirtyBytesPerSecond: Math.round(progress.dirtyBytesPerSecond),
    remainingSeconds: progress.remainingSeconds,
  }
}

/** The record must say post-copy before QEMU begins it: from then on neither side alone has the guest. */
async function beginPostCopy(core: VmCore, generation: number): Promise<void> {
  const attempt = { ...newAttempt(core, 'post-copy'), generation }
  const answer = await askUntilAnswered(core, attempt)
  if (answer === undefined) throw new HoldfastError('wrong-state', `the manager knows no ${core.vm}`)
  await core.see(answer.record)
  if (answer.record.phase === 'moving' && answer.record.host === core.ports.host && answer.record.postCopy) return
  throw new HoldfastError('wrong-state', 'the run record does not permit post-copy', { reason: answer.reason })
}

/** What ends in the queue: the outcome is durable before anybody learns of it. */
export async function finishOutgoing(core: VmCore, result: OutgoingResult): Promise<MigrateOutcome> {
  core.isDriven = false
  const outcome: MigrateOutcome = { ...result }
  const isHere = core.machine !== undefined && core.machineState !== 'gone'
  switch (result.outcome) {
    case 'not-sent':
      // The guest runs on here already: the target cannot have its state.
      await core.save({ outcome, pending: newAttempt(core, 'returned') })
      core.background.tell()
      break
    case 'sent':
      await core.save({ outcome, role: 'sent' })
      if (isHere) await core.askMachine()
      break
    case 'unknown':
      await core.save(isHere ? { problem: `How the migration ended is unknown: ${result.reason ?? ''}` } : { outcome })
      if (isHere) core.background.settleOutgoing()
      else await endMachine(core)
      break
  }
  return outcome
}

/** Finds out how an outgoing stream that nobody drives ends. */
export async function settleOutgoing(
  core: VmCore,
  inQueue: (work: () => Promise<void>) => Promise<void>,
): Promise<void> {
  const { clock, signal } = core.ports
  core.isDriven = true
  for (;;) {
    const result = await endOfOutgoing(core)
    if (result !== undefined) {
      return inQueue(async () => {
        core.isDriven = false
        if (core.state.role === 'outgoing') await finishOutgoing(core, result)
      })
    }
    await clock.sleep(settleRetryMs, signal)
  }
}

/** Undefined while it cannot be said. */
async function endOfOutgoing(core: VmCore): Promise<OutgoingResult | undefined> {
  const { machine } = core
  if (machine === undefined || core.machineState === 'gone') return unknownOutcome('QEMU is gone')
  try {
    const result = await machine.settleOutgoing()
    return result.outcome === 'unknown' ? undefined : result
  } catch (err) {
    core.log.warn({ err: describeError(err) }, 'the outgoing migration cannot be settled yet')
    return undefined
  }
}

/** The verdict over a stream that completed, or whose end is unknown. */
export async function settle(core: VmCore, request: SettleRequest): Promise<VmObservation> {
  const { state } = core
  core.refuseOlder(request.generation, state.moveGeneration ?? state.generation)
  if (request.verdict === 'release') return release(core, request)
  const neverSent = state.role === 'outgoing' && state.outcome?.outcome === 'not-sent'
  if (state.role === 'running' || neverSent) return takeBack(core)
  const machine = await core.askMachine()
  if (state.role !== 'sent' || machine !== 'sent') {
    throw new HoldfastError('wrong-state', `${core.vm} is ${state.role} here and QEMU says ${machine}`)
  }
  if (!request.targetDiscarded) {
    throw new HoldfastError('wrong-state', `the stream of ${core.vm} completed: the target must give it up first`)
  }
  const pending = newAttempt(core, 'returned')
  await core.save({ pending })
  const answer = await askUntilAnswered(core, pending)
  await core.save({ pending: null })
  if (answer !== undefined) await core.see(answer.record)
  await reconcile(core)
  return core.observe()
}

/** The guest runs here and no stream of it completed, or none was begun: the record comes back. */
async function takeBack(core: VmCore): Promise<VmObservation> {
  const record = await core.see(await core.ports.manager.record(core.vm))
  if (record.phase === 'moving' && record.host === core.ports.host && core.state.pending === null) {
    await core.save({ pending: newAttempt(core, 'returned') })
    core.background.tell()
  }
  return core.observe()
}

async function release(core: VmCore, request: SettleRequest): Promise<VmObservation> {
  const { role } = core.state
  if (role === 'running' || role === 'starting' || role === 'incoming' || role === 'second') {
    throw new HoldfastError('wrong-state', `${core.vm} is ${role} here; there is nothing to release`)
  }
  if (role !== 'none' || core.machine !== undefined) await endMachine(core)
  await core.ports.places.removeMovedDisks(request.movedDisks, 'from', request.task ?? null)
  return core.observe()
}
