/** Start, stop and signals of one VM. They run in its queue. */
import { idNumber } from '../../base/ids.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { SignalRequest, StopRequest, VmDeployment } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { TransitionResponse } from '../../contracts/manager-api.ts'
import { mayRun } from '../../contracts/run-record.ts'
import type { Static } from '../../contracts/schema.ts'
import { endMachine } from './reconcile.ts'
import { askUntilAnswered, newAttempt } from './transitions.ts'
import { isHeldPrimary, mustHavePump, refuseHeld, refusePanicked, type VmCore } from './vm-core.ts'

/**
 * QEMU is started with no vCPU running; the manager moves the record; then the vCPUs run. While no answer comes nothing
 * runs and nothing is given up. Throws `stale-generation` or `wrong-state` when the record does not permit it (QEMU is
 * gone again then), `hypervisor-error` when QEMU does not start.
 */
export async function startVm(core: VmCore, deployment: VmDeployment): Promise<VmObservation> {
  const { state } = core
  if (state.role === 'running' && state.deployment?.generation === deployment.generation) return core.observe()
  core.refuseOlder(deployment.generation)
  if (state.role !== 'none' || state.pending !== null || state.protection != null) {
    throw new HoldfastError('wrong-state', `${core.vm} is ${state.role === 'none' ? 'still ending' : state.role} here`)
  }
  core.ports.lease.mustHold(core.vm)
  if (deployment.leftBy !== undefined) await core.ports.lease.takes(deployment.leftBy)
  const attempt = newAttempt(core, 'started')
  const pending = { ...attempt, generation: deployment.generation }
  await core.save({
    deployment,
    generation: deployment.generation,
    role: 'starting',
    pending,
    problem: null,
    outcome: null,
    moveGeneration: null,
    pausedByUser: false,
    outOfSpace: false,
    startedAt: null,
  })
  await launch(core, deployment)
  const answer = await askUntilAnswered(core, pending)
  return enterOrQuit(core, deployment, answer)
}

async function launch(core: VmCore, deployment: VmDeployment): Promise<void> {
  try {
    const config = await core.ports.places.prepare(deployment)
    core.attach(await core.ports.hypervisor.start(config, 'prelaunch'), 'prelaunch')
  } catch (thrown) {
    // Nothing was asked of the manager yet.
    await core.save({ role: 'none', pending: null })
    await core.ports.places.release(core.vm)
    throw thrown
  }
}

async function enterOrQuit(
  core: VmCore,
  deployment: VmDeployment,
  answer: TransitionResponse | undefined,
): Promise<VmObservation> {
  const record = answer?.record
  const { host } = core.ports
  // By the record, not by `isAccepted`: an earlier attempt whose answer was lost may have moved it.
  if (
    record !== undefined &&
    record.generation > deployment.generation &&
    record.host === host &&
    mayRun(record, host)
  ) {
    await core.resume()
    core.record = record
    await core.save({
      role: 'running',
      pending: null,
      startedAt: core.wallClock(),
      generation: record.generation,
      incarnation: record.incarnation,
    })
    return core.observe()
  }
  await core.quitMachine()
  await core.save({ role: 'none', pending: null })
  if (record !== undefined) await core.see(record)
  const isStale = record !== undefined && record.generation > deployment.generation
  throw new HoldfastError(
    isStale ? 'stale-generation' : 'wrong-state',
    `the run record of ${core.vm} does not permit the start: ${answer?.reason ?? 'the manager knows no such VM'}`,
    { reason: answer?.reason ?? 'not-found', phase: record?.phase, generation: record?.generation },
  )
}

/**
 * `off`: QEMU is reaped when this resolves and the transition is pending: the caller waits for its answer outside of the
 * queue. `acpi`: the button is pressed.
 */
export async function stopVm(core: VmCore, request: Static<typeof StopRequest>): Promise<void> {
  const { state } = core
  if (request.how === 'off' && state.lastStop === request.generation && state.role === 'none') return
  core.refuseOlder(request.generation)
  if (state.role === 'incoming' || state.role === 'outgoing' || state.role === 'sent') {
    throw new HoldfastError('wrong-state', `${core.vm} is ${state.role} here; its migration must be settled first`)
  }
  if (request.how === 'acpi') {
    await core.mustHaveMachine().powerButton()
    return
  }
  refuseHeld(core, 'stopped')
  if (state.role === 'none' && core.machine === undefined) return
  // The cause is durable before QEMU ends, so that its end is not taken for a crash.
  const pending = state.pending?.event === 'stopped' ? state.pending : newAttempt(core, 'stopped', { cause: 'asked' })
  await core.save({ pending, lastStop: request.generation })
  await endMachine(core)
  core.background.tell()
}

/** Throws `wrong-state` when no guest of this VM runs here, `stale-generation` for an older record or task. */
export async function signalVm(core: VmCore, request: Static<typeof SignalRequest>): Promise<VmObservation> {
  core.refuseOlder(request.generation)
  const machine = core.mustHaveMachine()
  if (core.state.role !== 'running') {
    throw new HoldfastError('wrong-state', `${core.vm} is ${core.state.role} here`)
  }
  const [asked, newest] = [request.task === undefined ? undefined : idNumber(request.task), core.state.lastSignal ?? 0]
  if (asked !== undefined && asked < newest) {
    throw new HoldfastError('stale-generation', `a newer task than ${request.task ?? ''} has signalled ${core.vm}`)
  }
  const lastSignal = Math.max(asked ?? 0, newest)
  if (request.signal === 'pause' || request.signal === 'resume') refusePanicked(core, `${request.signal}d`)
  const isPumps = isHeldPrimary(core.state) && (request.signal === 'pause' || request.signal === 'resume')
  const pump = isPumps ? mustHavePump(core) : undefined
  switch (request.signal) {
    case 'pause':
      await core.save({ pausedByUser: true, lastSignal })
      if (pump !== undefined) await pump.setPaused(true)
      else {
        await machine.pause()
        core.machineState = 'paused'
      }
      break
    case 'resume':
      await core.save({ pausedByUser: false, lastSignal })
      if (pump !== undefined) await pump.setPaused(false)
      else if ((await core.askMachine()) === 'paused') await core.resume()
      break
    // These are no states but acts: what was done for this task is not done again.
    case 'reset':
    case 'nmi':
      if (asked !== newest) await (request.signal === 'reset' ? reset(core) : machine.nonMaskableInterrupt())
      await core.save({ lastSignal })
      break
  }
  return core.observe()
}

/** One that has panicked stands still, and goes on with the reset. */
async function reset(core: VmCore): Promise<void> {
  const isPanicked = (await core.askMachine()) === 'panicked'
  // Before it: whoever comes after this agent cannot know whether the boot is still that one.
  await core.save({ boot: null })
  await core.mustHaveMachine().reset()
  // QEMU may say so later than it answers, and what is saved until then is of the boot that is over.
  core.beginBoot()
  if (isPanicked && !core.state.pausedByUser) await core.resume()
}
