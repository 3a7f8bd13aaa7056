/** QEMU on this host: starts machines, finds them again, and says what it can do. */
import { describeError, HoldfastError } from '../base/errors.ts'
import { fileErrorCode } from '../base/files.ts'
import type { ProcessId } from '../base/processes.ts'
import type { OpenTap, Taps } from '../base/taps.ts'
import { debianFirmware, qemuArguments, type FirmwareFiles } from './command-line.ts'
import type { Hypervisor, HypervisorFacts, Machine, MachineConfig } from './hypervisor.ts'
import { hypervisorFacts } from './facts.ts'
import { launchOf } from './launch.ts'
import { QemuMachine, type MachineDeps } from './qemu-machine.ts'
import { featuresOf, versionOf, type QemuVersionReply } from './qemu-version.ts'
import { openQmp, type Qmp } from './qmp.ts'
import { endOrphans } from './orphans.ts'
import { checkSocketPaths, readRecord, runPaths, type LaunchIntent, type MachineRecord } from './run-directory.ts'

export interface HypervisorDeps extends MachineDeps {
  readonly taps: Taps
}

export interface HypervisorSettings {
  /** Program to run. Default: `qemu-system-x86_64` by PATH. */
  readonly binary?: string
  /** Arguments before all others, as where its firmware lies (`-L`). */
  readonly binaryArguments?: readonly string[]
  readonly firmware?: FirmwareFiles
  /** File that keeps the verdict on KVM. */
  readonly probeFile: string
  /** Takes KVM or TCG whatever the probe would say. */
  readonly accelerator?: 'kvm' | 'tcg'
}

/** Milliseconds until a started QEMU answers; loading a large TLS chain or a slow disk may take some. */
const startMs = 30_000
const pollMs = 4

export function qemuHypervisor(deps: HypervisorDeps, settings: HypervisorSettings): Hypervisor {
  const binary = settings.binary ?? 'qemu-system-x86_64'
  let facts: Promise<HypervisorFacts> | undefined
  return {
    async facts() {
      facts ??= hypervisorFacts(deps, { ...settings, binary })
      facts.catch(() => (facts = undefined))
      return await facts
    },
    async start(config, mode) {
      const args = [
        ...(settings.binaryArguments ?? []),
        ...qemuArguments(config, mode, settings.firmware ?? debianFirmware),
      ]
      return await startMachine(deps, binary, config, args)
    },
    async adopt(_name, runDirectory) {
      return await adoptMachine(deps, runDirectory)
    },
  }
}

async function startMachine(
  deps: HypervisorDeps,
  binary: string,
  config: MachineConfig,
  qemuArgs: readonly string[],
): Promise<Machine> {
  const paths = runPaths(config.runDirectory)
  checkSocketPaths(paths)
  await refuseSecond(deps, config)
  await deps.files.remove(paths.own)
  await deps.files.remove(paths.incoming)
  await deps.files.remove(paths.log)
  await deps.files.makeDirectory(paths.own, { mode: 0o750 })
  if (config.runAs !== null) await deps.files.changeOwner(paths.own, config.runAs.uid, config.runAs.gid)
  await using stack = new AsyncDisposableStack()
  const taps: OpenTap[] = []
  for (const nic of config.nics) taps.push(stack.use(await deps.taps.open(nic.tap)))
  // Before the program runs: a QEMU of which nobody knows could stay for ever.
  const intent: LaunchIntent = { process: null, permit: paths.permit + deps.random.uuid() }
  await deps.files.write(intent.permit, '')
  await deps.files.replace(paths.record, JSON.stringify(intent), { mode: 0o600 })
  const launch = launchOf(binary, config, qemuArgs, intent.permit)
  const id = await deps.processes.startDetached(launch.command, launch.args, {
    logFile: paths.log,
    inheritFds: taps.map((tap) => tap.fd),
    cwd: '/',
  })
  const record: MachineRecord = { process: id, config }
  try {
    await deps.files.replace(paths.record, JSON.stringify(record), { mode: 0o600 })
    const machine = await takeUp(deps, record)
    await deps.files.remove(intent.permit)
    return machine
  } catch (thrown) {
    await deps.processes.signal(id, 'SIGKILL')
    await deps.processes.waitGone(id)
    throw await startError(deps, config, thrown)
  }
}

async function refuseSecond(deps: HypervisorDeps, config: MachineConfig): Promise<void> {
  const record = await knownMachine(deps, config.runDirectory)
  if (record !== undefined && (await deps.processes.isAlive(record.process))) {
    throw new HoldfastError('wrong-state', `${config.name} already has a QEMU process (${record.process.pid})`, {
      mend: 'Adopt it instead.',
    })
  }
}

async function startError(deps: HypervisorDeps, config: MachineConfig, cause: unknown): Promise<HoldfastError> {
  const said = await deps.files.readText(runPaths(config.runDirectory).log).catch(() => '')
  const text = said.trim().split('\n').slice(-6).join('; ')
  return new HoldfastError(
    'hypervisor-error',
    `QEMU did not start${text === '' ? `: ${describeError(cause)}` : `: ${text}`}`,
    { machine: config.name },
    { cause },
  )
}

async function takeUp(deps: MachineDeps, record: MachineRecord): Promise<Machine> {
  const qmp = await connect(deps, record)
  try {
    const version = versionOf(await qmp.execute<QemuVersionReply>('query-version'))
    return await QemuMachine.open(deps, record, qmp, featuresOf(version))
  } catch (thrown) {
    qmp.close()
    throw thrown
  }
}

/** Tries until QEMU listens, its process is gone, or the time is up. */
async function connect(deps: MachineDeps, { process, config }: MachineRecord): Promise<Qmp> {
  const until = deps.clock.monotonic() + startMs
  for (;;) {
    const stream = await deps.network.connectUnix(runPaths(config.runDirectory).qmp).catch(() => undefined)
    if (stream !== undefined) return await openQmp(stream, deps.clock)
    if (!(await isAlive(deps, process))) throw new HoldfastError('hypervisor-error', 'QEMU ended at once')
    if (deps.clock.monotonic() > until) throw new HoldfastError('timeout', `QEMU did not listen within ${startMs} ms`)
    await deps.clock.sleep(pollMs)
  }
}

function isAlive(deps: MachineDeps, id: ProcessId): Promise<boolean> {
  return deps.processes.isAlive(id)
}

/** Undefined when there is no process (any more). Rejects with `timeout` or `unreachable` when there is one that does not answer. */
async function adoptMachine(deps: HypervisorDeps, runDirectory: string): Promise<Machine | undefined> {
  const record = await knownMachine(deps, runDirectory)
  if (record === undefined || !(await isAlive(deps, record.process))) return undefined
  try {
    return await takeUp(deps, record)
  } catch (thrown) {
    // It may have ended while we spoke to it.
    if (await isAlive(deps, record.process)) throw thrown
    return undefined
  }
}

/** The machine that was started in a folder. A launch that was cut short there is cleaned up. */
async function knownMachine(deps: HypervisorDeps, runDirectory: string): Promise<MachineRecord | undefined> {
  let record: MachineRecord | LaunchIntent | undefined
  try {
    record = await readRecord<MachineRecord | LaunchIntent>(deps.files, runPaths(runDirectory).record)
  } catch (thrown) {
    if (fileErrorCode(thrown) !== 'ENOENT') throw thrown
  }
  if (record === undefined || record.process !== null) return record
  deps.log.warn({ folder: runDirectory }, 'a start of QEMU was cut short; what is left of it is ended')
  await endOrphans(deps, runDirectory, record)
  return undefined
}
