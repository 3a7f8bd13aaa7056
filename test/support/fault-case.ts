/** One fault in one move of a VM: when it strikes, whom, and what must hold afterwards. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import type { Task, Vm } from '../../src/contracts/inventory.ts'
import { managerName, nodeFolders } from '../../src/lab/names.ts'
import { GuestLine } from './guest-line.ts'
import type { TestLab } from './lab.ts'
import { RunWitness } from './run-witness.ts'
import { TickStream } from './tick-stream.ts'

export type Victim =
  | 'source agent'
  | 'target agent'
  | 'source QEMU'
  | 'target QEMU'
  | 'manager'
  | 'manager-source link'
  | 'manager-target link'
  | 'source-target link'

/** `memory`: while RAM flows; `switch`: the guest has just stopped at the source; `arrival`: it has just begun at the target. */
export type Point = 'begin' | 'memory' | 'switch' | 'arrival'

export interface FaultCase {
  readonly victim: Victim
  readonly at: Point
  /** Whether the guest may have been started again from its disk. */
  readonly restart: 'never' | 'allowed' | 'must'
  /** A partition lasts this long, milliseconds; default 3000. `until-end`: until the move has ended. */
  readonly lasts?: number | 'until-end'
}

const patienceMs = 150_000
/** With it a guest of 128 MiB moves for some seconds; without, for less than one. */
const slow = 8 * 2 ** 20

export class FaultTrial {
  readonly #lab: TestLab
  readonly #vm: Vm
  readonly #case: FaultCase
  readonly #source: string
  readonly #target: string
  readonly #agents = new Map<string, number[]>()

  constructor(lab: TestLab, vm: Vm, fault: FaultCase) {
    this.#lab = lab
    this.#vm = vm
    this.#case = fault
    this.#source = vm.host ?? ''
    this.#target = lab.hosts.find((host) => host !== vm.host) ?? ''
  }

