/** What this host is: read from /proc, and asked of QEMU once. */
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { HostFacts } from '../contracts/host.ts'
import type { Hypervisor, HypervisorFacts } from '../hypervisor/hypervisor.ts'
import type { Processes } from '../base/processes.ts'
import { foreignVms } from './foreign-vms.ts'
import { protectionObstacle } from './protect/obstacle.ts'
import { groundOf, proofProblem, readProof } from './protect/selftest/proof.ts'
import type { TrackerChoice } from './protect/tracker-choice.ts'
import { postCopyObstacle } from './vm/post-copy-right.ts'

export interface FactsDeps {
  readonly files: Files
  readonly processes: Processes
  readonly hypervisor: Hypervisor
  readonly agentVersion: string
  readonly addresses: HostFacts['addresses']
  /** How the pages that a guest writes are found here. */
  readonly tracker: () => Promise<TrackerChoice>
  /** DATA: the proof of the self-test is in it. */
  readonly dataDirectory: string
  /** Where our own QEMUs' folders are: their processes are not foreign. */
  readonly runRoot: string
}

export async function hostFacts(deps: FactsDeps): Promise<HostFacts> {
  const { files, hypervisor } = deps
  const [cpuinfo, meminfo, hostname, kernel, qemu, foreign, tracker] = await Promise.all([
    files.readText('/proc/cpuinfo'),
    files.readText('/proc/meminfo'),
    files.readText('/proc/sys/kernel/hostname'),
    files.readText('/proc/sys/kernel/osrelease'),
    hypervisor.facts(),
    foreignVms(files, deps.runRoot),
    deps.tracker(),
  ])
  return {
    hostname: hostname.trim(),
    agentVersion: deps.agentVersion,
    kernel: kernel.trim(),
    cpu: cpuFacts(cpuinfo),
    memoryMiB: Math.floor(meminfoKiB(meminfo, 'MemTotal') / 1024),
    accelerator: { ...qemu.accelerator },
    qemu: {
      version: qemu.version,
      package: qemu.package ?? '',
      machineTypes: [...qemu.machineTypes],
      cpuModels: [...qemu.cpuModels],
    },
    postCopyObstacle: await postCopyObstacle(deps, qemu.version),
    protectionObstacle: protectionObstacle({
      ...{ qemu: qemu.version, accelerator: qemu.accelerator.kind, tracker },
      unproved: await unprovedHere(deps, qemu, tracker),
    }),
    writeTracker: { ...tracker },
    addresses: deps.addresses,
    foreignVms: foreign,
  }
}

async function unprovedHere(
  { files, dataDirectory }: FactsDeps,
  qemu: HypervisorFacts,
  { kind }: TrackerChoice,
): Promise<string | null> {
  if (kind === null) return null
  return proofProblem(await readProof(files, dataDirectory), await groundOf(files, qemu, kind))
}

export function cpuFacts(cpuinfo: string): HostFacts['cpu'] {
  const field = (name: string): string => new RegExp(`^${name}\\s*:\\s*(.*)$`, 'm').exec(cpuinfo)?.[1] ?? ''
  return {
    model: field('model name'),
    cores: (cpuinfo.match(/^processor\s*:/gm) ?? []).length,
    flags: field('flags').split(' ').filter(Boolean),
  }
}

/** A line of /proc/meminfo, KiB. */
export function meminfoKiB(meminfo: string, name: string): number {
  const match = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(meminfo)
  if (match?.[1] === undefined) throw new HoldfastError('host-error', `/proc/meminfo has no ${name}`)
  return Number(match[1])
}
