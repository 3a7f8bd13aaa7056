/** What the hypervisor's tests share: machines of the small guest in a folder of their own, and its serial line. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Duplex } from 'node:stream'
import { silentLogger } from '../../src/base/log.ts'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom, nodeTaps } from '../../src/base/node/index.ts'
import type {
  Hypervisor,
  Machine,
  MachineConfig,
  MachineEvent,
  MachineState,
  OutgoingOptions,
} from '../../src/hypervisor/hypervisor.ts'
import { aMachine } from '../../src/hypervisor/machine-fixture.ts'
import { qemuHypervisor, type HypervisorDeps } from '../../src/hypervisor/qemu-hypervisor.ts'

const run = promisify(execFile)
export const clock = nodeClock()
const patienceMs = 90_000

export const deps: HypervisorDeps = {
  clock,
  files: nodeFiles(),
  log: silentLogger,
  network: nodeNetwork(),
  processes: nodeProcesses(),
  random: nodeRandom(),
  taps: nodeTaps(),
}

/** Another QEMU than the installed one: HOLDFAST_QEMU="path arguments…". */
const [binary, ...binaryArguments] = (process.env['HOLDFAST_QEMU'] ?? 'qemu-system-x86_64').split(' ')

let guestFolder: Promise<string> | undefined

/** Folder with `vmlinuz` and `initrd.gz`. */
export function guest(): Promise<string> {
  const given = process.env['HOLDFAST_GUEST']
  guestFolder ??= given !== undefined ? Promise.resolve(given) : guestNamed('busybox')
  return guestFolder
}

/** Of another small guest: `busybox-agent`. */
export async function guestNamed(name: string): Promise<string> {
  const { stdout } = await run(join(import.meta.dirname, '../../dev/guests/build'), [name])
  return stdout.trim().split('\n').at(-1) ?? ''
}

/** Waits until `look` gives something; fails with `what` after 90 s. */
export async function eventually<T>(
  what: string | (() => string),
  look: () => T | undefined | Promise<T | undefined>,
  patience = patienceMs,
): Promise<T> {
  const until = clock.monotonic() + patience
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (clock.monotonic() > until) assert.fail(`${typeof what === 'string' ? what : what()}: not within ${patience} ms`)
    await clock.sleep(15)
  }
}

/** The guest's serial line, with all that it said since the connection. */
export class Console {
  readonly #stream: Duplex
  text = ''

  private constructor(stream: Duplex) {
    this.#stream = stream
    stream.on('data', (data: Buffer) => (this.text += data.toString('latin1')))
    stream.on('error', () => undefined)
  }

  static async open(machine: Machine): Promise<Console> {
    return new Console(await deps.network.connectUnix(machine.serialSocket))
  }

  async until(pattern: RegExp, patience = patienceMs): Promise<string> {
    return await eventually(
      () => `"${String(pattern)}" on the serial line; it ends with ${JSON.stringify(this.text.slice(-400))}`,
      () => pattern.exec(this.text)?.[0],
      patience,
    )
  }

  /** Types a command and gives what it printed. */
  async command(line: string): Promise<string> {
    const mark = `M${Math.round(clock.monotonic() * 1000)}`
    const from = this.text.length
    // The mark is typed in two pieces, so that the echo of the line is not taken for its output.
    this.#stream.write(`echo "<"${mark}; ${line}; echo ">"${mark}\n`)
    const done = new RegExp(`<${mark}\\r?\\n([^]*)>${mark}`)
    return await eventually(
      () => `the end of ${line}; the line says ${JSON.stringify(this.text.slice(-300))}`,
      () => done.exec(this.text.slice(from))?.[1]?.trim(),
    )
  }

  type(line: string): void {
    this.#stream.write(line)
  }

  close(): void {
    this.#stream.destroy()
  }
}

/** Machines in one folder; disposing ends them all and removes it. */
export class TestHost implements AsyncDisposable {
  readonly folder: string
  readonly hypervisor: Hypervisor
  readonly #machines = new Map<string, Machine>()

  private constructor(folder: string) {
    this.folder = folder
    this.hypervisor = qemuHypervisor(deps, {
      binary: binary ?? '',
      binaryArguments,
      probeFile: join(folder, 'probe.json'),
      accelerator: 'tcg',
    })
  }

  static async open(): Promise<TestHost> {
    return new TestHost(await mkdtemp(join(tmpdir(), 'hf-hv-')))
  }

  async config(name: string, more: Partial<MachineConfig> = {}): Promise<MachineConfig> {
    const folder = await guest()
    const runDirectory = join(this.folder, name)
    await mkdir(runDirectory, { recursive: true })
    return {
      ...aMachine,
      name,
      // On a loaded machine TCG delivers the timer too late for the kernel's own check of it.
      kernelBoot: {
        kernel: join(folder, 'vmlinuz'),
        initrd: join(folder, 'initrd.gz'),
        cmdline: 'console=ttyS0 quiet no_timer_check',
      },
      runDirectory,
      ...more,
    }
  }

  async start(config: MachineConfig, mode: 'prelaunch' | 'incoming' = 'prelaunch'): Promise<Machine> {
    const machine = await this.hypervisor.start(config, mode)
    this.#machines.set(config.runDirectory, machine)
    return machine
  }

  /** A running guest that has booted, with its serial line. */
  async boot(config: MachineConfig): Promise<{ machine: Machine; serial: Console }> {
    const machine = await this.start(config)
    const serial = await Console.open(machine)
    await machine.resume()
    await serial.until(/holdfast-guest: ready/)
    return { machine, serial }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const [runDirectory, machine] of this.#machines) {
      // QEMU speaks to one at a time, so whoever holds the connection lets go of it first.
      await machine[Symbol.asyncDispose]()
      await using last = await this.hypervisor.adopt(machine.name, runDirectory)
      await last?.quit()
    }
    await rm(this.folder, { recursive: true, force: true })
  }
}

export async function untilState(machine: Machine, wanted: MachineState, patience = patienceMs): Promise<void> {
  let seen: MachineState | 'none' = 'none'
  await eventually(
    `state ${wanted} of ${machine.name}`,
    async () => ((seen = await machine.state()) === wanted ? true : undefined),
    patience,
  ).catch((thrown: unknown) => {
    throw new Error(`it is ${seen}`, { cause: thrown })
  })
}

/** Events of a machine as they come. */
export function record(machine: Machine): MachineEvent[] {
  const events: MachineEvent[] = []
  machine.onEvent((event) => events.push(event))
  return events
}

export function outgoing(port: number, more: Partial<OutgoingOptions> = {}): OutgoingOptions {
  return {
    host: '127.0.0.1',
    port,
    nbdPort: null,
    exports: [],
    tlsName: null,
    maxBandwidth: null,
    downtimeLimitMs: 300,
    autoConverge: false,
    allowPostCopy: false,
    multifdChannels: 0,
    onProgress: () => undefined,
    beforePostCopy: async () => undefined,
    ...more,
  }
}

export const forever = new AbortController().signal
