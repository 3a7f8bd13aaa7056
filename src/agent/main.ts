/** The agent's wiring with the real ports: what the verbs of command.ts do, for who starts an agent itself too. */
import { readFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline/promises'
import { HoldfastError } from '../base/errors.ts'
import type { TrackerKind } from '../base/process-memory.ts'
import {
  jsonLogger,
  keepMemoryLow,
  nodeClock,
  nodeFiles,
  nodeNetwork,
  nodeProcesses,
  nodeProcessMemories,
  nodeRandom,
  nodeStreams,
  nodeTaps,
  nodeTcpProbe,
} from '../base/node/index.ts'
import type { HostFacts } from '../contracts/host.ts'
import { openHostAgent, type HostPorts, type TrackingSettings } from './assemble.ts'
import { cgroupParent } from './cgroups.ts'
import { defaultAgentPort, defaultDataDirectory, defaultRunDirectory, defaultUpgradeProgram } from './defaults.ts'
import type { JoinFlags } from './command.ts'
import type { DiagnosedRole } from './diagnose/diagnose.ts'
import type { Finding } from './diagnose/finding.ts'
import type { SelftestOptions, SelftestReport } from './protect/selftest/start-selftest.ts'
import { lockData } from './data-lock.ts'
import { hostAddresses } from './host-addresses.ts'
import { AgentServer } from './http/agent-server.ts'
import { IdentityFiles, type Identity } from './identity.ts'
import { joinCluster as join_ } from './join.ts'
import { managerClient } from './manager-client.ts'
import { ManagersFile } from './managers-file.ts'
import { applyPlan, confirmPlan, confirmWithinSeconds, readAndPlan } from './network-plan.ts'
import { keepCertificate } from './renewal.ts'
import { keepStreamIdentity, StreamIdentityFiles, type StreamIdentity } from './stream-identity.ts'

export interface RunAgentOptions {
  /** DATA: identity, VMs' states. Default `/var/lib/holdfast/agent`. */
  readonly dataDirectory?: string
  /** Short: sockets lie below it. Default `/run/holdfast`. */
  readonly runDirectory?: string
  /** Address to listen on; default: the management address of the join. */
  readonly listen?: string
  /** cgroup v2 folder for VMs; default: below the agent's own. Null: none. */
  readonly cgroupParent?: string | null
  /** Folders that images may be imported from by path. */
  readonly allowImport?: readonly string[]
  readonly accelerator?: 'kvm' | 'tcg'
  readonly tracking?: TrackingSettings
  /** A watchdog device, a socket that stands for one, or `none`; default: /dev/watchdog where there is one. */
  readonly watchdog?: string | undefined
  /** What renews this host; default `/etc/holdfast/upgrade`. */
  readonly upgradeProgram?: string
  /** Ends the agent; VMs run on. Default: SIGTERM and SIGINT. */
  readonly signal?: AbortSignal
}

function realPorts(): HostPorts & { network: ReturnType<typeof nodeNetwork> } {
  return {
    clock: nodeClock(),
    files: nodeFiles(),
    log: jsonLogger(),
    memories: nodeProcessMemories(),
    network: nodeNetwork(),
    processes: nodeProcesses(),
    random: nodeRandom(),
    streams: nodeStreams(),
    taps: nodeTaps(),
    tcp: nodeTcpProbe(),
  }
}

/** Runs the agent of this host until it is told to end. Throws `wrong-state` on a machine that has not joined. */
export async function runAgent(options: RunAgentOptions = {}): Promise<void> {
  const ports = realPorts()
  using _network = ports.network
  const dataDirectory = resolve(options.dataDirectory ?? defaultDataDirectory)
  const runDirectory = resolve(options.runDirectory ?? defaultRunDirectory)
  const store = new IdentityFiles(ports, dataDirectory)
  const identity = await mustHaveJoined(store)
  await ports.files.makeDirectory(runDirectory, { mode: 0o711 })
  using _memory = keepMemoryLow()
  await using _lock = await lockData(ports, dataDirectory, process.pid)
  await serve(ports, { identity, store, dataDirectory, runDirectory, options })
}

interface Serving {
  readonly identity: Identity
  readonly store: IdentityFiles
  readonly dataDirectory: string
  readonly runDirectory: string
  readonly options: RunAgentOptions
}

async function serve(ports: HostPorts, { identity, store, options, ...folders }: Serving): Promise<void> {
  const key = await store.readKey()
  let current = { ca: identity.ca, cert: identity.certificate, key }
  const managers = await ManagersFile.open(ports.files, folders.dataDirectory, identity.managers)
  const manager = managerClient({
    ...{ ...ports, urls: () => managers.urls, identity: () => current },
    onManagers: (urls) => {
      managers.keep(urls).catch((err: unknown) => ports.log.warn({ err }, 'where managers are asked cannot be kept'))
    },
  })
  const streams = new StreamIdentityFiles(ports, folders.dataDirectory)
  const tls = await streams.read()
  const { agent, places } = await openHostAgent(ports, {
    ...{ identity, manager, tls, ...folders },
    cgroupParent:
      options.cgroupParent === undefined ? await cgroupParent(ports.files, process.pid) : options.cgroupParent,
    allowedImportFolders: (options.allowImport ?? []).map((folder) => resolve(folder)),
    agentVersion: packageVersion(),
    tracking: options.tracking ?? { tracker: undefined, isVerified: false },
    tlsIdentity: () => current,
    watchdog: options.watchdog,
    upgradeProgram: resolve(options.upgradeProgram ?? defaultUpgradeProgram),
    ...(options.accelerator === undefined ? {} : { accelerator: options.accelerator }),
  })
  await using _agent = agent
  const host = options.listen ?? identity.addresses.management
  await using server = await AgentServer.listen(agent, {
    ...{ host, port: identity.agentPort, identity: current, log: ports.log },
  })
  ports.log.info({ host: identity.host, address: host, port: server.port }, 'the agent listens')
  const signal = options.signal ?? ownSignal()
  const use = async (renewed: Identity): Promise<void> => {
    current = { ca: renewed.ca, cert: renewed.certificate, key }
    server.renew(current)
  }
  void keepCertificate({ ...ports, store, manager, use }, identity, signal)
  // VMs that an older agent has started hold what it gave them.
  if (tls !== undefined) await places.renew(tls)
  const ofHost = (): StreamIdentity => ({ ...current, tlsName: identity.tlsName })
  const renewStreams = (renewed: StreamIdentity): Promise<void> => places.renew(renewed)
  void keepStreamIdentity({ ...ports, store: streams, manager, ofHost, use: renewStreams }, tls, signal)
  void agent.run()
  await new Promise<void>((end) => {
    if (signal.aborted) end()
    else signal.addEventListener('abort', () => end(), { once: true })
  })
  ports.log.info({}, 'the agent ends; virtual machines run on')
}

async function mustHaveJoined(store: IdentityFiles): Promise<Identity> {
  const identity = await store.read()
  if (identity !== undefined) return identity
  throw new HoldfastError('wrong-state', 'this machine is no host of a cluster', {
    mend: 'Join one first: holdfast agent join https://MANAGER:7443 --token TOKEN',
  })
}

function ownSignal(): AbortSignal {
  const end = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => end.abort(new Error(name)))
  return end.signal
}

