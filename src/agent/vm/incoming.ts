/**
 * The target's side of a migration. It runs as soon as it holds the complete state, waiting for nobody; until then it can
 * be given up, and an answer `discarded` is a promise that nothing of this move has run here or ever will.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { DiscardResponse, PrepareIncomingRequest, PrepareIncomingResponse } from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { IncomingEndpoint } from '../../hypervisor/hypervisor.ts'
import { arrive, discard, endMachine, reconcile } from './reconcile.ts'
import { recordUntilKnown } from './transitions.ts'
import type { VmCore } from './vm-core.ts'

/**
 * Disks, taps with their rules, leases, and a QEMU that listens. The manager's word is a wish: the record itself must
 * name this host as the target. Throws `stale-generation`, `wrong-state`, `unreachable`.
 */
export async function prepareIncoming(core: VmCore, request: PrepareIncomingRequest): Promise<PrepareIncomingResponse> {
  const { generation } = request.deployment
  const known = answered(core, generation)
  if (known !== undefined) return known
  core.refuseOlder(generation)
  if (generation <= Math.max(core.state.discarded ?? -1, core.state.vanished ?? -1)) {
    throw new HoldfastError('stale-generation', `the move of generation ${generation} was already given up here`)
  }
  if (core.state.role === 'incoming') await discard(core)
  if ((core.state.role !== 'none' && core.state.role !== 'sent') || core.state.pending !== null) {
    throw new HoldfastError('wrong-state', `${core.vm} is ${core.state.role} here`)
  }
  await mustBeTarget(core, generation)
  // What it sent away comes back already: by the record that guest is another's, and what stands here is only its shell.
  if (core.state.role === 'sent') await endMachine(core)
  await core.save({
    deployment: request.deployment,
    role: 'incoming',
    moveGeneration: generation,
    incoming: { request, response: null },
    outcome: null,
    problem: null,
    pausedByUser: false,
    outOfSpace: false,
    startedAt: null,
  })
  try {
    return await listen(core, request)
  } catch (thrown) {
    await discard(core)
    throw thrown
  }
}

function answered(core: VmCore, generation: number): PrepareIncomingResponse | undefined {
  const { role, moveGeneration, incoming } = core.state
  const isSame = (role === 'incoming' || role === 'running') && moveGeneration === generation
  return isSame && core.machine !== undefined ? (incoming?.response ?? undefined) : undefined
}

async function mustBeTarget(core: VmCore, generation: number): Promise<void> {
  const record = await core.see(await core.ports.manager.record(core.vm))
  if (record.phase === 'moving' && record.target === core.ports.host && record.generation >= generation) return
  throw new HoldfastError(
    record.generation > generation ? 'stale-generation' : 'wrong-state',
    `the run record of ${core.vm} does not name this host as the target of a move`,
    { phase: record.phase, generation: record.generation },
  )
}

async function listen(core: VmCore, request: PrepareIncomingRequest): Promise<PrepareIncomingResponse> {
  const { places, hypervisor } = core.ports
  await places.createMovingDisks(core.vm, request.movingDisks, request.task ?? null)
  const config = await places.prepare(request.deployment)
  core.attach(await hypervisor.start(config, 'incoming'), 'incoming')
  const options = {
    listenHost: places.incoming.host,
    peerTlsName: request.useTls ? request.sourceTlsName : null,
    nbdDisks: request.movingDisks.map((disk) => disk.key),
    allowPostCopy: request.allowPostCopy,
    then: request.runWhen === 'complete' ? ('complete' as const) : ('hold' as const),
    multifdChannels: request.multifdChannels ?? 0,
    isGuestPaused: request.isGuestPaused ?? false,
  }
  const begin = (): Promise<IncomingEndpoint> => core.mustHaveMachine().listen(options)
  const endpoint = await (request.allowPostCopy ? places.withPostCopyRight(core.vm, begin) : begin())
  const response: PrepareIncomingResponse = {
    host: places.incoming.host,
    port: endpoint.port,
    tlsName: places.incoming.tlsName,
    nbdPort: endpoint.nbdPort,
    exports: endpoint.exports.map((one) => ({ ...one })),
  }
  await core.save({ incoming: { request, response } })
  return response
}

/** Gives the move of this generation up, unless it is too late. */
export async function discardIncoming(core: VmCore, generation: number): Promise<DiscardResponse> {
  const { state } = core
  const say = async (outcome: DiscardResponse['outcome']): Promise<DiscardResponse> => ({
    outcome,
    observation: await core.observe(),
  })
  if ((state.discarded ?? -1) >= generation) return say('discarded')
  if ((state.vanished ?? -1) >= generation) return say('gone')
  const isThisMove = state.moveGeneration !== null && state.moveGeneration <= generation
  if (state.role === 'running' && isThisMove) return say(core.machineState === 'gone' ? 'gone' : 'running')
  if (state.role !== 'incoming') {
    core.refuseOlder(generation)
    if (state.role !== 'none') throw new HoldfastError('wrong-state', `${core.vm} is ${state.role} here`)
    await core.save({ discarded: generation })
    return say('discarded')
  }
  core.refuseOlder(generation, state.moveGeneration ?? 0)
  if (core.machine !== undefined && (await hasArrived(core))) {
    await arrive(core)
    return say('running')
  }
  if (core.machine === undefined || (core.machineState === 'gone' && (!core.witnessed || core.hasRun))) {
    await core.quitMachine()
    await core.save({ role: 'none', vanished: generation, incoming: null })
    return say('gone')
  }
  await core.save({ moveGeneration: generation })
  await discard(core)
  return say('discarded')
}

/** Stands the machine still and then looks: between a look and the end of QEMU it might else begin to run. */
async function hasArrived(core: VmCore): Promise<boolean> {
  const before = await core.askMachine()
  if (before === 'gone' || before === 'incoming-failed') return false
  if (before === 'running' || before === 'paused' || core.hasRun) return true
  if (before === 'incoming') await core.mustHaveMachine().pause()
  const after = await core.askMachine()
  if (after === 'running') return true
  // It holds the whole state, and under `complete` the source stands still for good: this is the one to go on.
  const isWhole = after === 'paused' || (after === 'incoming-complete' && waitsForNobody(core))
  if (!isWhole && !core.sawRun()) return false
  await core.resume()
  return true
}

function waitsForNobody(core: VmCore): boolean {
  const request = core.state.incoming?.request
  return request?.runWhen === 'complete' && request.isGuestPaused !== true
}

/** With `runWhen: released`: the source's stream completed. Throws `wrong-state` while the state is not whole. */
export async function releaseIncoming(core: VmCore, generation: number): Promise<VmObservation> {
  const { state } = core
  core.refuseOlder(generation, state.moveGeneration ?? state.generation)
  if (state.role === 'running') return core.observe()
  const machine = await core.askMachine()
  if (state.role === 'incoming' && machine === 'incoming-complete') {
    await core.resume()
    await arrive(core)
  } else if (state.role !== 'incoming' || (machine !== 'running' && machine !== 'paused')) {
    throw new HoldfastError('wrong-state', `${core.vm} is ${state.role} here and QEMU says ${machine}`)
  }
  return core.observe()
}

/** The whole state is here and held. If post-copy has begun, the record itself is the permission to run. */
export async function onComplete(core: VmCore, inQueue: (work: () => Promise<void>) => Promise<void>): Promise<void> {
  if (core.state.incoming?.request.allowPostCopy !== true) return
  const record = await recordUntilKnown(core)
  if (record === undefined) return
  await inQueue(async () => {
    await core.see(record)
    if (core.state.role === 'incoming') await reconcile(core)
  })
}
