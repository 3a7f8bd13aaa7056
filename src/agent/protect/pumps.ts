/**
 * The pumps of this host: the detached processes, one for each VM and side, that hold a VM in step (pump/). They outlive the
 * agent. What one decides it makes durable before it acts, so its memory (`protection.json`) says how it stands also when
 * its process is gone:
 *
 *   primary:  syncing ──▶ bound ──▶ alone | lost          second:  candidate ──▶ bound ──▶ running | dropped
 *
 * `alone`, `lost`, `running` and `dropped` are final: the pump has done all that follows from it (the guest runs unheld; its
 * QEMU is killed; it runs here; the copy is given up) and has ended. A pump that is gone before that is to be followed by
 * another (`salvage`), which holds nothing and only finds out who may go on.
 */
import type { ChangeArbiterRequest } from '../../contracts/agent-api.ts'
import type { ArbiterAddress, CopyDisk, ProtectionConfig, ProtectionSettings } from '../../contracts/protection.ts'
import type { ProtectionObservation, ProtectionSide, SecondEndpoint } from '../../contracts/protection.ts'
import type { VmId } from '../../base/ids.ts'

export const memoryPhases = ['syncing', 'candidate', 'bound', 'alone', 'lost', 'running', 'dropped'] as const
export type MemoryPhase = (typeof memoryPhases)[number]

/** DATA/vms/vm-42/protection.json: written by the pump alone, durably. */
export interface PumpMemory {
  readonly v: 1
  readonly side: ProtectionSide
  readonly phase: MemoryPhase
  /** The newest configuration that this side is bound by. */
  readonly config: ProtectionConfig
  /** Of the configuration with which the pair began; a later one says itself where its arbiter is asked. */
  readonly arbiter: ArbiterAddress
  /** The highest number that was ever used for a configuration of this VM. */
  readonly lastN: number
  /** Why it ended, in words; null while it has not, or where it was asked to. */
  readonly reason: string | null
}

export function isFinal(phase: MemoryPhase): boolean {
  return phase === 'alone' || phase === 'lost' || phase === 'running' || phase === 'dropped'
}

/** Another is to decide: from which number on, and whether the one before can be asked to step back. */
export type ArbiterChange = Pick<ChangeArbiterRequest, 'next' | 'arbiter' | 'old'>

/** What both sides' pumps are told. */
export interface PumpOrder {
  readonly vm: VmId
  readonly config: ProtectionConfig
  readonly arbiter: ArbiterAddress
  readonly copies: readonly CopyDisk[]
  readonly settings: ProtectionSettings
  /** Folder of the VM's QEMU, as the hypervisor was given it. */
  readonly runDirectory: string
}

export interface PrimaryOrder extends PumpOrder {
  readonly second: SecondEndpoint
}

export interface SecondOrder extends PumpOrder {
  readonly primaryTlsName: string
  /** Disk key → NBD export, where QEMU already listens for the first copy of disks. */
  readonly nbd: SecondEndpoint['nbd']
  readonly exports: SecondEndpoint['exports']
}

/** A pump that runs. Calls throw `unreachable` when its process ends meanwhile: look at the memory then. */
export interface Pump extends AsyncDisposable {
  readonly side: ProtectionSide
  /** As it last said. */
  readonly status: ProtectionObservation
  /** Calls back when its phase or progress changes, at most ten times a second. */
  onChange(listener: (status: ProtectionObservation) => void): Disposable
  /** Primary: wins its configuration and lets the VM go on alone; resolves when it has. Throws `unreachable` without an arbiter. */
  end(): Promise<void>
  /** Primary: the second takes over; resolves when it has been told to, and has everything. */
  handOver(): Promise<void>
  /** Primary: the guest stands still, and is held in step as such, until it is told otherwise. */
  setPaused(isPaused: boolean): Promise<void>
  /**
   * Primary: another decides from now on; resolves when it does, the same again at once. Throws `wrong-state` where nothing
   * has changed, and the number is used up; `timeout` while it is not known.
   */
  changeArbiter(change: ArbiterChange): Promise<void>
  /** Second: gives the copy up. Throws `wrong-state` when it asks an arbiter that may say yes, or runs. */
  drop(): Promise<void>
  /** Resolves when the process has ended, for whatever reason. */
  readonly gone: Promise<void>
  /** Lets go of it; it runs on. */
  [Symbol.asyncDispose](): Promise<void>
}

export interface Pumps {
  /** Rejects when it cannot begin: nothing was changed then. Its `status` says when it protects. */
  startPrimary(order: PrimaryOrder): Promise<Pump>
  /** Resolves when it listens. */
  startSecond(order: SecondOrder): Promise<{ pump: Pump; endpoint: SecondEndpoint }>
  /**
   * Finds a pump that runs, also one that is only being started; undefined when there is none. Where neither a pump nor a
   * memory of the pair is found, it is taken for one that never began.
   */
  adopt(vm: VmId): Promise<Pump | undefined>
  /** Follows a pump that ended before it had decided. */
  salvage(vm: VmId): Promise<Pump>
  /** What the last pump of the VM made durable; undefined when there was none, or it was forgotten. */
  memory(vm: VmId): Promise<PumpMemory | undefined>
  /** Of a final memory, once the run record says so too; of a candidate's whose pump is gone; where there is none, nothing. */
  forget(vm: VmId): Promise<void>
}