function packageVersion(): string {
  const text = readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

export interface JoinClusterOptions {
  readonly managerUrl: string
  readonly token: string
  readonly caFingerprint?: string
  /** Default: the machine's own name. */
  readonly name?: string
  /** What is not given is found out. */
  readonly addresses?: Partial<HostFacts['addresses']>
  readonly agentPort?: number
  readonly dataDirectory?: string
}

/** Makes this machine a host of a cluster; see join.ts. */
export async function joinCluster(options: JoinClusterOptions): Promise<{ identity: Identity; isNew: boolean }> {
  const ports = realPorts()
  using _network = ports.network
  const { caFingerprint } = options
  return await join_(ports, {
    managerUrl: options.managerUrl,
    token: options.token,
    ...(caFingerprint === undefined ? {} : { caFingerprint }),
    name: options.name ?? hostname().split('.')[0] ?? 'host',
    addresses: await hostAddresses(ports.processes, options.managerUrl, options.addresses ?? {}),
    agentPort: options.agentPort ?? defaultAgentPort,
    dataDirectory: resolve(options.dataDirectory ?? defaultDataDirectory),
  })
}

/** `holdfast agent join`. */
export async function joinByCommand(manager: string, flags: JoinFlags): Promise<void> {
  if (flags.uplink !== undefined) await changeNetworks(flags.uplink, flags)
  const { identity, isNew } = await joinCluster({
    ...{ managerUrl: manager, token: flags.token, dataDirectory: flags.data, agentPort: Number(flags.port) },
    ...(flags.name === undefined ? {} : { name: flags.name }),
    ...(flags.caFingerprint === undefined ? {} : { caFingerprint: flags.caFingerprint }),
    addresses: {
      ...(flags.address === undefined ? {} : { management: flags.address }),
      ...(flags.storageAddress === undefined ? {} : { storage: flags.storageAddress }),
      ...(flags.guestsAddress === undefined ? {} : { guests: flags.guestsAddress }),
    },
  })
  // A machine that reaches its manager by the changed networks may keep them.
  if (flags.uplink !== undefined && flags.yes === true) await confirmPlan(realPorts(), resolve(flags.run))
  const what = isNew ? 'is now' : 'was already'
  process.stdout.write(`${identity.name} ${what} ${identity.host} of the cluster at ${manager}.\n`)
  process.stdout.write('Start its agent: holdfast agent run (or: systemctl enable --now holdfast-agent)\n')
}

/** `holdfast agent confirm-network`. */
export function confirmNetwork(runDirectory: string): Promise<void> {
  return confirmPlan(realPorts(), resolve(runDirectory))
}

/** Shows what will change, applies it, and asks whether it is to stay; silence takes it back. */
async function changeNetworks(uplink: string, flags: JoinFlags): Promise<void> {
  const ports = realPorts()
  const plan = await readAndPlan(ports.processes, uplink)
  if (plan.summary.length === 0) return
  process.stdout.write(`This changes the machine's networks:\n${plan.summary.map((line) => `  ${line}\n`).join('')}`)
  if (flags.yes !== true && (await ask('Apply? It is taken back unless confirmed. [yes/no] ')) !== 'yes') {
    throw new HoldfastError('cancelled', 'nothing was changed')
  }
  const runDirectory = resolve(flags.run)
  await ports.files.makeDirectory(runDirectory, { mode: 0o711 })
  await applyPlan(ports, plan, runDirectory)
  if (flags.yes === true) return
  const answer = await ask(
    `Applied. Keep it? Without an answer it is taken back in ${confirmWithinSeconds} s. [yes/no] `,
  )
  if (answer !== 'yes') throw new HoldfastError('cancelled', 'the change is taken back within a minute')
  await confirmPlan(ports, runDirectory)
}

async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stdout })
  try {
    return (await terminal.question(question)).trim()
  } finally {
    terminal.close()
  }
}

