/**
 * The pumps of one simulated host: what the agent sees of them, and what they do to the guests, without pages and sockets.
 * They outlive the agent; what they have made durable outlives them. The protocol between the two sides is searched
 * elsewhere (sim/protection); here both look straight at one another, and arbiters answer at once.
 */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { HostId, VmId } from '../base/ids.ts'
import { claimed, looked, opened, superseded } from '../contracts/protection-register.ts'
import type {
  ArbiterId,
  ProtectionConfig,
  ProtectionSide,
  RegisterAnswer,
  RegisterRecord,
  SecondEndpoint,
} from '../contracts/protection.ts'
import {
  isFinal,
  type PrimaryOrder,
  type Pump,
  type PumpMemory,
  type Pumps,
  type SecondOrder,
} from '../agent/protect/pumps.ts'
import type { FakeGuest } from './fake-guest.ts'
import type { FakeHypervisor } from './fake-hypervisor.ts'
import { FakePump } from './fake-pump.ts'
import type { FakeWire } from './fake-wire.ts'

/** What joins the pumps of all hosts: their arbiters, and each other. */
export class FakePairs {
  readonly hosts = new Map<HostId, FakePumps>()
  /** Of each arbiter, for each VM. */
  readonly #registers = new Map<string, RegisterRecord>()
  isArbiterReachable = true
  /** Arbiters that are gone for good. */
  readonly gone = new Set<ArbiterId>()

  /** Undefined while it cannot be reached. */
  ask(ask: 'claim' | 'look', config: ProtectionConfig, side: ProtectionSide): RegisterAnswer | undefined {
    if (!this.#isReachable(config)) return undefined
    const held = this.#registers.get(keyOf(config))
    if (ask === 'look') return looked(held, config.n, side)
    const { answer, record } = claimed(held, config.n, side)
    if (record !== null) this.#registers.set(keyOf(config), record)
    return answer
  }

  open(config: ProtectionConfig): boolean {
    const record = opened(this.#registers.get(keyOf(config)), config)
    if (record === undefined || !this.#isReachable(config)) return false
    this.#registers.set(keyOf(config), record)
    return true
  }

  /** Undefined while it cannot be reached. */
  supersede(config: ProtectionConfig, next: ProtectionConfig): RegisterAnswer | undefined {
    if (!this.#isReachable(config)) return undefined
    const { answer, record } = superseded(this.#registers.get(keyOf(config)), config.n, next)
    if (record !== null) this.#registers.set(keyOf(config), record)
    return answer
  }

  #isReachable({ arbiter }: ProtectionConfig): boolean {
    return this.isArbiterReachable && !this.gone.has(arbiter)
  }
}

function keyOf({ arbiter, vm }: ProtectionConfig): string {
  return `${arbiter}/${vm}`
}

export interface FakePumpsOptions {
  readonly host: HostId
  readonly clock: Clock
  readonly wire: FakeWire<FakeGuest>
  readonly hypervisor: FakeHypervisor
  readonly pairs: FakePairs
}

export class FakePumps implements Pumps {
  readonly options: FakePumpsOptions
  readonly #memories = new Map<VmId, PumpMemory>()
  readonly #running = new Map<VmId, FakePump>()
  /** The next start fails with these words. */
  failNextStart: string | undefined
  /** How long the first copy takes. */
  syncMs = 1000
  salvages = 0

  constructor(options: FakePumpsOptions) {
    this.options = options
    options.pairs.hosts.set(options.host, this)
  }

  async startPrimary(order: PrimaryOrder): Promise<Pump> {
    return this.#start(order, 'primary', 'syncing')
  }

  async startSecond(order: SecondOrder): Promise<{ pump: Pump; endpoint: SecondEndpoint }> {
    const pump = await this.#start(order, 'second', 'candidate')
    const { host } = this.options
    const endpoint: SecondEndpoint = {
      data: { host, port: 1 },
      beats: { host, port: 2 },
      tlsName: `${host}.holdfast`,
      nbd: order.nbd,
      exports: order.exports,
    }
    return { pump, endpoint }
  }

  async adopt(vm: VmId): Promise<Pump | undefined> {
    await this.options.clock.sleep(1)
    return this.process(vm)
  }

  async salvage(vm: VmId): Promise<Pump> {
    await this.options.clock.sleep(5)
    this.#mayFail()
    if (this.process(vm) !== undefined) throw new HoldfastError('wrong-state', 'a pump is at work already')
    const memory = this.#memories.get(vm)
    if (memory === undefined || isFinal(memory.phase))
      throw new HoldfastError('wrong-state', 'there is nothing to salvage')
    this.salvages++
    return this.#run(new FakePump(this, memory, true))
  }

  async memory(vm: VmId): Promise<PumpMemory | undefined> {
    return this.#memories.get(vm)
  }

  async forget(vm: VmId): Promise<void> {
    if (this.process(vm) !== undefined) throw new HoldfastError('wrong-state', 'its pump is at work')
    this.#memories.delete(vm)
  }

  /** The process of a VM on this host; undefined when there is none. */
  process(vm: VmId): FakePump | undefined {
    const pump = this.#running.get(vm)
    return pump?.isAlive === true ? pump : undefined
  }

  /** What its process makes durable. */
  remember(memory: PumpMemory): void {
    this.#memories.set(memory.config.vm, memory)
  }

  /** Every process ends at once, as its host does. */
  crash(): void {
    for (const pump of this.#running.values()) pump.kill()
  }

  async #start(
    order: PrimaryOrder | SecondOrder,
    side: ProtectionSide,
    phase: 'syncing' | 'candidate',
  ): Promise<FakePump> {
    await this.options.clock.sleep(5)
    this.#mayFail()
    const { vm, config, arbiter } = order
    if (this.process(vm) !== undefined) throw new HoldfastError('wrong-state', 'a pump is at work already')
    const memory: PumpMemory = { v: 1, side, phase, config, arbiter, lastN: config.n, reason: null }
    this.remember(memory)
    return this.#run(new FakePump(this, memory, false))
  }

  #run(pump: FakePump): FakePump {
    this.#running.set(pump.vm, pump)
    pump.begin()
    return pump
  }

  #mayFail(): void {
    const words = this.failNextStart
    this.failNextStart = undefined
    if (words !== undefined) throw new HoldfastError('host-error', words)
  }
}
