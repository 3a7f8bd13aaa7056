/**
 * The registers that this host keeps as the arbiter of other hosts' VMs, one durable file each. What an answer rests on is
 * on the device before the answer leaves (register.ts).
 *
 * The arbiter's memory has a life: an identity made with the folder. Whoever opens a configuration names the life that it
 * was told of, so an arbiter that came back with an empty folder is not made to remember by a message that comes late. A
 * register that cannot be read is a lost memory too, and ends the life of all.
 */
import { join } from 'node:path'
import Value from 'typebox/value'
import { HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type Files } from '../../base/files.ts'
import type { VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Random } from '../../base/random.ts'
import {
  RegisterRecord,
  type ProtectionConfig,
  type ProtectionSide,
  type RegisterAnswer,
} from '../../contracts/protection.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import { claimed, looked, opened, superseded, type Decided } from '../../contracts/protection-register.ts'

export interface ArbiterPorts {
  readonly files: Files
  readonly random: Random
  readonly log: Logger
}

export class Arbiter {
  readonly #ports: ArbiterPorts
  readonly #folder: string
  /** One decision at a time: each sees what the one before has made durable. */
  readonly #queue = new SerialQueue()
  readonly #registers: Map<VmId, RegisterRecord>
  readonly life: string

  private constructor(ports: ArbiterPorts, folder: string, life: string, registers: Map<VmId, RegisterRecord>) {
    this.#ports = ports
    this.#folder = folder
    this.life = life
    this.#registers = registers
  }

  /** Reads what this host remembers below `folder`; begins a new life where it remembers nothing, or not all. */
  static async open(ports: ArbiterPorts, folder: string): Promise<Arbiter> {
    const { files, random, log } = ports
    await files.makeDirectory(folder, { mode: 0o700 })
    const registers = new Map<VmId, RegisterRecord>()
    let isWhole = true
    for (const name of await files.list(folder)) {
      const vm = /^(vm-[1-9][0-9]*)\.json$/.exec(name)?.[1] as VmId | undefined
      if (vm === undefined) continue
      const record = parse(await files.readText(join(folder, name)))
      if (record?.config.vm === vm) {
        registers.set(vm, record)
        continue
      }
      isWhole = false
      log.error(
        { vm, file: join(folder, name) },
        'a register is damaged: this host answers nothing about the VM any more',
      )
      await files.rename(join(folder, name), join(folder, `${name}.damaged`))
    }
    const known = await readLife(files, folder)
    const life = isWhole && known !== undefined ? known : random.uuid()
    if (life !== known) await files.replace(join(folder, 'life'), life, { mode: 0o600 })
    return new Arbiter(ports, folder, life, registers)
  }

  /** Durable when it resolves. Throws `refused` when another life is meant, or a newer configuration is known. */
  async openConfiguration(config: ProtectionConfig, life: string): Promise<void> {
    await this.#queue.run(async () => {
      if (life !== this.life) {
        throw new HoldfastError('refused', `this arbiter has lost its memory since it was chosen for ${config.vm}`, {
          mend: 'Choose it anew, under a new number.',
        })
      }
      const held = this.#registers.get(config.vm)
      const record = opened(held, config)
      if (record === undefined) {
        throw new HoldfastError(
          'refused',
          `configuration ${config.n} of ${config.vm} is older than what is decided here`,
          {
            newest: held?.config.n ?? null,
          },
        )
      }
      if (record !== held) await this.#keep(record)
    })
  }

  claim(vm: VmId, n: number, side: ProtectionSide): Promise<RegisterAnswer> {
    return this.#decide(vm, (held) => claimed(held, n, side))
  }

  supersede(vm: VmId, n: number, next: ProtectionConfig): Promise<RegisterAnswer> {
    return this.#decide(vm, (held) => superseded(held, n, next))
  }

  /** Waits for what is being decided. */
  look(vm: VmId, n: number, side: ProtectionSide): Promise<RegisterAnswer> {
    return this.#decide(vm, (held) => ({ answer: looked(held, n, side), record: null }))
  }

  /** The newest configuration that is known here of a VM. */
  newest(vm: VmId): ProtectionConfig | undefined {
    return this.#registers.get(vm)?.config
  }

  #decide(vm: VmId, decide: (held: RegisterRecord | undefined) => Decided): Promise<RegisterAnswer> {
    return this.#queue.run(async () => {
      const { answer, record } = decide(this.#registers.get(vm))
      if (record !== null) await this.#keep(record)
      return answer
    })
  }

  /** Where it cannot be written nothing is answered, and what was known stays. */
  async #keep(record: RegisterRecord): Promise<void> {
    const { vm } = record.config
    await this.#ports.files.replace(join(this.#folder, `${vm}.json`), JSON.stringify(record), { mode: 0o600 })
    this.#registers.set(vm, record)
  }
}

function parse(text: string): RegisterRecord | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return Value.Check(RegisterRecord, value) ? value : undefined
  } catch {
    return undefined
  }
}

async function readLife(files: Files, folder: string): Promise<string | undefined> {
  try {
    return await files.readText(join(folder, 'life'))
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return undefined
    throw thrown
  }
}
