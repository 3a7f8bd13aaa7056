/**
 * One QEMU process, by its control socket. The process outlives this object and this program: whoever comes later adopts
 * it by its run folder. Everything that is known of the guest is asked from QEMU; only `incoming.json` says what QEMU
 * cannot (incoming.ts).
 */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { Logger } from '../base/log.ts'
import type { Network } from '../base/network.ts'
import type { Processes } from '../base/processes.ts'
import type { Random } from '../base/random.ts'
import { diskOperations } from './block-stats.ts'
import { changeMedium } from './cdrom.ts'
import { moveDisk } from './disk-move.ts'
import { settleDiskMove } from './disk-move-settle.ts'
import type {
  IncomingEndpoint,
  IncomingOptions,
  Machine,
  MachineEvent,
  MachineState,
  OutgoingOptions,
  OutgoingResult,
} from './hypervisor.ts'
import { letGo, listenForMigration, mayLetGo, receiveCopies, runsByItself, stopNbd } from './incoming.ts'
import { machineEvent, mayChangeState } from './machine-events.ts'
import { machineState, type MigrateStatus } from './machine-state.ts'
import { migrateOut } from './outgoing.ts'
import { settleOutgoing } from './outgoing-end.ts'
import type { QemuFeatures } from './qemu-version.ts'
import type { Qmp, QmpEvent } from './qmp.ts'
import { readRecord, runPaths, type IncomingRecord, type MachineRecord, type RunPaths } from './run-directory.ts'
import { processUsage } from './process-usage.ts'
import { screenshot } from './screenshot.ts'
import { keepSerialLogShort, serialTail } from './serial-log.ts'

export interface MachineDeps {
  readonly clock: Clock
  readonly processes: Processes
  readonly files: Files
  readonly network: Network
  readonly random: Random
  readonly log: Logger
}

const politeMs = 3000
const killedMs = 15_000
const dyingMs = 1000

export class QemuMachine implements Machine {
  readonly name: string
  readonly pid: number
  readonly serialSocket: string
  readonly vncSocket: string
  readonly guestAgentSocket: string
  readonly #deps: MachineDeps
  readonly #record: MachineRecord
  readonly #paths: RunPaths
  readonly #qmp: Qmp
  readonly #features: QemuFeatures
  readonly #listeners = new Set<(event: MachineEvent) => void>()
  readonly #resources = new DisposableStack()
  #incoming: IncomingRecord | undefined
  #told: MachineState | undefined
  /** Events are worked off one after the other, so that `state` events come in order. */
  #queue: Promise<void> = Promise.resolve()
  #isLetGo = false
  #isHeld = false

  private constructor(deps: MachineDeps, record: MachineRecord, qmp: Qmp, features: QemuFeatures) {
    this.#deps = { ...deps, log: deps.log.child({ machine: record.config.name }) }
    this.#record = record
    this.#qmp = qmp
    this.#features = features
    this.#paths = runPaths(record.config.runDirectory)
    this.name = record.config.name
    this.pid = record.process.pid
    this.serialSocket = this.#paths.serial
    this.vncSocket = this.#paths.vnc
    this.guestAgentSocket = this.#paths.guestAgent
  }

