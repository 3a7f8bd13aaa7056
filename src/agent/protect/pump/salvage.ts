/**
 * After a pump that died before it had decided. Nothing is held in step any more; it only has to be found out who may go on.
 *
 * - The primary never was bound: its guest runs on, once what the dead pump has left in QEMU is taken out. Bound: it asks
 *   the arbiter for the VM, and its guest's output goes nowhere until there is an answer.
 * - The second's copy cannot be trusted any more: it may have been in the middle of an epoch. Its QEMU ends, and it gives the
 *   VM to the primary. Where it had won before, the VM is to be started from its disks.
 */
import { describeError } from '../../../base/errors.ts'
import type { Clock } from '../../../base/clock.ts'
import type { Logger } from '../../../base/log.ts'
import type { Processes } from '../../../base/processes.ts'
import {
  noFigures,
  type ArbiterApi,
  type ProtectionConfig,
  type ProtectionObservation,
  type ProtectionSide,
  type RegisterAnswer,
} from '../../../contracts/protection.ts'
import { removeGates } from '../../../hypervisor/checkpoint/output-gate.ts'
import { stopJournals } from '../../../hypervisor/checkpoint/write-journal.ts'
import { abandonLeftCopies } from '../../../hypervisor/disk-copies.ts'
import type { Qmp } from '../../../hypervisor/qmp.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import { isFinal, type MemoryPhase, type PumpMemory } from '../pumps.ts'
import type { PumpMemoryFile } from './memory-file.ts'
import type { SalvageOrder } from './order-file.ts'

export interface SalvageDeps {
  readonly clock: Clock
  readonly log: Logger
  readonly processes: Processes
  readonly memory: PumpMemoryFile
  arbiter(config: ProtectionConfig): ArbiterApi
  /** Of a second that has won: its images get what its journal still has. */
  replay(): Promise<void>
}

const askAgainMs = 300

export class Salvage {
  readonly #deps: SalvageDeps
  readonly #order: SalvageOrder
  readonly #record: MachineRecord | undefined
  readonly #qmp: Qmp | undefined
  #memory: PumpMemory

  /** `qmp`: undefined when QEMU is gone. */
  constructor(
    deps: SalvageDeps,
    order: SalvageOrder,
    memory: PumpMemory,
    machine: { readonly record: MachineRecord | undefined; readonly qmp: Qmp | undefined },
  ) {
    this.#deps = deps
    this.#order = order
    this.#memory = memory
    this.#record = machine.record
    this.#qmp = machine.qmp
  }

  get status(): ProtectionObservation {
    const { side, config } = this.#memory
    const phase = side === 'primary' ? 'claiming' : 'candidate'
    return { side, n: config.n, phase, ...noFigures, problem: 'its pump has died; the arbiter is asked who may go on' }
  }

  async run(): Promise<MemoryPhase> {
    if (isFinal(this.#memory.phase)) return this.#memory.phase
    return this.#memory.side === 'primary' ? await this.#primary() : await this.#second()
  }

  async #primary(): Promise<MemoryPhase> {
    if (this.#memory.phase === 'syncing') return await this.#alone()
    const answer = await this.#ask('arbiterClaim', 'primary', ['won', 'lost'])
    return answer === 'won' ? await this.#alone() : await this.#end('lost')
  }

  async #alone(): Promise<MemoryPhase> {
    await this.#remember('alone', 'its pump has died')
    const qmp = this.#qmp
    if (qmp === undefined) return 'alone'
    await abandonLeftCopies(qmp, this.#deps.clock)
    await removeGates(qmp, this.#record?.config.nics ?? [])
    await stopJournals(
      qmp,
      this.#deps.clock,
      this.#order.copies.map(({ key }) => key),
    )
    const { status } = await qmp.execute<{ status: string }>('query-status')
    // It died while the guest stood still for an epoch; who wants it paused says so again.
    if (status === 'paused') await qmp.execute('cont')
    return 'alone'
  }

  /**
   * It gives the VM to the primary, durably: an earlier claim of this side's that is still on its way then comes too late. Only
   * where this side had won before is it the one.
   */
  async #second(): Promise<MemoryPhase> {
    await this.#kill()
    if (this.#memory.phase !== 'bound') return await this.#end('dropped')
    await this.#ask('arbiterClaim', 'primary', ['won', 'lost', 'unknown'])
    // To a question about an older number than the newest, both sides have lost.
    const own = await this.#ask('arbiterLook', 'second', ['won', 'lost', 'open', 'unknown'])
    if (own !== 'won') return await this.#end('dropped')
    await this.#deps.replay()
    return await this.#end('running')
  }

  async #end(phase: 'lost' | 'running' | 'dropped'): Promise<MemoryPhase> {
    await this.#kill()
    await this.#remember(phase, 'its pump has died')
    return phase
  }

  async #kill(): Promise<void> {
    const id = this.#record?.process
    if (id === undefined) return
    await this.#deps.processes.signal(id, 'SIGKILL')
    await this.#deps.processes.waitGone(id)
  }

  /** Asks for a side until one of these is the answer. A configuration that another has taken the place of is asked about there. */
  async #ask(
    how: 'arbiterClaim' | 'arbiterLook',
    side: ProtectionSide,
    wanted: readonly RegisterAnswer['is'][],
  ): Promise<RegisterAnswer['is']> {
    const { clock, log } = this.#deps
    for (;;) {
      const { config } = this.#memory
      try {
        const answer = await this.#deps.arbiter(config)[how]({ vm: config.vm, n: config.n, side })
        if (answer.is === 'superseded') {
          this.#memory = { ...this.#memory, config: answer.next, lastN: Math.max(this.#memory.lastN, answer.next.n) }
          await this.#deps.memory.write(this.#memory)
          continue
        }
        if (wanted.includes(answer.is)) return answer.is
        log.warn({ answer: answer.is }, 'the arbiter does not know who may go on')
      } catch (err) {
        log.warn({ err: describeError(err) }, 'the arbiter could not be asked')
      }
      await clock.sleep(askAgainMs)
    }
  }

  async #remember(phase: MemoryPhase, reason: string): Promise<void> {
    this.#memory = { ...this.#memory, phase, reason }
    await this.#deps.memory.write(this.#memory)
  }
}