export type { Finding, SelftestReport }

/** Ports that each role listens on. */
const rolePorts = {
  agent: [{ port: defaultAgentPort, use: 'agent' }],
  manager: [{ port: 7443, use: 'manager' }],
  // Its hosts have networks of their own.
  lab: [],
} satisfies Record<DiagnosedRole, { port: number; use: string }[]>

/** `holdfast doctor`: looks at this machine and tells each finding as it comes. Changes nothing that outlives the look. */
export async function diagnose(role: DiagnosedRole, onFinding: (finding: Finding) => void): Promise<Finding[]> {
  const [{ diagnose: look }, { qemuHypervisor }] = await Promise.all([
    import('./diagnose/diagnose.ts'),
    import('../hypervisor/qemu-hypervisor.ts'),
  ])
  const ports = realPorts()
  using _network = ports.network
  const folder = join(tmpdir(), `holdfast-doctor-${ports.random.uuid()}`)
  await ports.files.makeDirectory(folder, { mode: 0o700 })
  try {
    const settings = {
      ...{ role, isRoot: process.getuid?.() === 0, dataFolder: '/var/lib/holdfast', ports: rolePorts[role] },
      programFolder: resolve(import.meta.dirname, '../..'),
      accelerator: () => qemuHypervisor(ports, { probeFile: join(folder, 'kvm-probe.json') }).facts(),
    }
    return await look(ports, settings, onFinding)
  } finally {
    await ports.files.remove(folder)
  }
}

export interface SelftestFlags {
  readonly takeovers: number
  readonly tracker: TrackerKind | undefined
  readonly dataDirectory: string
  readonly onBegin: SelftestOptions['onBegin']
  readonly onProgress: SelftestOptions['onProgress']
}

/** `holdfast ft selftest`: see start-selftest.ts. */
export async function selftest(flags: SelftestFlags, signal: AbortSignal): Promise<SelftestReport> {
  const [{ startSelftest }, { qemuHypervisor }] = await Promise.all([
    import('./protect/selftest/start-selftest.ts'),
    import('../hypervisor/qemu-hypervisor.ts'),
  ])
  const ports = realPorts()
  using _network = ports.network
  const dataDirectory = resolve(flags.dataDirectory)
  const hypervisor = qemuHypervisor(ports, { probeFile: join(dataDirectory, 'kvm-probe.json') })
  const options = {
    ...{ ...flags, dataDirectory, isRoot: process.getuid?.() === 0 },
    folder: join(tmpdir(), `holdfast-ft-${ports.random.uuid().slice(0, 8)}`),
    program: [process.execPath, join(import.meta.dirname, 'protect/selftest/main.ts')] as const,
  }
  return await startSelftest({ ...ports, hypervisor }, options, signal)
}
