/** Starts and finds the pumps of this host: detached processes of the same program, one for each VM and side. */
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import { fileErrorCode, type Files } from '../../../base/files.ts'
import type { VmId } from '../../../base/ids.ts'
import type { Logger } from '../../../base/log.ts'
import type { ProcessId, Processes } from '../../../base/processes.ts'
import type { Streams } from '../../../base/streams.ts'
import { noFigures, type ProtectionObservation, type SecondEndpoint } from '../../../contracts/protection.ts'
import type { ArbiterChange, PrimaryOrder, Pump, PumpMemory, Pumps, SecondOrder } from '../pumps.ts'
import type { TrackerChoice } from '../tracker-choice.ts'
import {
  controlSocket,
  fromControlProblem,
  readLines,
  sendLine,
  type ControlAct,
  type ControlLine,
  type ControlProblem,
} from './control.ts'
import { PumpMemoryFile } from './memory-file.ts'
import { within } from './within.ts'
import { logFile, orderFile, processFile, type OrderFile, type PumpProcess, type PumpTask } from './order-file.ts'

export interface NodePumpsDeps {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
  readonly streams: Streams
  readonly log: Logger
  readonly dataDirectory: string
  /** Folder of the VM's sockets and files of this boot. */
  readonly runDirectory: (vm: VmId) => string
  /** Where a second listens. */
  readonly listen: { readonly data: string; readonly beats: string }
  /** The program to run as a pump, and its first arguments. */
  readonly program: readonly [command: string, ...args: string[]]
  /** Why this host cannot hold VMs in step, in words; undefined: it can. */
  readonly obstacle: () => Promise<string | undefined>
  /** How what a guest writes is found here. */
  readonly tracking: () => Promise<{ readonly tracker: TrackerChoice; readonly isVerified: boolean }>
}

/** A program that loads, opens a QEMU and notes its memory. */
const beginMs = 30_000
/** Longer than the pump itself waits for anybody. */
const answerMs = 60_000
const pollMs = 20

export class NodePumps implements Pumps {
  readonly #deps: NodePumpsDeps

  constructor(deps: NodePumpsDeps) {
    this.#deps = deps
  }

