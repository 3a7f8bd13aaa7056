/**
 * The second's part: images of its own, a QEMU that waits, and a pump that listens. Nothing of it runs before its pump has
 * won it at the arbiter. What was given up is durable, and its number is never taken up again.
 */
import { orAborted } from '../../base/aborted.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { PrepareSecondRequest } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { SecondEndpoint } from '../../contracts/protection.ts'
import { memoryOf, mustHavePumps, outcomeOf, settlePair } from './pair.ts'
import type { VmCore } from './vm-core.ts'

/** The manager's word is a wish: the record itself must name this host. Throws `stale-generation`, `wrong-state`, `unreachable`. */
export async function prepareSecond(core: VmCore, request: PrepareSecondRequest): Promise<SecondEndpoint> {
  const { config, deployment } = request
  const { n } = config
  const held = core.state.protection
  if (held?.side === 'second' && held.n === n && held.outcome === null && held.endpoint !== null) return held.endpoint
  core.refuseOlder(deployment.generation)
  if (n <= (core.state.givenUp ?? 0)) {
    throw new HoldfastError('stale-generation', `configuration ${n} of ${core.vm} was already given up here`)
  }
  await mustBeSecond(core, request)
  await mustHavePumps(core)
  // What is here of an earlier pair, or of an attempt that was cut short, is given up; not where it may run.
  if (held?.side === 'second' && held.n < n) await dropSecond(core)
  const { role, pending, protection } = core.state
  if (role !== 'none' || pending !== null || protection != null) {
    throw new HoldfastError('wrong-state', `${core.vm} is ${role === 'none' ? 'still ending' : role} here`)
  }
  await core.save({
    deployment,
    role: 'second',
    protection: { side: 'second', n, config, endpoint: null, outcome: null },
    problem: null,
    outcome: null,
    moveGeneration: null,
    pausedByUser: false,
    outOfSpace: false,
    startedAt: null,
  })
  try {
    return await receive(core, request)
  } catch (thrown) {
    await dropSecond(core).catch((err: unknown) => {
      core.log.warn({ err: describeError(err) }, 'what is here of the second copy cannot be given up yet')
    })
    throw thrown
  } finally {
    core.background.followPump()
  }
}

async function mustBeSecond(core: VmCore, { config }: PrepareSecondRequest): Promise<void> {
  const record = await core.see(await core.ports.manager.record(core.vm))
  const { phase, host, protection, generation } = record
  const isNamed = protection?.n === config.n && protection.second === core.ports.host
  if (phase === 'running' && host === config.primary && isNamed && config.second === protection.second) return
  throw new HoldfastError('wrong-state', `the run record of ${core.vm} does not name this host as second`, {
    phase,
    generation,
  })
}

async function receive(core: VmCore, request: PrepareSecondRequest): Promise<SecondEndpoint> {
  const { places, hypervisor, pumps } = core.ports
  const { vm } = core
  const { config, arbiter, copies, settings, primaryTlsName } = request
  const empty = copies.map(({ datastore, ...copy }) => ({ ...copy, from: datastore, to: datastore }))
  await places.createMovingDisks(vm, empty, request.task)
  const machineConfig = await places.prepare(request.deployment)
  core.attach(await hypervisor.start(machineConfig, 'incoming'), 'incoming')
  const { host, tlsName } = places.incoming
  const receiving = await core.mustHaveMachine().receiveCopies({
    listenHost: host,
    disks: copies.map(({ key }) => key),
    peerTlsName: request.primaryStreamTlsName,
  })
  const { pump, endpoint } = await pumps.startSecond({
    ...{ vm, config, arbiter, copies, settings, primaryTlsName, runDirectory: places.runDirectory(vm) },
    nbd: receiving === null ? null : { host, port: receiving.port, tlsName },
    exports: receiving === null ? [] : receiving.exports.map((one) => ({ ...one })),
  })
  core.attachPump(pump)
  const held = core.state.protection
  if (held != null) await core.save({ protection: { ...held, endpoint } })
  return endpoint
}

/** Gives configuration n up, unless it is too late: the observation says what is here. */
export async function discardSecond(core: VmCore, n: number): Promise<VmObservation> {
  const held = core.state.protection
  if (n <= (core.state.givenUp ?? 0)) return core.observe()
  if (held?.side === 'second' && held.n === n) {
    if (held.outcome !== 'running') await dropSecond(core)
    return core.observe()
  }
  if (held != null && held.n < n) {
    throw new HoldfastError('wrong-state', `${core.vm} is held here under configuration ${held.n}`, {
      mend: 'End that one first.',
    })
  }
  // Where it runs by right the number says nothing: it was told too late, or of another host.
  if (core.state.role === 'none' || core.state.role === 'second') await core.save({ givenUp: n })
  return core.observe()
}

/**
 * Ends the second's part. When it resolves this side is out, or it runs here. Throws `wrong-state` when the pump asks to run
 * and has no answer yet.
 */
export async function dropSecond(core: VmCore): Promise<void> {
  const held = core.state.protection
  if (held?.side !== 'second') return
  const pump = core.pump ?? (await core.ports.pumps.adopt(core.vm))
  if (held.outcome === null && pump !== undefined) {
    try {
      await pump.drop()
    } catch (thrown) {
      const isRunning = pump.status.phase === 'running'
      const hasEnded = thrown instanceof HoldfastError && thrown.code === 'unreachable'
      if (!isRunning && !hasEnded) throw thrown
    }
    await orAborted(pump.gone, core.ports.signal)
  }
  const memory = await memoryOf(core, held)
  // A candidate whose pump is gone was never bound, and is bound by nobody any more.
  const outcome = held.outcome ?? (memory?.phase === 'candidate' ? 'dropped' : outcomeOf(memory, held))
  if (outcome === undefined) {
    throw new HoldfastError('wrong-state', `${core.vm} may be this host's: its pump has ended before it knew`, {
      mend: 'Ask again: another pump finds it out.',
    })
  }
  await settlePair(core, outcome)
}
