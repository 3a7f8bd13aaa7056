/** Puts a real host's agent together from ports and the host's identity. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import type { Logger } from '../base/log.ts'
import type { Network, TlsIdentity } from '../base/network.ts'
import type { ProcessMemories, TrackerKind } from '../base/process-memory.ts'
import type { Processes } from '../base/processes.ts'
import type { Random } from '../base/random.ts'
import type { Streams } from '../base/streams.ts'
import type { Taps } from '../base/taps.ts'
import type { TcpProbe } from '../base/tcp.ts'
import { qemuHypervisor } from '../hypervisor/qemu-hypervisor.ts'
import { qemuDiskImages } from '../hypervisor/qemu-img.ts'
import { Agent } from './agent.ts'
import type { HostFacts } from '../contracts/host.ts'
import { hostFacts } from './facts.ts'
import { HostSigns } from './guest/guest-signs.ts'
import type { Identity } from './identity.ts'
import { LoadMeter } from './load.ts'
import type { ManagerApi } from '../contracts/manager-api.ts'
import { neighbourClient } from './lease/neighbour-client.ts'
import { NodeWatchdog } from './lease/watchdog/node-watchdog.ts'
import type { Watchdog } from './lease/watchdog-port.ts'
import { LinuxNetworks } from './network/linux-networks.ts'
import { NodePumps } from './protect/pump/node-pumps.ts'
import { chooseTracker, type TrackerChoice } from './protect/tracker-choice.ts'
import { Datastores } from './storage/datastores.ts'
import { DiskWork } from './storage/disk-work.ts'
import type { StreamIdentity } from './stream-identity.ts'
import { UpgradeProgram } from './upgrade/upgrade-program.ts'
import { HostPlaces } from './vm/host-places.ts'

export interface HostPorts {
  readonly clock: Clock
  readonly files: Files
  readonly log: Logger
  readonly memories: ProcessMemories
  readonly network: Network
  readonly processes: Processes
  readonly random: Random
  readonly streams: Streams
  readonly taps: Taps
  readonly tcp: TcpProbe
}

export interface HostSettings {
  readonly identity: Identity
  readonly manager: ManagerApi
  /** What migration streams show, once there is one. */
  readonly tls: StreamIdentity | undefined
  readonly dataDirectory: string
  readonly runDirectory: string
  readonly cgroupParent: string | null
  readonly allowedImportFolders: readonly string[]
  readonly agentVersion: string
  /** Takes KVM or TCG whatever the probe would say. */
  readonly accelerator?: 'kvm' | 'tcg'
  readonly tracking: TrackingSettings
  /** This host's certificate, as it is now. */
  readonly tlsIdentity: () => Omit<TlsIdentity, 'serverName'>
  /** A watchdog device, or a socket that stands for one; undefined: /dev/watchdog where there is one. */
  readonly watchdog?: string | undefined
  /** What renews this host when a manager asks. */
  readonly upgradeProgram: string
}

/** How VMs that are held in step are looked after; for tests and troubleshooting. */
export interface TrackingSettings {
  /** Takes this way to find written pages, whatever else works here. */
  readonly tracker: TrackerKind | undefined
  /** At each epoch all memory is compared on both hosts, and a page that was missed ends the protection. */
  readonly isVerified: boolean
}

/** Debian's places of UEFI's empty variable store, the 4 MiB build first. */
const nvramTemplates = ['/usr/share/OVMF/OVMF_VARS_4M.fd', '/usr/share/OVMF/OVMF_VARS.fd']

const usualWatchdog = '/dev/watchdog'

const watchdogProgram = fileURLToPath(new URL('lease/watchdog/main.ts', import.meta.url))
const pumpProgram = fileURLToPath(new URL('protect/pump/main.ts', import.meta.url))

