/** Somebody who uses the API of a simulated cluster, and remembers what was acknowledged. */
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { Task, Vm } from '../../contracts/inventory.ts'
import type { Manager } from '../../manager/app/manager.ts'
import { call, type SimulatedCluster } from './simulated-cluster.ts'

export class Client {
  /** Tasks whose beginning was acknowledged, by id. */
  readonly tasks = new Map<string, string>()
  /** VM → the name that was acknowledged last; those whose deletion was begun are not among them. */
  readonly names = new Map<string, string>()
  readonly #deleted = new Set<string>()
  readonly #world: SimulatedCluster

  constructor(world: SimulatedCluster) {
    this.#world = world
  }

  /** Asks for a task to be begun; undefined when that was refused or its beginning is not known. */
  async begin(what: string, work: (manager: Manager) => Promise<Task>): Promise<Task | undefined> {
    try {
      const task = await this.#world.ask(work)
      this.tasks.set(task.id, what)
      this.#world.trace.note(`client: ${what}: ${task.id} begins`)
      return task
    } catch (thrown) {
      this.#refused(what, thrown)
      return undefined
    }
  }

  /** Makes a VM and starts it; resolves with it once it runs. For the beginning of a scenario, before anything fails. */
  async createRunning(body: Parameters<Client['create']>[0]): Promise<Vm> {
    const begun = await this.create({ ...body, start: true })
    if (begun === undefined) throw new Error('the first VM could not be made')
    const task = await this.#world.ask((manager) =>
      manager.api.getTask({ params: { task: begun.id }, query: { waitSeconds: 300 } }, call),
    )
    const vm = task.target?.id ?? ''
    const made = await this.#world.ask((manager) => manager.api.getVm({ params: { vm } }, call))
    if (made.state !== 'running') throw new Error(`the first VM is ${made.state}: ${JSON.stringify(task.problem)}`)
    return made
  }

  create(body: {
    name: string
    datastore: string
    start?: boolean
    allowPostCopy?: boolean
    isolation?: 'stop' | 'leave-running'
  }): Promise<Task | undefined> {
    const { name, datastore, start = false, allowPostCopy = false, isolation } = body
    const policies = { allowPostCopy, ...(isolation === undefined ? {} : { isolation }) }
    const disks = [{ sizeBytes: 1024 * 1024, datastore }]
    return this.begin(`create ${name} on ${datastore}`, (manager) =>
      manager.api.createVm(
        {
          params: {},
          body: { name, memoryMiB: 64, video: 'none', nics: [], disks, start, policies },
        },
        call,
      ),
    )
  }

  migrate(vm: string, body: { host?: string; datastore?: string } = {}): Promise<Task | undefined> {
    return this.begin(`migrate ${vm} ${JSON.stringify(body)}`, (manager) =>
      manager.api.migrateVm({ params: { vm }, body }, call),
    )
  }

  /** What its host does with it when it is cut off. */
  async isolate(vm: string, isolation: 'stop' | 'leave-running'): Promise<void> {
    const body = { policies: { isolation } }
    await this.#world
      .ask((manager) => manager.api.changeVm({ params: { vm }, body }, call))
      .catch((thrown: unknown) => this.#refused(`isolation of ${vm}`, thrown))
  }

  start(vm: string): Promise<Task | undefined> {
    return this.begin(`start ${vm}`, (manager) => manager.api.startVm({ params: { vm }, body: {} }, call))
  }

  stop(vm: string): Promise<Task | undefined> {
    return this.begin(`stop ${vm}`, (manager) => manager.api.stopVm({ params: { vm }, body: {} }, call))
  }

  shutdown(vm: string): Promise<Task | undefined> {
    return this.begin(`shut down ${vm}`, (manager) =>
      manager.api.shutdownVm({ params: { vm }, body: { timeoutSeconds: 5 } }, call),
    )
  }

  async delete(vm: string): Promise<void> {
    // From the asking on it may be gone: the answer can be lost.
    this.names.delete(vm)
    this.#deleted.add(vm)
    await this.begin(`delete ${vm}`, (manager) => manager.api.deleteVm({ params: { vm } }, call))
  }

  async rename(vm: string, name: string): Promise<void> {
    const body = { name }
    const before = this.names.get(vm)
    // Until it is acknowledged it may have either name.
    this.names.delete(vm)
    await this.#ask(`rename ${vm} to ${name}`, async (manager) => {
      const changed = await manager.api.changeVm({ params: { vm }, body }, call)
      if (!this.#deleted.has(vm)) this.names.set(changed.id, changed.name)
    }).catch((thrown: unknown) => {
      const isRefused = thrown instanceof HoldfastError && !thrown.isUnknown
      if (isRefused && before !== undefined && !this.#deleted.has(vm)) this.names.set(vm, before)
    })
  }

  enterMaintenance(host: string): Promise<Task | undefined> {
    return this.begin(`maintenance of ${host}`, (manager) =>
      manager.api.enterMaintenance({ params: { host }, body: {} }, call),
    )
  }

  async leaveMaintenance(host: string): Promise<void> {
    await this.#ask(`${host} leaves maintenance`, (manager) =>
      manager.api.leaveMaintenance({ params: { host } }, call),
    ).catch(() => undefined)
  }

  async cancel(task: string): Promise<void> {
    await this.#ask(`cancel ${task}`, (manager) => manager.api.cancelTask({ params: { task }, body: {} }, call)).catch(
      () => undefined,
    )
  }

  /** A person's word, repeated while it is true until the manager takes it: a host counts as connected for a while. */
  async confirmOff(host: string, isTrue: () => boolean): Promise<void> {
    while (isTrue()) {
      try {
        await this.#ask(`${host} is off`, (manager) =>
          manager.api.confirmHostOff({ params: { host }, body: { iAmSure: true } }, call),
        )
        return
      } catch {
        await this.#world.clock.sleep(1000)
      }
    }
  }

  async listVms(): Promise<Vm[]> {
    return (await this.#world.ask((manager) => manager.api.listVms({ params: {}, query: { limit: 1000 } }, call))).items
  }

  async #ask<T>(what: string, work: (manager: Manager) => Promise<T>): Promise<T> {
    try {
      const answer = await this.#world.ask(work)
      this.#world.trace.note(`client: ${what}: done`)
      return answer
    } catch (thrown) {
      this.#refused(what, thrown)
      throw thrown
    }
  }

  #refused(what: string, thrown: unknown): void {
    const code = thrown instanceof HoldfastError ? thrown.code : 'error'
    this.#world.trace.note(`client: ${what}: ${code}: ${describeError(thrown)}`)
    if (code === 'error' || code === 'internal') this.#world.truth.violated(`${what} broke: ${describeError(thrown)}`)
  }
}
