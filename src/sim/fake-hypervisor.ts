/**
 * The hypervisor of one simulated host: the same interface as the real one, over processes that live in memory. What it
 * holds outlives the agent; `crash` is the end of the host.
 */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type {
  Hypervisor,
  HypervisorFacts,
  IncomingEndpoint,
  IncomingOptions,
  Machine,
  MachineConfig,
  MachineEvent,
  MachineState,
  OutgoingOptions,
  OutgoingResult,
} from '../hypervisor/hypervisor.ts'
import { FakeGuest, type FakeGuestHabits } from './fake-guest.ts'
import type { FakeWire } from './fake-wire.ts'

export interface FakeHypervisorOptions {
  /** Its address on the wire; what agents listen on. */
  readonly host: string
  readonly clock: Clock
  readonly wire: FakeWire<FakeGuest>
  readonly facts?: Partial<HypervisorFacts>
  readonly habits?: Partial<FakeGuestHabits>
  /** From the call until QEMU stands. */
  readonly startMs?: number
  /** What names the file at a path; rejects when there is none. Absent: disks are not looked at. */
  readonly openDisk?: (path: string) => Promise<string>
  /** Whether another QEMU has the lock of this file, as file systems keep it: also while that one stands still. */
  readonly isLocked?: (name: string) => boolean
}

const defaultHabits: FakeGuestHabits = { transferMs: 200, neverConverges: false, obeysPowerButton: true }

export class FakeHypervisor implements Hypervisor {
  readonly #options: FakeHypervisorOptions
  readonly #guests = new Map<string, FakeGuest>()
  #nextPid = 1000
  /** The next start fails with these words. */
  failNextStart: string | undefined
  habits: FakeGuestHabits

  constructor(options: FakeHypervisorOptions) {
    this.#options = options
    this.habits = { ...defaultHabits, ...options.habits }
  }

  /** Its address on the wire. */
  get host(): string {
    return this.#options.host
  }

  /** The process of a VM on this host, for faults; undefined when there is none. */
  guest(name: string): FakeGuest | undefined {
    const guest = this.#guests.get(name)
    return guest?.isAlive === true ? guest : undefined
  }

  /** Whether a QEMU here has the lock of a file: one that has sent its guest, or waits for one, does not. */
  holdsLock(name: string): boolean {
    const holds = (guest: FakeGuest): boolean => !['incoming', 'incoming-complete', 'sent'].includes(guest.state)
    return this.alive().some((guest) => holds(guest) && [...guest.disks.values()].includes(name))
  }