export async function openHostAgent(
  ports: HostPorts,
  settings: HostSettings,
): Promise<{ agent: Agent; places: HostPlaces }> {
  const { clock, files, log, processes, network } = ports
  const { identity, dataDirectory, runDirectory, accelerator } = settings
  const runRoot = join(runDirectory, 'vms')
  const hypervisor = qemuHypervisor(ports, {
    probeFile: join(dataDirectory, 'kvm-probe.json'),
    ...(accelerator === undefined ? {} : { accelerator }),
  })
  const images = qemuDiskImages({ processes, files })
  const datastores = new Datastores({ files, clock, cluster: identity.cluster, dataDirectory })
  const disks = new DiskWork({ files, images, datastores, nvramTemplates })
  const networks = await LinuxNetworks.open({
    ...{ files, processes, log, guestsAddress: identity.addresses.guests },
    runRoot: join(runDirectory, 'net'),
  })
  const places = new HostPlaces({
    ...{ files, processes, datastores, disks, networks, hypervisor, runRoot },
    ...{ cgroupParent: settings.cgroupParent, tls: settings.tls ?? 'awaited' },
    streamAddress: identity.addresses.storage,
    hasOwnUsers: true,
  })
  const tracker = triedTracker(ports, settings.tracking.tracker)
  const { addresses } = identity
  const { agentVersion } = settings
  const factsFrom = { files, processes, hypervisor, agentVersion, addresses, runRoot, tracker, dataDirectory }
  const facts = (): Promise<HostFacts> => hostFacts(factsFrom)
  const pumps = new NodePumps({
    ...{ clock, files, processes, log, dataDirectory, streams: ports.streams },
    runDirectory: (vm) => places.runDirectory(vm),
    listen: { data: addresses.storage, beats: addresses.management },
    program: [process.execPath, pumpProgram],
    obstacle: async () => (await facts()).protectionObstacle ?? undefined,
    tracking: async () => ({ tracker: await tracker(), isVerified: settings.tracking.isVerified }),
  })
  const load = new LoadMeter(files)
  const agent = await Agent.open({
    ...{ host: identity.host, clock, random: ports.random, log, files, network, tcp: ports.tcp },
    ...{ hypervisor, images, manager: settings.manager, networks, places, datastores, disks, dataDirectory, pumps },
    signs: new HostSigns({ clock, files, log, network }),
    allowedImportFolders: settings.allowedImportFolders,
    watchdog: await watchdogOf(ports, settings, runRoot),
    neighbour: (witness) => neighbourClient({ network, clock, identity: settings.tlsIdentity }, witness),
    ...{ facts, upgrade: new UpgradeProgram({ ...ports, dataDirectory, program: settings.upgradeProgram }) },
    load: () => load.read(),
  })
  return { agent, places }
}

/** Its device is opened only while something is armed. */
async function watchdogOf(
  ports: HostPorts,
  { runDirectory, watchdog }: HostSettings,
  runRoot: string,
): Promise<Watchdog> {
  const { clock, files, processes } = ports
  return new NodeWatchdog({
    ...{ clock, files, processes, runRoot, folder: join(runDirectory, 'lease') },
    hardware: await hardwareWatchdog(files, watchdog),
    program: [process.execPath, watchdogProgram],
  })
}

async function hardwareWatchdog(files: Files, given: string | undefined): Promise<string | null> {
  if (given !== undefined) return given === 'none' ? null : given
  return (await files.stat(usualWatchdog)) === undefined ? null : usualWatchdog
}

/** Tries the trackers at the first asking, and until one works. */
function triedTracker(
  { memories, log }: Pick<HostPorts, 'memories' | 'log'>,
  forced: TrackerKind | undefined,
): () => Promise<TrackerChoice> {
  const choose = async (): Promise<TrackerChoice> => {
    const choice = chooseTracker(await memories.tryTrackers(), forced)
    log.info({ tracker: choice.kind, reason: choice.reason }, 'how pages that guests write are found here')
    return choice
  }
  let chosen: Promise<TrackerChoice> | undefined
  return async () => {
    const choice = await (chosen ??= choose())
    // What keeps all of them from working may be mended.
    if (choice.kind === null) chosen = undefined
    return choice
  }
}
