/**
 * The keeper of one VM: commands, QEMU's events and the manager's answers come to it from all sides and pass through one
 * queue, so that each sees the state that the one before left, durably.
 */
import { describeError } from '../../base/errors.ts'
import type { DatastoreId, VmId } from '../../base/ids.ts'
import type {
  ChangeArbiterRequest,
  DiscardResponse,
  JobProgress,
  MigrateOutcome,
  MigrateOutRequest,
  PrepareIncomingRequest,
  PrepareIncomingResponse,
  PrepareSecondRequest,
  ProtectRequest,
  SettleRequest,
  SignalRequest,
  StopRequest,
  UnprotectRequest,
  VmDeployment,
} from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { SecondEndpoint } from '../../contracts/protection.ts'
import type { RunRecord } from '../../contracts/run-record.ts'
import type { Static } from '../../contracts/schema.ts'
import type { Machine, MachineEvent } from '../../hypervisor/hypervisor.ts'
import { changeArbiter } from './change-arbiter.ts'
import { beginDiskMove, noteDiskMoved, settleDiskMove } from './disk-move.ts'
import { discardIncoming, onComplete, prepareIncoming, releaseIncoming } from './incoming.ts'
import { followPump, takeUp } from './follow-pump.ts'
import { beginOutgoing, finishOutgoing, sendOut, settle, settleOutgoing } from './outgoing.ts'
import { addressesOf, type GuestAddress } from './probe.ts'
import { endProtection, protect, unprotect, type KeeperWork } from './protect.ts'
import { afterAnswer, arrive, endMachine, reconcile } from './reconcile.ts'
import { discardSecond, prepareSecond } from './second.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import { watchSpace } from './space.ts'
import type { FramesSent, GuestSigns } from '../guest/guest-signs.ts'
import { signalVm, startVm, stopVm } from './start-vm.ts'
import { askUntilAnswered, isKnownToManager, recordUntilKnown } from './transitions.ts'
import { isHeldPrimary, VmCore } from './vm-core.ts'
import type { VmPorts } from './vm-ports.ts'
import { lookAtGuest } from './watch-guest.ts'
import type { VmState } from './vm-state.ts'

const settleRetryMs = 2000
const refusedPauseMs = 1000

export class VmKeeper implements AsyncDisposable {
  readonly #core: VmCore
  readonly #queue = new SerialQueue()
  readonly #busy = new Map<string, Promise<void>>()
  readonly #again = new Set<string>()

  private constructor(ports: VmPorts, vm: VmId, state: VmState | undefined) {
    const inQueue = (work: () => Promise<void>): Promise<void> => this.#queue.run(work)
    const background = {
      look: () => this.#reconcileSoon(),
      followPump: () => this.#once('follow', () => followPump(this.#core, inQueue)),
      endProtection: () => this.#once('end-protection', () => endProtection(this.#core)),
      tell: () => this.#once('tell', () => this.#tell()),
      refresh: () => this.#once('refresh', () => this.#refresh()),
      settleOutgoing: () => this.#once('settle', () => settleOutgoing(this.#core, inQueue)),
      watchSpace: () => this.#once('space', () => watchSpace(this.#core, inQueue)),
    }
    this.#core = new VmCore(ports, vm, state, background, (event) => this.#onEvent(event))
  }

  /** Looks at what is there of this VM (state, QEMU) and begins to bring it together with the record. */
  static async open(ports: VmPorts, vm: VmId): Promise<VmKeeper> {
    const keeper = new VmKeeper(ports, vm, await ports.states.read(vm))
    await keeper.#adopt()
    return keeper
  }

  get vm(): VmId {
    return this.#core.vm
  }

  observe(): Promise<VmObservation> {
    return this.#core.observe()
  }

  /** Of a QEMU that runs here. Throws `wrong-state` when there is none. */
  machine(): Machine {
    return this.#core.mustHaveMachine()
  }