  /** Moves the VM, lets the fault strike, waits for the end and checks it. Says in a line what came of it. */
  async run(generation: number): Promise<string> {
    const lab = this.#lab
    await this.#findPrograms()
    {
      using line = await GuestLine.open(lab, this.#vm.id)
      await line.writeDisk(generation, '/dev/vda', 64)
    }
    using ticks = await TickStream.open(lab, this.#vm.addresses[0] ?? '')
    await using witness = new RunWitness(lab, this.#vm.id)
    await lab.eventually('its QEMU answers', async () => witness.running[0] === this.#source)
    const began = lab.ports.clock.monotonic()
    const task = await this.#strikeIn(witness)
    const end = await this.#ended(task)
    if (this.#case.lasts === 'until-end') await lab.heal()
    const vm = await this.#running(witness)
    const seconds = ((lab.ports.clock.monotonic() - began) / 1000).toFixed(1)
    const isSame = await ticks.goesOn(lab)
    if (isSame) await ticks.assertWhole(lab)
    witness.assertNeverTwo()
    await this.#nothingLeft(vm)
    if (this.#case.restart === 'never') assert.ok(isSame, 'the guest was started again, or its client was lost')
    if (this.#case.restart === 'must') assert.ok(!isSame, 'the guest goes on although it was killed')
    using line = await GuestLine.open(lab, vm.id)
    await line.verifyDisk(generation, '/dev/vda', 64)
    const where = vm.host === this.#target ? 'at the target' : 'at the source'
    const problem = end.problem === null ? '' : ` (${end.problem.detail})`
    return `${end.state}${problem}; ${isSame ? 'runs on' : 'started again'} ${where} after ${seconds} s`
  }

  async #findPrograms(): Promise<void> {
    for (const host of [this.#source, this.#target]) {
      this.#agents.set(host, await this.#lab.processesOf(host, /cli\/main\.ts agent run/))
    }
    this.#agents.set(managerName, await this.#lab.processesOf(managerName, /cli\/main\.ts manager run/))
    for (const [node, pids] of this.#agents) assert.equal(pids.length, 1, `${node} runs one Holdfast`)
  }

  /** Begins the move; resolves when the fault has struck, and partitions are healed. */
  async #strikeIn(witness: RunWitness): Promise<Task> {
    const { at } = this.#case
    const struck = Promise.withResolvers<void>()
    let isOver = false
    const strike = (): void => {
      if (isOver) return
      isOver = true
      this.#strike().then(struck.resolve, struck.reject)
    }
    using _ = witness.on((host, moment) => {
      if (at === 'switch' && host === this.#source && moment === 'STOP') strike()
      if (at === 'arrival' && host === this.#target && moment === 'RESUME') strike()
    })
    const body = { host: this.#target, ...(at === 'begin' || at === 'memory' ? { maxBandwidth: slow } : {}) }
    const task = await this.#lab.client.call('migrateVm', { params: { vm: this.#vm.id }, body })
    if (at === 'begin') strike()
    if (at === 'memory') await this.#memoryFlows(task).then(strike)
    await Promise.race([
      struck.promise,
      this.#ended(task).then(() => assert.ok(isOver, `the move ended before the ${at}`)),
    ])
    await struck.promise
    return task
  }

  async #memoryFlows(task: Task): Promise<void> {
    await this.#lab.eventually('memory flows', async () => {
      const now = await this.#lab.client.call('getTask', { params: { task: task.id }, query: {} })
      return now.detail?.['phase'] === 'memory' && Number(now.detail['doneBytes']) > 2 ** 20
    })
  }

  async #strike(): Promise<void> {
    const [source, target] = [this.#source, this.#target]
    switch (this.#case.victim) {
      case 'source agent':
        return this.#killAll(source)
      case 'target agent':
        return this.#killAll(target)
      case 'manager':
        return this.#killAll(managerName)
      case 'source QEMU':
        return this.#killQemu(source)
      case 'target QEMU':
        return this.#killQemu(target)
      case 'manager-source link':
        return this.#cut(source, managerName)
      case 'manager-target link':
        return this.#cut(target, managerName)
      case 'source-target link':
        return this.#cut(source, target)
    }
  }

  /** These pids were found in the node's own cgroup a moment ago. */
  #killAll(node: string): void {
    for (const pid of this.#agents.get(node) ?? []) this.#kill(node, pid)
  }

  async #killQemu(host: string): Promise<void> {
    const file = `${nodeFolders(this.#lab.lab.folder, host).run}/vms/${this.#vm.id}/machine.json`
    const pid = await this.#lab.eventually('its QEMU', async () => {
      const record = JSON.parse(readFileSync(file, 'utf8')) as { process: { pid: number } }
      return record.process.pid
    })
    this.#kill(host, pid)
  }

  #kill(node: string, pid: number): void {
    const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8')
    assert.ok(groups.includes(`holdfast-lab-${this.#lab.lab.name}/${node}`), `${pid} belongs to ${node}: ${groups}`)
    process.kill(pid, 'SIGKILL')
  }

  async #cut(host: string, other: string): Promise<void> {
    await this.#lab.partition({ hosts: [host], from: [other], isOneWay: false })
    const { lasts = 3000 } = this.#case
    if (lasts === 'until-end') return
    await this.#lab.ports.clock.sleep(lasts)
    await this.#lab.heal()
  }

  /** A stop may last for a while, but nobody comes to repair it. */
  async #ended(task: Task): Promise<Task> {
    let last: Task = task
    const look = async (): Promise<Task | false> => {
      last = await this.#lab.client.call('getTask', { params: { task: task.id }, query: { waitSeconds: 2 } })
      return !['running', 'undoing', 'stuck'].includes(last.state) && last
    }
    return await this.#lab.eventually(`the end of ${task.id}`, look, patienceMs).catch((cause: unknown) => {
      throw new Error(`the move does not end: ${JSON.stringify(last)}`, { cause })
    })
  }

  /** Exactly one QEMU of it is anywhere, its vCPUs run, and that is where the manager says. */
  async #running(witness: RunWitness): Promise<Vm> {
    let last: unknown
    const look = async (): Promise<Vm | false> => {
      const vm = await this.#lab.vm(this.#vm.name)
      const pids: string[] = []
      for (const host of this.#lab.hosts) {
        const found = await this.#lab.processesOf(host, new RegExp(`qemu-system-x86_64 .*${this.#vm.uuid}`))
        pids.push(...found.map(() => host))
      }
      last = { state: vm.state, host: vm.host, operation: vm.operation, run: vm.run, pids, running: witness.running }
      const isOne = pids.length === 1 && pids[0] === vm.host && witness.running.join() === pids.join()
      return vm.state === 'running' && vm.operation === null && isOne && vm
    }
    return await this.#lab.eventually('one copy runs', look, patienceMs).catch((cause: unknown) => {
      throw new Error(`not one copy runs: ${JSON.stringify(last)}`, { cause })
    })
  }

  async #nothingLeft(vm: Vm): Promise<void> {
    const host = vm.host === this.#source ? this.#target : this.#source
    let left: string[] = []
    const look = async (): Promise<boolean> => {
      left = []
      const links = (await this.#lab.run(host, ['ip', '-o', 'link'])).stdout
      if (links.includes(`hft${vm.id.slice(3)}-`)) left.push(links)
      if (existsSync(`${nodeFolders(this.#lab.lab.folder, host).run}/vms/${vm.id}`)) left.push('its run folder')
      return left.length === 0
    }
    await this.#lab.eventually(`nothing is left on ${host}`, look, 30_000).catch((cause: unknown) => {
      throw new Error(`left on ${host}: ${left.join(', ')}`, { cause })
    })
  }
}
