/**
 * The self-test of fault tolerance on this host alone: a small guest is held in step by two pumps with two QEMUs, and the
 * primary's QEMU is killed at a random moment, its pump with it or not; the second goes on, gets a second of its own, and is
 * killed in its turn. Each epoch is compared with all of the guest's memory on both sides, by the pumps' test mode, and what
 * the guest sends is judged (frame-judge.ts).
 */
import { join } from 'node:path'
import { HoldfastError } from '../../../base/errors.ts'
import type { HostId, VmId } from '../../../base/ids.ts'
import type { ProcessId } from '../../../base/processes.ts'
import type { Random } from '../../../base/random.ts'
import { defaultProtectionSettings, type ArbiterAddress } from '../../../contracts/protection.ts'
import type { Hypervisor, Machine, MachineConfig } from '../../../hypervisor/hypervisor.ts'
import { median } from '../pump/figures.ts'
import { NodePumps, type NodePumpsDeps } from '../pump/node-pumps.ts'
import { processFile, type PumpProcess } from '../pump/order-file.ts'
import { within } from '../pump/within.ts'
import type { Pump } from '../pumps.ts'
import type { FrameJudge } from './frame-judge.ts'
import type { SelftestFigures, SelftestPlan } from './plan.ts'
import { guestMac, selftestName, tapNames } from './surroundings.ts'

export interface SelftestDeps extends Pick<
  NodePumpsDeps,
  'clock' | 'files' | 'processes' | 'streams' | 'log' | 'program'
> {
  readonly random: Random
  readonly hypervisor: Hypervisor
  readonly arbiter: ArbiterAddress
  readonly judge: FrameJudge
  /** Rejects with what the judge has found. */
  readonly broken: Promise<never>
  readonly onProgress: (figures: SelftestFigures) => void
}

/** One of the two QEMUs, with what its host has. */
interface Side {
  readonly machine: Machine
  readonly process: ProcessId
  readonly pumps: NodePumps
  readonly folder: string
  readonly runDirectory: string
}

const vm = 'vm-1' as VmId
const memoryMiB = 16
/** The guest takes its memory once around in 96 ticks (src/hypervisor/selftest-guest). */
const roundTicks = 100
/** A host that is very busy, and still nobody should wait for longer. */
const patienceMs = 60_000
/** A QEMU that is killed is noticed at once, so silence may be long: a busy host is no fault of what is tested. */
const settings = { ...defaultProtectionSettings, silenceMs: 5000 }
/** The primary is killed at a random moment of this time, after some epochs. */
const [fewestEpochs, killWithinMs] = [5, 400]
const pollMs = 2

/** Runs until so many takeovers were survived. Throws what went wrong. */
export async function runSelftest(deps: SelftestDeps, plan: SelftestPlan): Promise<SelftestFigures> {
  const run = new Selftest(deps, plan)
  return await Promise.race([run.run(), deps.broken])
}

class Selftest {
  readonly #deps: SelftestDeps
  readonly #plan: SelftestPlan
  readonly #silences: number[] = []
  readonly #pauses: number[] = []
  #epochs = 0

  constructor(deps: SelftestDeps, plan: SelftestPlan) {
    this.#deps = deps
    this.#plan = plan
  }

  async run(): Promise<SelftestFigures> {
    const { judge } = this.#deps
    let primary = await this.#start(0, 'prelaunch')
    await primary.machine.resume()
    await this.#until('the guest has begun', () => judge.last > 0)
    for (let n = 1; n <= this.#plan.takeovers; n++) {
      primary = await this.#takeover(primary, n)
      this.#deps.onProgress(this.#figures)
    }
    const enough = judge.last + roundTicks
    await this.#until('the guest has looked at all of its memory once more', () => judge.last >= enough)
    return this.#figures
  }

