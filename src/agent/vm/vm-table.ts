/** The keepers of all VMs that this host has to do with. */
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { VmObservation } from '../../contracts/host.ts'
import { VmKeeper } from './vm-keeper.ts'
import type { VmPorts } from './vm-ports.ts'

export class VmTable implements AsyncDisposable {
  readonly #ports: VmPorts
  readonly #keepers = new Map<VmId, Promise<VmKeeper>>()

  private constructor(ports: VmPorts) {
    this.#ports = ports
  }

  /** Looks at every VM that has a state or a folder here. One that cannot be read keeps the others from nothing. */
  static async open(ports: VmPorts): Promise<VmTable> {
    const table = new VmTable(ports)
    const known = new Set([...(await ports.states.list()), ...(await ports.places.found())])
    await Promise.all(
      [...known].map((vm) =>
        table.keeper(vm).catch((err: unknown) => ports.log.error({ vm, err }, 'the VM cannot be looked after')),
      ),
    )
    return table
  }

  /** The keeper of a VM; of one that was never here too. Opening fails anew each time until its cause is gone. */
  keeper(vm: VmId): Promise<VmKeeper> {
    const known = this.#keepers.get(vm)
    if (known !== undefined) return known
    const opening = VmKeeper.open(this.#ports, vm)
    this.#keepers.set(vm, opening)
    opening.catch(() => this.#keepers.delete(vm))
    return opening
  }

  /** The keeper of a VM that has something to do with this host. Throws `not-found`. */
  async known(vm: VmId): Promise<VmKeeper> {
    const keeper = this.#keepers.get(vm)
    if (keeper === undefined) throw new HoldfastError('not-found', `${vm} was never on this host`)
    return keeper
  }

  async observe(): Promise<VmObservation[]> {
    const keepers = await this.#opened()
    return Promise.all(keepers.map((keeper) => keeper.observe()))
  }

  /** Every VM's record is read anew: the store has begun a new life. */
  async refreshAll(): Promise<void> {
    for (const keeper of await this.#opened()) keeper.refresh()
  }

  /** Of every VM that has something to do with this host. */
  keepers(): Promise<readonly VmKeeper[]> {
    return this.#opened()
  }

  /** What is to become of these VMs is decided anew: what is wanted of them has changed. */
  async lookAgain(vms: readonly VmId[]): Promise<void> {
    for (const keeper of await this.#opened()) if (vms.includes(keeper.vm)) keeper.refresh()
  }

  /** Forgets those of these VMs that are no more, and of which nothing is here. What is not certain is kept. */
  async forget(vms: readonly VmId[]): Promise<void> {
    for (const vm of vms) {
      const opening = this.#keepers.get(vm)
      if (opening === undefined) continue
      try {
        // Until it is forgotten wholly it is found here, so that no second keeper looks after the same VM.
        if (await (await opening).forget()) this.#keepers.delete(vm)
      } catch (err) {
        this.#ports.log.debug({ vm, err }, 'the VM cannot be forgotten yet')
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const keeper of await this.#opened()) await keeper[Symbol.asyncDispose]()
  }

  async #opened(): Promise<VmKeeper[]> {
    const settled = await Promise.allSettled(this.#keepers.values())
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []))
  }
}