  /** Takes up a process whose control connection is open; goes on with an arrival that its last owner left undone. */
  static async open(deps: MachineDeps, record: MachineRecord, qmp: Qmp, features: QemuFeatures): Promise<QemuMachine> {
    const machine = new QemuMachine(deps, record, qmp, features)
    machine.#incoming = await readRecord<IncomingRecord>(deps.files, machine.#paths.incoming)
    machine.#resources.use(
      qmp.onEvent((event) => {
        // QEMU says so before the first vCPU goes; it may be dead by the time that anything can be asked of it.
        if (machine.#isHeld && (event.event === 'RESUME' || event.event === 'STOP')) return
        if (event.event === 'RESUME') machine.#tell({ kind: 'ran' })
        machine.#enqueue(() => machine.#take(event))
      }),
    )
    machine.#resources.use(keepSerialLogShort(deps, machine.#paths.serialLog))
    qmp.closed.then(
      () => {
        if (!qmp.heardAll) machine.#tell({ kind: 'ran' })
        machine.#enqueue(() => machine.#lost())
      },
      () => undefined,
    )
    if (machine.#incoming !== undefined) await machine.#arrive()
    return machine
  }

  async state(): Promise<MachineState> {
    if (!(await this.#deps.processes.isAlive(this.#record.process))) {
      // What it said before it ended is read first: that it ran may be among it.
      await this.#closedWithin(dyingMs)
      return 'gone'
    }
    try {
      return await this.#askState()
    } catch (thrown) {
      // It may have ended while it was asked; the connection goes a moment before the process.
      if (!this.#qmp.isOpen && !this.#isLetGo && (await this.#goneWithin(dyingMs))) return 'gone'
      throw thrown
    }
  }

  async #askState(): Promise<MachineState> {
    const { status } = await this.#qmp.execute<{ status: string }>('query-status')
    const migrate = await this.#qmp.execute<MigrateStatus>('query-migrate')
    return machineState({ status, migration: migrate.status ?? 'none', isArriving: this.#incoming !== undefined })
  }

  onEvent(listener: (event: MachineEvent) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  /** On a guest that still arrives: it runs as soon as its whole state is here. */
  async resume(): Promise<void> {
    const incoming = this.#incoming
    if (incoming === undefined) {
      await this.#qmp.execute('cont')
      return
    }
    const state = await this.state()
    if (state === 'incoming') {
      // From now on as if it had been told `complete` and nothing else.
      await this.#remember({ options: { ...incoming.options, then: 'complete', isGuestPaused: false } })
      await this.#arrive()
      return
    }
    if (state !== 'incoming-complete') throw new HoldfastError('wrong-state', `the incoming guest is ${state}`)
    await letGo(this.#qmp, incoming.options)
    await this.#forgetIncoming()
  }

  async pause(): Promise<void> {
    const incoming = this.#incoming
    if (incoming !== undefined) await this.#remember({ options: { ...incoming.options, isGuestPaused: true } })
    await this.#qmp.execute('stop')
    if (incoming !== undefined) await this.#arrive()
  }

  async reset(): Promise<void> {
    await this.#qmp.execute('system_reset')
  }

  async powerButton(): Promise<void> {
    await this.#qmp.execute('system_powerdown')
  }

  async nonMaskableInterrupt(): Promise<void> {
    await this.#qmp.execute('inject-nmi')
  }

  async quit(): Promise<void> {
    const { processes, clock } = this.#deps
    const id = this.#record.process
    const isPolite = await this.#qmp.execute('quit', undefined, { timeoutMs: politeMs }).then(
      () => true,
      () => false,
    )
    if (isPolite && (await this.#goneWithin(politeMs))) return
    await processes.signal(id, 'SIGKILL')
    if (await this.#goneWithin(killedMs)) return
    throw new HoldfastError('timeout', `QEMU process ${id.pid} cannot be ended: it is stuck in the kernel`, {
      pid: id.pid,
      waitedMs: killedMs,
      at: clock.monotonic(),
      mend: 'Its storage does not answer. Bring the storage back, or reset the host.',
    })
  }

  async #goneWithin(ms: number): Promise<boolean> {
    const controller = new AbortController()
    using _ = this.#deps.clock.timer(ms, () => controller.abort(new Error('still there')))
    return await this.#deps.processes.waitGone(this.#record.process, controller.signal).then(
      () => true,
      () => false,
    )
  }

  async #closedWithin(ms: number): Promise<void> {
    const stop = new AbortController()
    await Promise.race([this.#qmp.closed, this.#deps.clock.sleep(ms, stop.signal).catch(() => undefined)])
    stop.abort()
  }

  async listen(options: IncomingOptions): Promise<IncomingEndpoint> {
    const state = await this.state()
    if (state !== 'incoming' || this.#incoming !== undefined)
      throw new HoldfastError('wrong-state', `the machine cannot listen: it is ${state}`)
    // Before QEMU listens: a guest that arrives while nobody watches is found to have arrived.
    await this.#remember({ options })
    const { random } = this.#deps
    return await listenForMigration(
      { qmp: this.#qmp, features: this.#features, random, tlsDirectory: this.#record.config.tlsDirectory },
      options,
    )
  }

  async receiveCopies(
    options: Parameters<Machine['receiveCopies']>[0],
  ): Promise<{ port: number; exports: readonly { key: number; name: string }[] } | null> {
    const { random } = this.#deps
    const { tlsDirectory } = this.#record.config
    return await receiveCopies({ qmp: this.#qmp, features: this.#features, random, tlsDirectory }, options)
  }

  async setHeld(isHeld: boolean): Promise<void> {
    if (this.#isHeld === isHeld) return
    this.#isHeld = isHeld
    if (isHeld) return
    this.#enqueue(() => this.#tellState())
    await this.#queue
  }

  async migrateOut(options: OutgoingOptions, signal: AbortSignal): Promise<OutgoingResult> {
    const { clock, processes } = this.#deps
    return await migrateOut(
      { qmp: this.#qmp, features: this.#features, clock, processes, tlsDirectory: this.#record.config.tlsDirectory },
      options,
      signal,
    )
  }

  async settleOutgoing(): Promise<OutgoingResult> {
    return await settleOutgoing(this.#qmp, this.#deps.clock)
  }

  async moveDisk(
    key: number,
    to: { path: string; format: 'qcow2' | 'raw' },
    onProgress: (done: number, total: number) => void,
    signal: AbortSignal,
    beforeSwitch?: () => Promise<void>,
  ): Promise<void> {
    const { clock, random } = this.#deps
    const cache = this.#record.config.disks.find((disk) => disk.key === key)?.cache ?? 'writeback'
    await moveDisk(
      { qmp: this.#qmp, features: this.#features, clock, random },
      { key, to: { ...to, cache }, onProgress, beforeSwitch: beforeSwitch ?? null },
      signal,
    )
  }

  async settleDiskMove(key: number): Promise<string> {
    return await settleDiskMove(this.#qmp, this.#deps.clock, key)
  }

  async announce(): Promise<void> {
    await this.#qmp.execute('announce-self', { initial: 20, max: 500, rounds: 5, step: 100 })
  }

  async changeCdrom(key: number, image: { path: string; format: 'raw' | 'qcow2' } | null): Promise<void> {
    await changeMedium(this.#qmp, this.#deps.random, key, image)
  }

  async screenshot(): Promise<Uint8Array> {
    return await screenshot(this.#qmp, this.#deps, this.#paths.own)
  }

  async serialTail(mostBytes: number): Promise<Uint8Array> {
    return await serialTail(this.#deps.files, this.#paths.serialLog, mostBytes)
  }

  async diskOperations(): Promise<number> {
    return await diskOperations(this.#qmp)
  }

  async usage(): Promise<{ cpuSeconds: number; rssMiB: number }> {
    return await processUsage(this.#deps.files, this.#record.process.pid)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isLetGo) return
    this.#isLetGo = true
    this.#listeners.clear()
    this.#resources.dispose()
    this.#qmp.close()
    await this.#queue
  }

  #enqueue(work: () => Promise<void>): void {
    this.#queue = this.#queue.then(work).catch((err: unknown) => {
      if (!this.#isLetGo) this.#deps.log.warn({ err, pid: this.pid }, 'an event of the machine could not be followed')
    })
  }

  async #take(event: QmpEvent): Promise<void> {
    if (this.#isLetGo) return
    const known = machineEvent(event)
    if (known !== undefined) this.#tell(known)
    if (this.#incoming !== undefined && event.event === 'MIGRATION') await this.#arrive()
    if (this.#incoming !== undefined && event.event === 'RESUME') await this.#forgetIncoming()
    if (mayChangeState(event)) await this.#tellState()
  }

  /** Does what is to be done for an incoming guest as it now stands. */
  async #arrive(): Promise<void> {
    const incoming = this.#incoming
    if (incoming === undefined) return
    const { status = 'none' } = await this.#qmp.execute<MigrateStatus>('query-migrate')
    if (mayLetGo(incoming.options, status)) {
      await letGo(this.#qmp, incoming.options)
      await this.#forgetIncoming()
      return
    }
    if (status !== 'completed') return
    if (incoming.options.isGuestPaused === true) {
      await stopNbd(this.#qmp, incoming.options)
      await this.#forgetIncoming()
    } else if (runsByItself(incoming.options)) {
      const { status: run } = await this.#qmp.execute<{ status: string }>('query-status')
      if (run === 'running') await this.#forgetIncoming()
    }
  }

  async #remember(incoming: IncomingRecord): Promise<void> {
    await this.#deps.files.replace(this.#paths.incoming, JSON.stringify(incoming), { mode: 0o600 })
    this.#incoming = incoming
  }

  async #forgetIncoming(): Promise<void> {
    this.#incoming = undefined
    await this.#deps.files.remove(this.#paths.incoming)
  }

  async #tellState(): Promise<void> {
    const state = await this.state()
    if (state === this.#told || state === 'gone') return
    this.#told = state
    this.#tell({ kind: 'state', state })
  }

  /** The control connection ended: the process is gone, or about to be. */
  async #lost(): Promise<void> {
    if (this.#isLetGo) return
    await this.#deps.processes.waitGone(this.#record.process)
    this.#tell({ kind: 'state', state: 'gone' })
    this.#tell({ kind: 'gone' })
    this.#listeners.clear()
    this.#resources.dispose()
  }

  #tell(event: MachineEvent): void {
    for (const listener of [...this.#listeners]) listener(event)
  }
}
