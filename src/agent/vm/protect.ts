/**
 * The primary's part: a pump holds the running guest in step with a second host until one of the two goes on alone. The
 * part is durable before the pump is started, and the pump is found again by it (follow-pump.ts).
 */
import { orAborted } from '../../base/aborted.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { JobProgress, ProtectRequest, UnprotectRequest } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { ProtectionObservation } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { Pump } from '../protect/pumps.ts'
import { hold, mustHavePumps } from './pair.ts'
import { reconcile } from './reconcile.ts'
import { newAttempt } from './transitions.ts'
import { isHeldPrimary, mustHavePump, type VmCore } from './vm-core.ts'

const endAgainMs = 2000

/** What the keeper lends to work that lasts. */
export interface KeeperWork {
  inQueue<T>(work: () => Promise<T>): Promise<T>
  /** Resolves when the manager has answered all that is pending. */
  told(): Promise<void>
  /** Resolves when the pair has come to something. */
  followed(): Promise<void>
}

/** The work of a `protect` job: resolves when the second is in step and the record says so. Else the guest runs on alone. */
export async function protect(
  core: VmCore,
  work: KeeperWork,
  request: ProtectRequest,
  onProgress: (progress: JobProgress) => void,
  signal: AbortSignal,
): Promise<{ n: number }> {
  const { n } = request.config
  await work.inQueue(() => beginProtect(core, request))
  try {
    await untilInStep(core, n, onProgress, signal)
    await work.inQueue(() => reconcile(core))
    await orAborted(work.told(), signal)
    const protection = core.record?.protection
    if (protection?.n === n && protection.phase === 'protected') return { n }
    throw new HoldfastError('wrong-state', `the run record of ${core.vm} does not say that it is protected`)
  } catch (thrown) {
    await endPump(core).catch((err: unknown) => {
      core.log.warn({ err: describeError(err) }, 'the protection that did not come about could not be ended yet')
    })
    throw thrown
  }
}

async function beginProtect(core: VmCore, request: ProtectRequest): Promise<void> {
  const { config, second, arbiter, copies, settings } = request
  const { vm } = core
  const held = core.state.protection
  if (held?.side === 'primary' && held.n === config.n && held.outcome === null) {
    // An agent before this one began it.
    await core.see(await core.ports.manager.record(vm))
    return
  }
  core.refuseOlder(request.generation)
  mustBeFree(core)
  mustName(await core.see(await core.ports.manager.record(vm)), core, request)
  core.mustHaveMachine()
  await mustHavePumps(core)
  await core.save({ protection: { side: 'primary', n: config.n, config, endpoint: null, outcome: null } })
  try {
    await hold(core, true)
    const runDirectory = core.ports.places.runDirectory(vm)
    const order = { vm, config, arbiter, copies, settings, second, runDirectory }
    const pump = await core.ports.pumps.startPrimary(order)
    core.attachPump(pump)
    if (core.state.pausedByUser) await pump.setPaused(true)
  } finally {
    // Where none runs, that says that the pair never began.
    core.background.followPump()
  }
}

function mustBeFree(core: VmCore): void {
  const { role, pending, protection, movingDisk, outOfSpace } = core.state
  const refuse = (why: string): never => {
    throw new HoldfastError('wrong-state', `${core.vm} cannot be protected: ${why}`)
  }
  if (role !== 'running') refuse(`it is ${role} here`)
  if (pending !== null) refuse(`the manager has not answered about ${pending.event} yet`)
  if (protection != null) refuse(`configuration ${protection.n} has not come to its end`)
  if (movingDisk != null) refuse('one of its disks is on the move')
  if (outOfSpace) refuse('it waits for space on a datastore')
}