  async startPrimary(order: PrimaryOrder): Promise<Pump> {
    await this.#mustBeAble()
    const { tracker, isVerified } = await this.#deps.tracking()
    if (tracker.kind === null) throw cannot(`no tracker of writes works: ${tracker.reason}`)
    const tracking = { tracker: tracker.kind, isVerified }
    return (await this.#start(order.vm, { mode: 'start', side: 'primary', order, tracking })).pump
  }

  async startSecond(order: SecondOrder): Promise<{ pump: Pump; endpoint: SecondEndpoint }> {
    await this.#mustBeAble()
    const { listen } = this.#deps
    const { pump, endpoint } = await this.#start(order.vm, { mode: 'start', side: 'second', order, listen })
    if (endpoint === null) throw new HoldfastError('internal', 'the pump does not say where it listens')
    return { pump, endpoint }
  }

  async salvage(vm: VmId): Promise<Pump> {
    const runDirectory = this.#deps.runDirectory(vm)
    const memory = await this.memory(vm)
    if (memory === undefined) throw new HoldfastError('not-found', `no pump of ${vm} has left anything`)
    const { side, arbiter } = memory
    // Where the machine has been off since, its folder is gone, and no QEMU is left in which there were something to end.
    const last = await readJson<OrderFile>(this.#deps.files, join(runDirectory, orderFile))
    const order = { vm, arbiter, runDirectory, copies: last?.order.copies ?? [] }
    await this.#deps.files.makeDirectory(runDirectory, { mode: 0o711 })
    return (await this.#start(vm, { mode: 'salvage', side, order })).pump
  }

  async adopt(vm: VmId): Promise<Pump | undefined> {
    const { files, processes } = this.#deps
    const found = await readJson<PumpProcess>(files, join(this.#deps.runDirectory(vm), processFile))
    if (found === undefined || !(await processes.isAlive(found.process))) return undefined
    const { pump } = await this.#takeUp(vm, found)
    return pump
  }

  memory(vm: VmId): Promise<PumpMemory | undefined> {
    return this.#memoryFile(vm).read()
  }

  async forget(vm: VmId): Promise<void> {
    await this.#memoryFile(vm).remove()
    for (const name of [processFile, orderFile, controlSocket])
      await this.#deps.files.remove(join(this.#deps.runDirectory(vm), name))
  }

  async #mustBeAble(): Promise<void> {
    const why = await this.#deps.obstacle()
    if (why !== undefined) throw cannot(why)
  }

  #memoryFile(vm: VmId): PumpMemoryFile {
    return new PumpMemoryFile(this.#deps.files, this.#deps.dataDirectory, vm)
  }

  async #start(vm: VmId, task: PumpTask): Promise<Begun> {
    const { files, processes, program, dataDirectory } = this.#deps
    const order: OrderFile = { ...task, dataDirectory }
    const runDirectory = this.#deps.runDirectory(vm)
    const path = join(runDirectory, orderFile)
    await files.remove(join(runDirectory, controlSocket))
    await files.replace(path, JSON.stringify(order), { mode: 0o600 })
    const [command, ...args] = program
    const options = { logFile: join(runDirectory, logFile), cwd: '/' }
    const process = await processes.startDetached(command, [...args, path], options)
    const found: PumpProcess = { process, side: order.side }
    await files.replace(join(runDirectory, processFile), JSON.stringify(found), { mode: 0o600 })
    return await this.#takeUp(vm, found)
  }

  /** Waits until it says that it works, or why it cannot. */
  async #takeUp(vm: VmId, { process, side }: PumpProcess): Promise<Begun> {
    const { clock, processes, streams } = this.#deps
    const path = join(this.#deps.runDirectory(vm), controlSocket)
    const until = clock.monotonic() + beginMs
    for (;;) {
      const connection = await streams.connectUnix(path).catch(() => undefined)
      if (connection !== undefined) {
        const pump = new NodePump({ clock, processes }, process, side, connection.stream)
        try {
          return { pump, endpoint: await within(clock, pump.begun(), beginMs, `the pump of ${vm} did not answer`) }
        } catch (thrown) {
          await pump[Symbol.asyncDispose]()
          throw thrown
        }
      }
      if (!(await processes.isAlive(process)))
        throw new HoldfastError('host-error', `the pump of ${vm} has ended at once`)
      if (clock.monotonic() > until)
        throw new HoldfastError('timeout', `the pump of ${vm} did not begin in ${beginMs} ms`)
      await clock.sleep(pollMs)
    }
  }
}

function cannot(why: string): HoldfastError {
  return new HoldfastError('refused', `this host cannot hold a VM in step with another: ${why}`, {
    mend: 'Protect the VM on other hosts, or without this one.',
  })
}

interface Begun {
  readonly pump: Pump
  readonly endpoint: SecondEndpoint | null
}

class NodePump implements Pump {
  readonly side: Pump['side']
  readonly gone: Promise<void>
  readonly #clock: Clock
  readonly #stream: Duplex
  readonly #listeners = new Set<(status: ProtectionObservation) => void>()
  readonly #begun = Promise.withResolvers<SecondEndpoint | null>()
  readonly #open = new Map<number, PromiseWithResolvers<void>>()
  #nextId = 1
  #status: ProtectionObservation

  constructor(
    ports: Pick<NodePumpsDeps, 'clock' | 'processes'>,
    process: ProcessId,
    side: Pump['side'],
    stream: Duplex,
  ) {
    this.side = side
    this.#clock = ports.clock
    this.#stream = stream
    this.#status = { side, n: 1, phase: side === 'primary' ? 'syncing' : 'candidate', ...noFigures }
    this.#begun.promise.catch(() => undefined)
    this.gone = ports.processes.waitGone(process)
    stream.on('error', () => stream.destroy())
    stream.once('close', () => this.#ended())
    readLines(stream, (line) => this.#take(line as ControlLine))
  }

  get status(): ProtectionObservation {
    return this.#status
  }

  /** Rejects with what keeps the pump from working. */
  begun(): Promise<SecondEndpoint | null> {
    return this.#begun.promise
  }

  onChange(listener: (status: ProtectionObservation) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  end(): Promise<void> {
    return this.#ask('end')
  }

  handOver(): Promise<void> {
    return this.#ask('hand-over')
  }

  setPaused(isPaused: boolean): Promise<void> {
    return this.#ask(isPaused ? 'pause' : 'resume')
  }

  changeArbiter(change: ArbiterChange): Promise<void> {
    return this.#ask('change-arbiter', change)
  }

  drop(): Promise<void> {
    return this.#ask('drop')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listeners.clear()
    this.#stream.destroy()
  }

  async #ask(act: ControlAct, change?: ArbiterChange): Promise<void> {
    if (this.#stream.destroyed) throw gone()
    const id = this.#nextId++
    const answer = Promise.withResolvers<void>()
    this.#open.set(id, answer)
    sendLine(this.#stream, { id, do: act, ...(change === undefined ? {} : { change }) })
    // Whether one that is silent has done it is unknown.
    await within(this.#clock, answer.promise, answerMs, 'the pump did not answer')
  }

  #take(line: ControlLine): void {
    switch (line.is) {
      case 'begun':
        return this.#begun.resolve(line.endpoint)
      case 'failed':
        return this.#begun.reject(fromControlProblem(line.problem))
      case 'status':
        this.#status = line.status
        for (const listener of [...this.#listeners]) listener(line.status)
        return
      case 'done':
        return this.#done(line.id, line.problem)
    }
  }

  #done(id: number, problem: ControlProblem | null): void {
    const answer = this.#open.get(id)
    this.#open.delete(id)
    if (problem === null) answer?.resolve()
    else answer?.reject(fromControlProblem(problem))
  }

  #ended(): void {
    this.#begun.reject(gone())
    for (const answer of this.#open.values()) answer.reject(gone())
    this.#open.clear()
  }
}

function gone(): HoldfastError {
  return new HoldfastError('unreachable', 'the pump has ended')
}

async function readJson<T>(files: Files, path: string): Promise<T | undefined> {
  try {
    return JSON.parse(await files.readText(path)) as T
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return undefined
    throw thrown
  }
}