  /** Where the guest that runs here is asked whether it is ready. Throws `wrong-state` when there is none. */
  guestPlace(): { agentSocket: string; addresses: GuestAddress[] } {
    const { deployment } = this.#core.state
    const addresses = deployment === null ? [] : addressesOf(deployment)
    return { agentSocket: this.machine().guestAgentSocket, addresses }
  }

  start(deployment: VmDeployment): Promise<VmObservation> {
    return this.#queue.run(() => startVm(this.#core, deployment))
  }

  async stop(request: Static<typeof StopRequest>): Promise<VmObservation> {
    await this.#queue.run(() => stopVm(this.#core, request))
    if (request.how === 'off') await this.#busy.get('tell')
    return this.#core.observe()
  }

  signal(request: Static<typeof SignalRequest>): Promise<VmObservation> {
    return this.#queue.run(() => signalVm(this.#core, request))
  }

  prepareIncoming(request: PrepareIncomingRequest): Promise<PrepareIncomingResponse> {
    return this.#queue.run(() => prepareIncoming(this.#core, request))
  }

  discardIncoming(generation: number): Promise<DiscardResponse> {
    return this.#queue.run(() => discardIncoming(this.#core, generation))
  }

  releaseIncoming(generation: number): Promise<VmObservation> {
    return this.#queue.run(() => releaseIncoming(this.#core, generation))
  }

  /** With `resume`: the record has come back to this host when it resolves. */
  async settle(request: SettleRequest): Promise<VmObservation> {
    await this.#queue.run(() => settle(this.#core, request))
    await this.#busy.get('tell')
    return this.#core.observe()
  }

