/**
 * A lab for tests: the same verbs as `holdfast lab`, with a client of its manager. Its name and address range are its own,
 * so that it stands beside a lab that somebody uses. Disposing it takes it down, and fails when anything is left.
 *
 *   await using lab = await TestLab.open({ name: 'mig', hosts: 2 })
 *   const vm = await lab.createVm({ name: 'one' })
 *   await lab.crash('host1')
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { resolve } from 'node:path'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../../src/base/node/index.ts'
import type { RunOptions, RunResult } from '../../src/base/processes.ts'
import type { Client } from '../../src/contracts/client.ts'
import type { Task, Vm } from '../../src/contracts/inventory.ts'
import type { CreateVm } from '../../src/contracts/vm-requests.ts'
import { finish, made } from '../../src/lab/cluster.ts'
import { smallGuest, type GuestFiles } from '../../src/lab/guest.ts'
import { Lab } from '../../src/lab/lab.ts'
import { checkLabName } from '../../src/lab/names.ts'
import type { LabPorts } from '../../src/lab/ports.ts'
import { bringUp, takeDown, type UpResult } from '../../src/lab/up.ts'

export interface TestLabOptions {
  /** 1 to 9 small letters and digits; unique among the labs of this machine. */
  readonly name: string
  /** Default 2. */
  readonly hosts?: number
  /** Default true. */
  readonly hasShared?: boolean
  /** Default 1. */
  readonly managers?: number
  /** Import the small guest's kernel and initrd, so that `createVm` can boot it. Default true. */
  readonly hasGuest?: boolean
  /** Lost hosts are fenced by themselves. Default false: a host that is crashed stays lost. */
  readonly hasFence?: boolean
  /** Size of each local datastore. Default 4. */
  readonly diskGiB?: number
  /** The program that the hosts run; default: this checkout's CLI. */
  readonly main?: string
}

/** Names a lab that is up and stays up, so that a test can be tried again and again without bringing one up each time. */
const standing = process.env['HOLDFAST_TEST_LAB']

const cliMain = resolve(import.meta.dirname, '../../src/cli/main.ts')

export function realPorts(): LabPorts {
  return {
    clock: nodeClock(),
    files: nodeFiles(),
    network: nodeNetwork(),
    processes: nodeProcesses(),
    random: nodeRandom(),
  }
}

export class TestLab implements AsyncDisposable {
  readonly ports: LabPorts
  readonly lab: Lab
  readonly up: UpResult
  readonly hosts: readonly string[]
  readonly guest: GuestFiles | undefined
  readonly #directory: string

  private constructor(
    ports: LabPorts,
    lab: Lab,
    up: UpResult,
    hosts: readonly string[],
    directory: string,
    guest?: GuestFiles,
  ) {
    this.ports = ports
    this.lab = lab
    this.up = up
    this.hosts = hosts
    this.#directory = directory
    this.guest = guest
  }

  /** Brings a lab up. What goes wrong takes down what was there. */
  static async open(options: TestLabOptions): Promise<TestLab> {
    const ports = realPorts()
    if (standing !== undefined) return await TestLab.#join(ports, standing, options)
    // Short, as sockets lie below it; on a disk, as locks and O_DIRECT want a real file system.
    const directory = await mkdtemp('/var/tmp/hf')
    const launcher = { node: process.execPath, main: options.main ?? cliMain }
    const lab = await Lab.find(ports, launcher, checkLabName(options.name), directory)
    const said: string[] = []
    try {
      // A run that was killed may have left its lab behind.
      await takeDown(lab)
      const { hosts = 2, hasShared = true, hasGuest = true, hasFence = false, diskGiB = 4, managers = 1 } = options
      const own = await Lab.find(ports, launcher, options.name, directory)
      const wanted = { hosts, managers, hasShared, hasVms: false, hasGuest, hasFence, diskGiB }
      const up = await bringUp(own, wanted, (line) => said.push(line))
      const guest = hasGuest ? await smallGuest(ports, () => undefined) : undefined
      const { hosts: names } = await own.existing()
      return new TestLab(ports, own, up, names, directory, guest)
    } catch (thrown) {
      const logs = await ports.processes.run('sh', [
        '-c',
        `tail -n 15 ${directory}/*/*.log ${directory}/*/hosts/*/*.log ${directory}/*/hosts/*/data/init/*.log 2>/dev/null`,
      ])
      console.error([...said.slice(-5), logs.stdout].join('\n'))
      await takeDown(await Lab.find(ports, launcher, options.name, directory)).catch(() => undefined)
      await rm(directory, { recursive: true, force: true })
      throw thrown
    }
  }