  get #figures(): SelftestFigures {
    const { judge } = this.#deps
    return {
      ...{ takeovers: this.#silences.length, epochs: this.#epochs },
      ...{ medianSilenceMs: median(this.#silences) ?? 0, longestSilenceMs: Math.max(0, ...this.#silences) },
      ...{ pauseMs: median(this.#pauses) ?? 0, ticks: judge.last, lostFrames: judge.lost },
    }
  }

  /** The guest that runs at `primary` is held in step, loses that one, and goes on at another, which is given. */
  async #takeover(primary: Side, n: number): Promise<Side> {
    const { clock, random, judge, files } = this.#deps
    const second = await this.#start(n, 'incoming')
    const { pump, secondPump } = await this.#protect(primary, second, n)
    const killAt = clock.monotonic() + random.int(killWithinMs)
    await this.#until('epochs are safe at the second', () => {
      if (pump.status.phase !== 'protecting' && pump.status.phase !== 'syncing') throw endedEarly(pump, n)
      return pump.status.phase === 'protecting' && pump.status.epoch >= fewestEpochs && clock.monotonic() >= killAt
    })
    const { epoch, pauseMs } = pump.status
    if (random.int(2) === 0) await this.#killPump(primary)
    await this.#deps.processes.signal(primary.process, 'SIGKILL')
    const diedAt = clock.monotonic()
    const { last } = judge
    await this.#within('the second took over', secondPump.gone)
    const memory = await second.pumps.memory(vm)
    if (memory?.phase !== 'running')
      throw new HoldfastError('internal', `takeover ${n}: the second did not go on: ${memory?.reason ?? memory?.phase}`)
    await this.#until('the guest was heard again', () => judge.last > last)
    this.#silences.push(Math.round(clock.monotonic() - diedAt))
    this.#pauses.push(pauseMs ?? 0)
    this.#epochs += epoch
    await this.#within('the primary’s pump has ended', pump.gone)
    for (const one of [pump, secondPump, primary.machine]) await one[Symbol.asyncDispose]()
    await this.#deps.processes.waitGone(primary.process)
    await files.remove(primary.folder)
    return second
  }

  async #protect(primary: Side, second: Side, n: number): Promise<{ pump: Pump; secondPump: Pump }> {
    const config = { vm, n, primary: hostOf(n - 1), second: hostOf(n), arbiter: this.#deps.arbiter.arbiter }
    const common = {
      ...{ vm, config, arbiter: this.#deps.arbiter, copies: [] },
      settings,
    }
    const { pump: secondPump, endpoint } = await second.pumps.startSecond({
      ...{ ...common, runDirectory: second.runDirectory, primaryTlsName: selftestName, nbd: null, exports: [] },
    })
    const pump = await primary.pumps.startPrimary({ ...common, runDirectory: primary.runDirectory, second: endpoint })
    return { pump, secondPump }
  }

  async #start(n: number, mode: 'prelaunch' | 'incoming'): Promise<Side> {
    const { files, hypervisor, processes } = this.#deps
    const folder = join(this.#plan.folder, `${n}`)
    const [runDirectory, dataDirectory] = [join(folder, 'r'), join(folder, 'data')]
    for (const path of [runDirectory, dataDirectory]) await files.makeDirectory(path, { mode: 0o700 })
    for (const name of ['identity.json', 'key.pem'])
      await files.write(join(dataDirectory, name), await files.read(join(this.#plan.folder, name)), { mode: 0o600 })
    const machine = await hypervisor.start(this.#config(runDirectory, n), mode)
    const process = await processes.identify(machine.pid)
    if (process === undefined) throw new HoldfastError('hypervisor-error', 'QEMU has ended at once')
    return { machine, process, pumps: this.#pumps(runDirectory, dataDirectory), folder, runDirectory }
  }

  #pumps(runDirectory: string, dataDirectory: string): NodePumps {
    const { tracker } = this.#plan
    return new NodePumps({
      ...this.#deps,
      dataDirectory,
      runDirectory: () => runDirectory,
      listen: { data: '127.0.0.1', beats: '127.0.0.1' },
      obstacle: () => Promise.resolve(undefined),
      tracking: () => Promise.resolve({ tracker: { kind: tracker, reason: 'the self-test' }, isVerified: true }),
    })
  }

  #config(runDirectory: string, n: number): MachineConfig {
    const { accelerator, machineType } = this.#plan
    return {
      ...{ name: `ft-selftest-${n}`, uuid: '0b6a6e3e-8f4d-4c53-9a0f-5d1c2e7f9a10', machineType, machine: 'pc' },
      ...{ accelerator, cpuModel: accelerator === 'kvm' ? 'host' : 'qemu64', cpuFeatures: [], vcpus: 1, memoryMiB },
      ...{ firmware: { kind: 'bios' }, video: 'none', disks: [], cdroms: [], kernelBoot: null },
      nics: [{ key: 1, model: 'e1000', mac: guestMac, slot: '5', tap: tapNames[n % 2] ?? '' }],
      ...{ runAs: null, runDirectory, cgroup: null, tlsDirectory: null },
    }
  }

  async #killPump({ runDirectory }: Side): Promise<void> {
    const { files, processes } = this.#deps
    const { process } = JSON.parse(await files.readText(join(runDirectory, processFile))) as PumpProcess
    await processes.signal(process, 'SIGKILL')
  }

  async #until(what: string, isSo: () => boolean): Promise<void> {
    const { clock } = this.#deps
    const until = clock.monotonic() + patienceMs
    while (!isSo()) {
      if (clock.monotonic() > until) throw notSo(what)
      await clock.sleep(pollMs)
    }
  }

  async #within(what: string, work: Promise<void>): Promise<void> {
    await within(this.#deps.clock, work, patienceMs, `not so: ${what}`)
  }
}

/** The two take turns. */
function hostOf(n: number): HostId {
  return (n % 2 === 0 ? 'host-1' : 'host-2') as HostId
}

function notSo(what: string): HoldfastError {
  return new HoldfastError('timeout', `it was not so within ${patienceMs / 1000} s that ${what}`)
}

function endedEarly({ status }: Pump, n: number): HoldfastError {
  return new HoldfastError(
    'internal',
    `before takeover ${n}, after epoch ${status.epoch}, the pair ended by itself (${status.phase}): ${status.problem ?? 'no reason was given'}`,
  )
}