function mustName(record: RunRecord, core: VmCore, { config }: ProtectRequest): void {
  const { host } = core.ports
  const { phase, protection, generation } = record
  const isNamed = phase === 'running' && record.host === host && config.primary === host && protection?.n === config.n
  if (isNamed && protection.second === config.second && config.n > (core.state.givenUp ?? 0)) return
  throw new HoldfastError('wrong-state', `the run record of ${core.vm} names no pair ${config.n} of this host`, {
    phase,
    generation,
  })
}

async function untilInStep(
  core: VmCore,
  n: number,
  onProgress: (progress: JobProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted()
    const { pump } = core
    const held = core.state.protection
    if (pump === undefined || held?.n !== n || held.outcome !== null) throw notInStep(core, core.pumpStatus)
    const { status } = pump
    if (status.phase === 'protecting' || status.phase === 'confirming') return
    if (status.phase !== 'syncing') throw notInStep(core, status)
    onProgress(progressOf(status))
    await nextChange(pump, signal)
  }
}

function notInStep(core: VmCore, status: ProtectionObservation | undefined): HoldfastError {
  const why = status?.problem ?? 'its pump has ended'
  return new HoldfastError('host-error', `the second copy of ${core.vm} could not be brought in step: ${why}`, {
    mend: 'It runs on without protection. Look at the networks between the two hosts, then protect it again.',
  })
}

function progressOf({ phase, progress, bytesPerSecond }: ProtectionObservation): JobProgress {
  const unknown = { doneBytes: 0, totalBytes: 0, dirtyBytesPerSecond: 0, remainingSeconds: null }
  return { fraction: progress, phase, bytesPerSecond, ...unknown }
}

async function nextChange(pump: Pump, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  using _listening = pump.onChange(() => resolve())
  await orAborted(Promise.race([promise, pump.gone]), signal)
}

/** Has the primary go on alone, where a pump runs. Rejects while the arbiter cannot be asked. */
async function endPump(core: VmCore): Promise<void> {
  const { pump } = core
  if (pump === undefined || !isHeldPrimary(core.state)) return
  await pump.end()
  await orAborted(pump.gone, core.ports.signal)
}

/** With `end`, the record says so when it resolves. */
export async function unprotect(core: VmCore, work: KeeperWork, request: UnprotectRequest): Promise<VmObservation> {
  const pump = await work.inQueue(() => toUnprotect(core, request))
  if (pump !== undefined && request.how === 'hand-over') {
    await pump.handOver()
    return core.observe()
  }
  if (pump !== undefined) {
    await pump.end()
    await orAborted(pump.gone, core.ports.signal)
  }
  await work.followed()
  await work.told()
  return core.observe()
}

/** Undefined where no pump is to be told: it has come to its end, or the pair never began. */
async function toUnprotect(core: VmCore, { generation, n, how }: UnprotectRequest): Promise<Pump | undefined> {
  const held = core.state.protection
  if (held?.side === 'primary' && held.n === n) {
    return held.outcome === null ? mustHavePump(core) : undefined
  }
  core.refuseOlder(generation)
  const record = await core.see(await core.ports.manager.record(core.vm))
  const isNamed = record.phase === 'running' && record.host === core.ports.host && record.protection?.n === n
  if (!isNamed || held != null || n <= (core.state.givenUp ?? 0)) return undefined
  if (how === 'hand-over' || core.state.pending !== null) {
    throw new HoldfastError('wrong-state', `the second copy of ${core.vm} was never brought in step`)
  }
  await core.save({ pending: newAttempt(core, 'alone') })
  core.background.tell()
  return undefined
}

/** Of a guest that has ended by itself: until it is this host's alone, so that its end can be told. */
export async function endProtection(core: VmCore): Promise<void> {
  const { clock, signal } = core.ports
  while (isHeldPrimary(core.state)) {
    await endPump(core).catch((err: unknown) => {
      signal.throwIfAborted()
      core.log.warn({ err: describeError(err) }, 'the protection of a guest that has ended cannot be ended yet')
    })
    if (isHeldPrimary(core.state)) await clock.sleep(endAgainMs, signal)
  }
}