  /** Every process on this host. */
  alive(): FakeGuest[] {
    return [...this.#guests.values()].filter((guest) => guest.isAlive)
  }

  /** Every process on this host ends at once. */
  crash(): void {
    for (const guest of this.#guests.values()) guest.kill()
    this.#guests.clear()
  }

  async facts(): Promise<HypervisorFacts> {
    return {
      version: '10.0.2',
      machineTypes: ['pc-i440fx-7.2', 'pc-q35-7.2', 'pc-i440fx-10.0', 'pc-q35-10.0'],
      cpuModels: ['qemu64', 'Nehalem', 'Haswell'],
      accelerator: { kind: 'tcg', reason: 'simulated' },
      ...this.#options.facts,
    }
  }

  async start(config: MachineConfig, mode: 'prelaunch' | 'incoming'): Promise<Machine> {
    await this.#options.clock.sleep(this.#options.startMs ?? 20)
    if (this.failNextStart !== undefined) {
      const words = this.failNextStart
      this.failNextStart = undefined
      throw new HoldfastError('hypervisor-error', words)
    }
    if (this.guest(config.name) !== undefined) {
      throw new HoldfastError('hypervisor-error', `a QEMU named ${config.name} is already there`)
    }
    const disks = await this.#openDisks(config)
    // One that waits for a stream takes its locks when it begins to run.
    const locked = mode === 'prelaunch' ? [...disks.values()].find((name) => this.#options.isLocked?.(name)) : undefined
    if (locked !== undefined) throw new HoldfastError('hypervisor-error', `QEMU does not get the lock of ${locked}`)
    const { host, clock, wire } = this.#options
    const guest = new FakeGuest({ host, clock, wire, disks, habits: this.habits, pid: this.#nextPid++ }, config, mode)
    this.#guests.set(config.name, guest)
    return new FakeMachine(guest, this.#options)
  }

  async #openDisks(config: MachineConfig): Promise<Map<number, string>> {
    const disks = new Map<number, string>()
    const { openDisk } = this.#options
    if (openDisk === undefined) return disks
    for (const { key, path } of config.disks) {
      const name = await openDisk(path).catch((cause: unknown) => {
        throw new HoldfastError('hypervisor-error', `QEMU cannot open ${path}`, {}, { cause })
      })
      disks.set(key, name)
    }
    return disks
  }

  async adopt(name: string, runDirectory: string): Promise<Machine | undefined> {
    const guest = this.guest(name)
    return guest?.config.runDirectory === runDirectory ? new FakeMachine(guest, this.#options) : undefined
  }
}

class FakeMachine implements Machine {
  readonly name: string
  readonly pid: number
  readonly serialSocket: string
  readonly vncSocket: string
  readonly guestAgentSocket: string
  readonly #guest: FakeGuest
  readonly #options: FakeHypervisorOptions
  /** What asked to hear → what hears. */
  readonly #mine = new Map<(event: MachineEvent) => void, (event: MachineEvent) => void>()
  #isHeld = false

  constructor(guest: FakeGuest, options: FakeHypervisorOptions) {
    this.#guest = guest
    this.#options = options
    this.name = guest.config.name
    this.pid = guest.pid
    this.serialSocket = `${guest.config.runDirectory}/serial.sock`
    this.vncSocket = `${guest.config.runDirectory}/vnc.sock`
    this.guestAgentSocket = `${guest.config.runDirectory}/agent.sock`
  }

  async state(): Promise<MachineState> {
    return this.#guest.state
  }

  onEvent(listener: (event: MachineEvent) => void): Disposable {
    const hear = (event: MachineEvent): void => {
      const isPumps = event.kind === 'state' && (event.state === 'running' || event.state === 'paused')
      if (!this.#isHeld || !isPumps) listener(event)
    }
    this.#mine.set(listener, hear)
    this.#guest.listeners.add(hear)
    return { [Symbol.dispose]: () => this.#forget(listener) }
  }

  async resume(): Promise<void> {
    this.#guest.resume()
  }

  async pause(): Promise<void> {
    this.#guest.pause()
  }

  async reset(): Promise<void> {
    this.#guest.reset()
  }

  async powerButton(): Promise<void> {
    this.#guest.pressPowerButton()
  }

  async nonMaskableInterrupt(): Promise<void> {
    await this.state()
  }

  async quit(): Promise<void> {
    this.#guest.kill()
  }

  async listen(options: IncomingOptions): Promise<IncomingEndpoint> {
    const port = this.#guest.listen(options)
    const exports = options.nbdDisks.map((key) => ({ key, name: `disk-${key}` }))
    return { port, nbdPort: exports.length === 0 ? null : port + 10_000, exports }
  }

  async receiveCopies(options: {
    disks: readonly number[]
  }): Promise<{ port: number; exports: { key: number; name: string }[] } | null> {
    if (this.#guest.state !== 'incoming')
      throw new HoldfastError('hypervisor-error', 'no copies come to a running guest')
    if (options.disks.length === 0) return null
    return { port: 20_000 + this.pid, exports: options.disks.map((key) => ({ key, name: `disk-${key}` })) }
  }

  async setHeld(isHeld: boolean): Promise<void> {
    if (!this.#guest.isAlive) throw new HoldfastError('unreachable', 'QEMU is gone')
    this.#isHeld = isHeld
  }

  async migrateOut(options: OutgoingOptions, signal: AbortSignal): Promise<OutgoingResult> {
    return this.#guest.migrateOut(options, signal)
  }

  settleOutgoing(): Promise<OutgoingResult> {
    return this.#guest.settleOutgoing()
  }

  async moveDisk(
    key: number,
    to: { path: string; format: 'qcow2' | 'raw' },
    onProgress: (done: number, total: number) => void,
    signal: AbortSignal,
    beforeSwitch?: () => Promise<void>,
  ): Promise<void> {
    signal.throwIfAborted()
    onProgress(1, 1)
    const { openDisk } = this.#options
    const name = openDisk === undefined ? undefined : await openDisk(to.path)
    await this.#guest.moveDisk(key, name, async () => {
      this.#guest.movedTo.set(key, to.path)
      await beforeSwitch?.()
    })
  }

  async settleDiskMove(key: number): Promise<string> {
    const { movedTo, config } = this.#guest
    return movedTo.get(key) ?? config.disks.find((disk) => disk.key === key)?.path ?? ''
  }

  async announce(): Promise<void> {
    await this.state()
  }

  async changeCdrom(): Promise<void> {
    await this.state()
  }

  async screenshot(): Promise<Uint8Array> {
    return new Uint8Array([0x89, 0x50, 0x4e, 0x47])
  }

  async serialTail(mostBytes: number): Promise<Uint8Array> {
    return Buffer.from(this.#guest.vitals.lastWords).subarray(-mostBytes)
  }

  async diskOperations(): Promise<number> {
    return this.#guest.operations()
  }

  async usage(): Promise<{ cpuSeconds: number; rssMiB: number }> {
    return { cpuSeconds: 1, rssMiB: this.#guest.config.memoryMiB }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const listener of this.#mine.keys()) this.#forget(listener)
  }

  #forget(listener: (event: MachineEvent) => void): void {
    const hear = this.#mine.get(listener)
    this.#mine.delete(listener)
    if (hear !== undefined) this.#guest.listeners.delete(hear)
  }
}
