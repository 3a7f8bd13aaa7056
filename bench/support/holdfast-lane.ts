/** Holdfast's own way: the REST call, and the task's end. QEMU's events are heard on the second control socket. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Vm } from '../../src/contracts/inventory.ts'
import type { BenchLab } from './bench-lab.ts'
import { laneOf, type Lane, type Moved } from './lane.ts'
import { BenchQmp } from './qmp.ts'

/** A VM of Holdfast. `lane` gives the ways in which it is moved. */
export class HoldfastGuest {
  readonly address: string
  readonly mac: string
  readonly #lab: BenchLab
  readonly #vm: Vm
  #host: string

  constructor(lab: BenchLab, vm: Vm) {
    this.#lab = lab
    this.#vm = vm
    this.address = vm.addresses[0] ?? ''
    this.mac = vm.spec.nics[0]?.mac ?? ''
    this.#host = vm.host ?? ''
  }

  get host(): string {
    return this.#host
  }

  lane(name: string, tls: boolean): Lane {
    return laneOf(name, this, () => this.move(tls))
  }

  async move(tls = true): Promise<Moved> {
    const { client } = this.#lab.lab
    const source = this.#host
    const target = this.#lab.other(source)
    using sourceEvents = await this.#listen(source, AbortSignal.timeout(5000))
    const over = new AbortController()
    const coming = this.#listen(target, over.signal)
    coming.catch(() => undefined)
    const started = performance.now()
    const body = { host: target, ...(tls ? {} : { tls: false }) }
    const task = await client.call('migrateVm', { params: { vm: this.#vm.id }, body })
    const done = await this.#lab.lab.finish(task)
    const wholeMs = performance.now() - started
    this.#host = target
    await sleep(50)
    over.abort()
    using targetEvents = await coming.catch(() => undefined)
    const result = done.result as { totalMs?: number } | null
    return {
      source,
      target,
      wholeMs,
      memoryMs: result?.totalMs ?? null,
      stopAt: sourceEvents.when('STOP') ?? null,
      resumeAt: targetEvents?.when('RESUME') ?? null,
    }
  }

  /** Connects as soon as there is a QEMU of the VM on the host. */
  async #listen(host: string, signal: AbortSignal): Promise<BenchQmp> {
    const path = `${this.#lab.runFolder(host)}/vms/${this.#vm.id}/q/qmp2`
    for (;;) {
      const qmp = await BenchQmp.open(path).catch(() => undefined)
      if (qmp !== undefined) return qmp
      await sleep(10, undefined, { signal })
    }
  }
}