  /** The work of a `migrate-out` job. Resolves with the outcome, whatever it is; throws when nothing was begun. */
  async migrateOut(
    request: MigrateOutRequest,
    onProgress: (progress: JobProgress) => void,
    signal: AbortSignal,
  ): Promise<MigrateOutcome> {
    const known = await this.#queue.run(() => beginOutgoing(this.#core, request))
    if (known !== undefined) return known
    const result = await sendOut(this.#core, request, onProgress, signal)
    return this.#queue.run(() => finishOutgoing(this.#core, result))
  }

  /**
   * The work of a `move-disk` job: resolves when the guest writes to the new file alone. That it counts is durable before
   * its first write there.
   */
  async moveDisk(
    generation: number,
    to: { key: number; datastore: DatastoreId; path: string; format: 'qcow2' | 'raw' },
    onProgress: (done: number, total: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const machine = await this.#queue.run(() => beginDiskMove(this.#core, generation, to))
    try {
      await machine.moveDisk(to.key, { path: to.path, format: to.format }, onProgress, signal, () =>
        this.#queue.run(() => noteDiskMoved(this.#core)),
      )
    } catch (thrown) {
      await this.#queue.run(() => settleDiskMove(this.#core))
      throw thrown
    }
    await this.#queue.run(() => this.#core.save({ movingDisk: null }))
  }

  prepareSecond(request: PrepareSecondRequest): Promise<SecondEndpoint> {
    return this.#queue.run(() => prepareSecond(this.#core, request))
  }

  discardSecond(n: number): Promise<VmObservation> {
    return this.#queue.run(() => discardSecond(this.#core, n))
  }

  /** The work of a `protect` job. Resolves when the second is in step and the record says so. */
  protect(
    request: ProtectRequest,
    onProgress: (progress: JobProgress) => void,
    signal: AbortSignal,
  ): Promise<{ n: number }> {
    return protect(this.#core, this.#work(), request, onProgress, signal)
  }

  unprotect(request: UnprotectRequest): Promise<VmObservation> {
    return unprotect(this.#core, this.#work(), request)
  }

  changeArbiter(request: ChangeArbiterRequest): Promise<VmObservation> {
    return changeArbiter(this.#core, this.#work(), request)
  }

  #work(): KeeperWork {
    return {
      inQueue: (work) => this.#queue.run(work),
      told: async () => this.#busy.get('tell'),
      followed: async () => this.#busy.get('follow'),
    }
  }

  /** Ends what an earlier attempt left of a disk's move. After it, `diskDatastore` tells where the disk is. */
  settleDiskMove(): Promise<void> {
    return this.#queue.run(() => settleDiskMove(this.#core))
  }

  /** The datastore that a disk of the VM is on, by this host's own state; undefined while that is not settled. */
  diskDatastore(key: number): DatastoreId | undefined {
    if (this.#core.state.movingDisk?.key === key) return undefined
    return this.#core.state.deployment?.spec.disks.find((disk) => disk.key === key)?.datastore
  }

  /** Whether a QEMU of this VM is on this host. */
  hasMachine(): boolean {
    return this.#core.machine !== undefined && this.#core.machineState !== 'gone'
  }

  /** The manager's word of the record. */
  tellRecord(record: RunRecord): Promise<void> {
    return this.#queue.run(async () => {
      await this.#core.see(record)
      await reconcile(this.#core)
    })
  }

  /**
   * Forgets all that is known here of a VM that is no more, when nothing of it is here; says whether it did. The keeper does
   * nothing after that. What an old message could still ask is refused as ever: nothing runs without a record.
   */
  forget(): Promise<boolean> {
    return this.#queue.run(async () => {
      if (!this.#isAtRest() || (await isKnownToManager(this.#core))) return false
      this.#queue.shut()
      await this.#core.ports.places.release(this.vm)
      await this.#core.ports.states.remove(this.vm)
      this.#core.log.info({}, 'the VM is no more; its state here is removed')
      return true
    })
  }

  #isAtRest(): boolean {
    const { state, machine } = this.#core
    const isIdle = machine === undefined && this.#busy.size === 0
    const isUnbound = state.protection == null && state.incoming === null && state.movingDisk == null
    return isIdle && isUnbound && state.role === 'none' && state.pending === null
  }

  isLookDue(nowMs: number, everyMs: number): boolean {
    return this.hasMachine() && this.#core.watch.takeDue(nowMs, everyMs)
  }

  /** One look at the guest, for its monitoring. Rejects where QEMU does not answer. */
  async look(signs: GuestSigns, frames: FramesSent, everyMs: number): Promise<void> {
    await lookAtGuest(this.#core, { signs, frames, everyMs })
    const { watch, state } = this.#core
    if (watch.isHeard && state.boot?.isHeard !== true) await this.#keepBoot()
  }

  #keepBoot(): Promise<void> {
    return this.#queue.run(async () => {
      if (this.#core.machine !== undefined) await this.#core.keepBoot()
    })
  }

  /** Reads the record anew and acts on it, in the background. */
  refresh(): void {
    this.#core.background.refresh()
  }

  /**
   * Lets go; QEMU runs on. Nothing works on the VM any more when it is let go of: what did would take a QEMU that it
   * cannot see for one that has ended.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#queue.close()
    await this.#core.detach()
  }

  async #adopt(): Promise<void> {
    const { ports, vm } = this.#core
    if (this.#core.state.incoming?.request.allowPostCopy === true) await ports.places.endPostCopyRight(vm)
    const machine = await ports.hypervisor.adopt(vm, ports.places.runDirectory(vm))
    if (machine !== undefined) {
      this.#core.attach(machine, 'running')
      const found = await this.#core.askMachine().catch(() => 'running' as const)
      this.#core.witnessed = found === 'incoming' || found === 'prelaunch'
      await this.#core.keepBoot()
    }
    if (this.#core.state.pending?.event === 'started' && !this.hasMachine()) await this.#core.save({ pending: null })
    // It was to end when the agent ended: that comes first, so that its end is told only when it has.
    if (this.#core.state.pending?.event === 'stopped') await endMachine(this.#core)
    await this.#adoptPump()
    const { state } = this.#core
    if (state.pending !== null) this.#core.background.tell()
    else if (machine !== undefined || state.role !== 'none' || state.protection != null) this.#core.background.refresh()
    if (state.movingDisk != null && this.hasMachine()) this.#enqueue(() => settleDiskMove(this.#core))
    const isPausedUnseen =
      state.movingDisk == null &&
      this.#core.machineState === 'paused' &&
      state.role === 'running' &&
      state.protection == null &&
      !state.pausedByUser
    if (isPausedUnseen) await this.#core.save({ outOfSpace: true })
    if (this.#core.state.outOfSpace) this.#core.background.watchSpace()
  }

  /** What its pump does meanwhile, or has done, comes before the record is asked. */
  async #adoptPump(): Promise<void> {
    if (this.#core.state.protection == null) return
    await takeUp(this.#core).catch((err: unknown) => this.#report(err))
    this.#core.background.followPump()
  }

  #onEvent(event: MachineEvent): void {
    if (event.kind === 'io-error' && event.isNoSpace) {
      this.#enqueue(async () => {
        await this.#core.save({ outOfSpace: true })
        // Its pump would let it go on at once, to fail again.
        if (isHeldPrimary(this.#core.state)) await this.#core.pump?.setPaused(true)
        this.#core.background.watchSpace()
      })
    }
    if (event.kind === 'reset') this.#keepBoot().catch((err: unknown) => this.#report(err))
    if (event.kind === 'gone') this.#reconcileSoon()
    if (event.kind === 'state') this.#onState(event)
  }

  #onState({ state }: Extract<MachineEvent, { kind: 'state' }>): void {
    const { role } = this.#core.state
    if (role === 'incoming' && (state === 'running' || state === 'paused')) {
      this.#enqueue(async () => {
        const isHere = this.#core.machineState === 'running' || this.#core.machineState === 'paused'
        if (this.#core.state.role === 'incoming' && isHere) await arrive(this.#core)
      })
    } else if (role === 'incoming' && state === 'incoming-complete') {
      this.#once('complete', () => onComplete(this.#core, (work) => this.#queue.run(work)))
    } else if (state === 'shutdown' || state === 'failed' || state === 'panicked' || state === 'incoming-failed') {
      this.#reconcileSoon()
    }
  }

  #reconcileSoon(): void {
    if (this.#core.record === undefined) this.#core.background.refresh()
    else this.#enqueue(() => reconcile(this.#core))
  }

  #enqueue(work: () => Promise<void>): void {
    this.#queue.run(work).catch((err: unknown) => this.#report(err))
  }

  /** Starts background work; asked for again while it runs, it runs once more after. */
  #once(name: string, work: () => Promise<void>): void {
    if (this.#busy.has(name)) this.#again.add(name)
    else this.#busy.set(name, this.#repeat(name, work))
  }

  async #repeat(name: string, work: () => Promise<void>): Promise<void> {
    do {
      this.#again.delete(name)
      // Not before the caller has noted that this runs.
      await Promise.resolve()
      await work().catch((err: unknown) => this.#report(err))
    } while (this.#again.has(name) && !this.#core.ports.signal.aborted)
    this.#busy.delete(name)
  }

  #report(err: unknown): void {
    if (!this.#core.ports.signal.aborted) this.#core.log.error({ err: describeError(err) }, 'work on the VM failed')
  }

  async #tell(): Promise<void> {
    for (let pending = this.#core.state.pending; pending !== null; pending = this.#core.state.pending) {
      const asked = pending
      const answer = await askUntilAnswered(this.#core, asked)
      // Refused as it stands: what is decided anew may well be the same, and is asked no faster than this.
      const isRefused = answer?.isAccepted === false && answer.record.generation === asked.generation
      await this.#queue.run(async () => {
        if (this.#core.state.pending?.attempt === asked.attempt) await afterAnswer(this.#core, asked, answer)
      })
      const { clock, signal } = this.#core.ports
      if (isRefused) await clock.sleep(refusedPauseMs, signal)
    }
  }

  async #refresh(): Promise<void> {
    const record = await recordUntilKnown(this.#core)
    if (record === undefined) {
      this.#core.log.warn({}, 'the manager knows no such VM; what is here of it is left alone')
      return
    }
    const { clock, signal } = this.#core.ports
    for (;;) {
      try {
        return await this.tellRecord(record)
      } catch (err) {
        // A QEMU that hangs, or cannot be reaped, may still answer later; a newer record then counts.
        this.#report(err)
        await clock.sleep(settleRetryMs, signal)
      }
    }
  }
}