  static async #join(ports: LabPorts, name: string, options: TestLabOptions): Promise<TestLab> {
    const lab = await Lab.find(ports, { node: process.execPath, main: options.main ?? cliMain }, name)
    const { hosts = 2, hasShared = true, hasGuest = true, hasFence = false, diskGiB = 4, managers = 1 } = options
    const wanted = { hosts, managers, hasShared, hasVms: false, hasGuest, hasFence, diskGiB }
    const up = await bringUp(lab, wanted, () => undefined)
    const guest = hasGuest ? await smallGuest(ports, () => undefined) : undefined
    return new TestLab(ports, lab, up, (await lab.existing()).hosts, '', guest)
  }

  get client(): Client {
    return this.up.client
  }

  crash = (node: string): Promise<void> => this.lab.crash(node)
  boot = (node: string): Promise<void> => this.lab.boot(node)
  freeze = (node: string): Promise<void> => this.lab.freeze(node)
  thaw = (node: string): Promise<void> => this.lab.thaw(node)
  fenceFault = (...args: Parameters<Lab['fenceFault']>): Promise<void> => this.lab.fenceFault(...args)
  partition = (...args: Parameters<Lab['partition']>): Promise<void> => this.lab.partition(...args)
  storageCut = (...args: Parameters<Lab['storageCut']>): Promise<void> => this.lab.storageCut(...args)
  storageSlow = (...args: Parameters<Lab['storageSlow']>): Promise<void> => this.lab.storageSlow(...args)
  storageFill = (host: string): Promise<void> => this.lab.storageFill(host)
  heal = (): Promise<void> => this.lab.heal()

  /** Runs a command in a host (or the manager). */
  async run(node: string, argv: readonly string[], options?: RunOptions): Promise<RunResult> {
    const [command = '', ...args] = await this.lab.inside(node, argv)
    return await this.ports.processes.run(command, args, options)
  }

  /** Processes of a host whose command line matches, as pids of this machine. */
  async processesOf(node: string, pattern: RegExp): Promise<number[]> {
    const pids = await this.lab.machines.cgroups.processes(node)
    const found: number[] = []
    for (const pid of pids) {
      const text = await this.ports.files.readText(`/proc/${pid}/cmdline`).catch(() => '')
      if (pattern.test(text.replaceAll('\0', ' '))) found.push(pid)
    }
    return found
  }

  /** The QEMU processes of a host's VMs; those that its agent asks about QEMU itself have no name. */
  qemus(host: string): Promise<number[]> {
    return this.processesOf(host, /^[^ ]*qemu-system-x86_64 -name guest=/)
  }

  /** Sends a signal to processes that belong to this lab's host, and to no other. */
  async kill(host: string, pids: readonly number[], signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const own = await this.lab.machines.cgroups.processes(host)
    for (const pid of pids) if (own.includes(pid)) process.kill(pid, signal)
  }

  /** A VM of the small guest, started unless `start` is false; resolves when it runs. */
  async createVm(options: Partial<CreateVm> & { name: string }): Promise<Vm> {
    const kernel = { kernel: made.kernel, initrd: made.initrd, cmdline: this.guest?.cmdline ?? '' }
    const task = await this.client.call('createVm', { body: { memoryMiB: 128, kernel, start: true, ...options } })
    await this.finish(task)
    return await this.vm(options.name)
  }

  async vm(name: string): Promise<Vm> {
    const vm = (await this.client.call('listVms', { query: { name } })).items[0]
    assert.ok(vm, `there is no VM ${name}`)
    return vm
  }

  finish(task: Task, timeoutMs?: number): Promise<Task> {
    return finish(this, this.client, task, { timeoutMs })
  }

  /** Waits until `condition` gives something. The message of the last error is in the failure. */
  async eventually<T>(what: string, condition: () => Promise<T | undefined | false>, timeoutMs = 60_000): Promise<T> {
    const end = this.ports.clock.monotonic() + timeoutMs
    let last: unknown
    for (;;) {
      try {
        const value = await condition()
        if (value !== undefined && value !== false) return value
      } catch (thrown) {
        last = thrown
      }
      assert.ok(this.ports.clock.monotonic() < end, `not within ${timeoutMs} ms: ${what} (${String(last)})`)
      await this.ports.clock.sleep(50)
    }
  }

  /** Whether an address of a guest answers this machine. */
  async pings(address: string): Promise<boolean> {
    return (await this.ports.processes.run('ping', ['-c1', '-W1', '-n', address])).code === 0
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (standing !== undefined) return
    const left = await takeDown(this.lab)
    await rm(this.#directory, { recursive: true, force: true })
    assert.deepEqual(left, [], 'the lab left something behind')
  }
}
