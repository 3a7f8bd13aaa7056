/**
 * One host's agent, on ports alone: the real one and the simulated one differ in what they are given. It implements what
 * managers ask of it and tells them what is here.
 */
import { join } from 'node:path'
import type { Duplex, Readable } from 'node:stream'
import { isoTime, type Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { DatastoreId, DiskId, HostId, ImageId, TaskId, VmId } from '../base/ids.ts'
import type { Logger } from '../base/log.ts'
import type { Network } from '../base/network.ts'
import type { Random } from '../base/random.ts'
import type { TcpProbe } from '../base/tcp.ts'
import { mustTakePart, vmOf, type ArbiterAsk } from '../contracts/arbiter-door.ts'
import type {
  ChangeArbiterRequest,
  DiscardResponse,
  HostConfiguration,
  JobRequest,
  JobStatus,
  JobWork,
  PrepareIncomingRequest,
  PrepareIncomingResponse,
  PrepareSecondRequest,
  SettleRequest,
  SignalRequest,
  StopRequest,
  UnprotectRequest,
  VmDeployment,
} from '../contracts/agent-api.ts'
import type { VouchAnswer, VouchRequest, Witness } from '../contracts/host-lease.ts'
import type { HostFacts, HostLoad, HostReport, VmObservation } from '../contracts/host.ts'
import type { UpgradeReport } from '../contracts/host-upgrade.ts'
import type { ManagerApi } from '../contracts/manager-api.ts'
import type {
  ArbiterAskRequest,
  ArbiterOpenRequest,
  ArbiterSupersedeRequest,
  RegisterAnswer,
  SecondEndpoint,
} from '../contracts/protection.ts'
import type { ProbeRequest, ProbeResult } from '../contracts/probe.ts'
import type { RunRecord } from '../contracts/run-record.ts'
import type { Static } from '../contracts/schema.ts'
import type { Hypervisor } from '../hypervisor/hypervisor.ts'
import type { DiskImages } from '../hypervisor/images.ts'
import { ConfigurationFile } from './configuration-file.ts'
import type { ServedAgent } from './http/agent-server.ts'
import type { GuestSigns } from './guest/guest-signs.ts'
import { Monitored, runMonitor } from './guest/monitor-loop.ts'
import { KnownFacts } from './known-facts.ts'
import type { HostNetworks } from './network/host-networks.ts'
import { leaseOf, neighboursOf, type NeighbourCalls } from './lease/parts.ts'
import type { HostLease } from './lease/host-lease.ts'
import type { Neighbours } from './lease/neighbours.ts'
import type { Watchdog } from './lease/watchdog-port.ts'
import { Arbiter } from './protect/arbiter.ts'
import type { Pumps } from './protect/pumps.ts'
import { ReportLoop } from './report-loop.ts'
import type { Datastores } from './storage/datastores.ts'
import type { DiskWork } from './storage/disk-work.ts'
import { importImage, removeImage } from './storage/import-image.ts'
import { JobTable, type JobContext, type JobResult } from './storage/jobs.ts'
import { moveDisk } from './storage/move-disk.ts'
import { Uploads } from './storage/uploads.ts'
import { upgradeWords, type HostUpgrade } from './upgrade/host-upgrade.ts'
import { probeGuest } from './vm/probe.ts'
import { SerialLines } from './vm/serial-lines.ts'
import type { VmPlaces } from './vm/vm-ports.ts'
import { VmStates } from './vm/vm-state.ts'
import { VmTable } from './vm/vm-table.ts'

const sweepEveryMs = 3_600_000
const mostSerialBytes = 64 * 1024

/** That a job began or ended is not urgent: whoever asked for it asks for its end too. */
const jobChangeMs = 300

export interface AgentDeps {
  readonly host: HostId
  readonly clock: Clock
  readonly random: Random
  readonly log: Logger
  readonly files: Files
  readonly network: Network
  readonly tcp: TcpProbe
  readonly hypervisor: Hypervisor
  readonly images: DiskImages
  readonly manager: ManagerApi
  readonly networks: HostNetworks
  readonly places: VmPlaces
  readonly pumps: Pumps
  readonly signs: GuestSigns
  readonly datastores: Datastores
  readonly disks: DiskWork
  /** DATA: what must survive the machine. */
  readonly dataDirectory: string
  readonly allowedImportFolders: readonly string[]
  readonly watchdog: Watchdog
  /** Another host of the cluster. */
  readonly neighbour: (witness: Witness) => NeighbourCalls
  readonly upgrade: HostUpgrade
  readonly facts: () => Promise<HostFacts>
  readonly load: () => Promise<Static<typeof HostLoad>>
}

export class Agent implements ServedAgent, AsyncDisposable {
  readonly #deps: AgentDeps
  readonly #vms: VmTable
  readonly #arbiter: Arbiter
  readonly #jobs: JobTable
  readonly #upgradeWords: ReturnType<typeof upgradeWords>
  readonly #uploads: Uploads
  readonly #lines: SerialLines
  readonly #configuration: ConfigurationFile
  readonly #loop: ReportLoop
  readonly #stop: AbortController
  readonly #session: string
  readonly #facts: KnownFacts
  readonly #lease: HostLease
  readonly #neighbours: Neighbours
  readonly #monitored: Monitored
  #sequence = 0

  private constructor(
    deps: AgentDeps,
    parts: {
      vms: VmTable
      arbiter: Arbiter
      configuration: ConfigurationFile
      stop: AbortController
      loop: ReportLoop
      lease: HostLease
      monitored: Monitored
    },
  ) {
    this.#deps = deps
    this.#vms = parts.vms
    this.#arbiter = parts.arbiter
    this.#configuration = parts.configuration
    this.#loop = parts.loop
    this.#monitored = parts.monitored
    this.#stop = parts.stop
    this.#session = deps.random.uuid()
    this.#lease = parts.lease
    this.#neighbours = neighboursOf(deps, this.#session, parts.stop.signal)
    this.#uploads = new Uploads(deps.files, deps.datastores)
    this.#lines = new SerialLines(deps.clock)
    this.#facts = new KnownFacts(deps.clock, deps.facts)
    this.#upgradeWords = upgradeWords(deps.upgrade, deps.clock)
    this.#jobs = new JobTable({
      clock: deps.clock,
      log: deps.log,
      run: (work, context) => this.#work(work, context),
      onChange: () => this.#loop.nudge(jobChangeMs),
    })
  }

  /** Takes up what is on this host: its last configuration, then its VMs. Reporting begins with `run`. */
  static async open(deps: AgentDeps): Promise<Agent> {
    const stop = new AbortController()
    const loop = new ReportLoop(deps, stop.signal)
    const configuration = new ConfigurationFile(deps.files, deps.dataDirectory)
    const last = await configuration.read()
    if (last !== undefined) {
      await deps.datastores.configure(last.datastores)
      await deps.networks.configure(last.networks, last.leases)
    }
    const lease = await leaseOf(deps, stop.signal)
    const monitored = new Monitored()
    monitored.set(last?.monitored ?? [])
    const arbiter = await Arbiter.open(deps, join(deps.dataDirectory, 'arbiter'))
    const vms = await VmTable.open({
      host: deps.host,
      clock: deps.clock,
      random: deps.random,
      log: deps.log,
      hypervisor: deps.hypervisor,
      manager: deps.manager,
      places: deps.places,
      states: new VmStates(deps.files, deps.dataDirectory),
      pumps: deps.pumps,
      lease,
      monitored,
      onChange: (afterMs) => loop.nudge(afterMs),
      signal: stop.signal,
    })
    return new Agent(deps, { vms, arbiter, configuration, stop, loop, lease, monitored })
  }

  /** Reports to the managers, and clears away what nobody wants any more, until the agent is disposed. Never rejects. */
  run(): Promise<void> {
    // The sleep alone rejects, when the agent ends.
    this.#sweepUploads().catch(() => undefined)
    void this.#lease.watch()
    void this.#neighbours.run()
    runMonitor(this.#deps, this.#monitored, () => this.#vms.keepers(), this.#stop.signal).catch(() => undefined)
    return this.#loop.run({
      report: () => this.report(),
      configure: (configuration) => this.configure(configuration),
      onNewIncarnation: () => this.#vms.refreshAll(),
      onUnknown: (vms) => this.#vms.forget(vms),
      onAnswer: (sentAt, answer) => {
        this.#lease.answered(sentAt, answer.lease)
        this.#neighbours.lookFor(answer.silent ?? [])
      },
    })
  }

  async #sweepUploads(): Promise<void> {
    const { clock, log } = this.#deps
    const { signal } = this.#stop
    for (;;) {
      // Not at once: a host that starts has more urgent work.
      await clock.sleep(sweepEveryMs, signal)
      await this.#uploads
        .sweep(clock.now())
        .catch((err: unknown) => log.warn({ err }, 'old uploads could not be removed yet'))
    }
  }

  async report(): Promise<HostReport> {
    const deps = this.#deps
    const [facts, load, vms, datastores, networks, upgrade] = await Promise.all([
      this.#facts.get(),
      deps.load(),
      this.#vms.observe(),
      deps.datastores.observe(),
      deps.networks.observe(),
      this.#upgradeWords(),
    ])
    return {
      host: deps.host,
      session: this.#session,
      sequence: ++this.#sequence,
      sentAt: isoTime(deps.clock.now()),
      facts,
      load,
      vms,
      datastores,
      networks,
      configurationDigest: this.#configuration.digest,
      jobs: this.#jobs.running(),
      lease: this.#lease.word(),
      neighbours: [...this.#neighbours.looks],
      ...(upgrade === undefined ? {} : { upgrade }),
    }
  }

  async configure(configuration: HostConfiguration): Promise<void> {
    if (configuration.digest === this.#configuration.digest) return
    await this.#configuration.change(configuration, async () => {
      await this.#deps.datastores.configure(configuration.datastores)
      await this.#deps.networks.configure(configuration.networks, configuration.leases)
      await this.#vms.lookAgain(this.#monitored.set(configuration.monitored ?? []))
    })
    this.#loop.nudge()
  }

  async observe(vm: VmId): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).observe()
  }

  async start(deployment: VmDeployment): Promise<VmObservation> {
    await this.#mustNotBeRenewed()
    return (await this.#vms.keeper(deployment.vm)).start(deployment)
  }

  async stop(vm: VmId, request: Static<typeof StopRequest>): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).stop(request)
  }

  async signal(vm: VmId, request: Static<typeof SignalRequest>): Promise<VmObservation> {
    return (await this.#vms.known(vm)).signal(request)
  }

  async prepareIncoming(request: PrepareIncomingRequest): Promise<PrepareIncomingResponse> {
    await this.#mustNotBeRenewed()
    return (await this.#vms.keeper(request.deployment.vm)).prepareIncoming(request)
  }

  async discardIncoming(vm: VmId, generation: number): Promise<DiscardResponse> {
    return (await this.#vms.keeper(vm)).discardIncoming(generation)
  }

  async releaseIncoming(vm: VmId, generation: number): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).releaseIncoming(generation)
  }

  async settle(vm: VmId, request: SettleRequest): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).settle(request)
  }

  async prepareSecond(request: PrepareSecondRequest): Promise<SecondEndpoint> {
    await this.#mustNotBeRenewed()
    return (await this.#vms.keeper(request.deployment.vm)).prepareSecond(request)
  }

  async discardSecond(vm: VmId, n: number): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).discardSecond(n)
  }

  async unprotect(vm: VmId, request: UnprotectRequest): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).unprotect(request)
  }

  async changeArbiter(vm: VmId, request: ChangeArbiterRequest): Promise<VmObservation> {
    return (await this.#vms.keeper(vm)).changeArbiter(request)
  }

  async arbiterLife(): Promise<{ life: string }> {
    return { life: this.#arbiter.life }
  }

  async arbiterOpen({ config, life }: ArbiterOpenRequest): Promise<void> {
    if (config.arbiter !== this.#deps.host) {
      throw new HoldfastError('refused', `${config.arbiter} decides in that configuration, not ${this.#deps.host}`)
    }
    return this.#arbiter.openConfiguration(config, life)
  }

  arbiterClaim({ vm, n, side }: ArbiterAskRequest): Promise<RegisterAnswer> {
    return this.#arbiter.claim(vm, n, side)
  }

  arbiterLook({ vm, n, side }: ArbiterAskRequest): Promise<RegisterAnswer> {
    return this.#arbiter.look(vm, n, side)
  }

  arbiterSupersede({ vm, n, next }: ArbiterSupersedeRequest): Promise<RegisterAnswer> {
    return this.#arbiter.supersede(vm, n, next)
  }

  /** Throws `not-allowed` when this host of the cluster may not ask this of the arbiter here. */
  mustTakePart(host: HostId, asked: ArbiterAsk): void {
    mustTakePart(host, asked, asked.ask === 'life' ? undefined : this.#arbiter.newest(vmOf(asked)))
  }

  vouch(request: VouchRequest): Promise<VouchAnswer> {
    return this.#lease.vouch(request)
  }

  async tellRecord(record: RunRecord): Promise<void> {
    await (await this.#vms.keeper(record.vm)).tellRecord(record)
  }

  async probe(vm: VmId, request: ProbeRequest): Promise<ProbeResult> {
    return probeGuest(this.#deps, (await this.#vms.known(vm)).guestPlace(), request)
  }

  async startJob(request: JobRequest): Promise<JobStatus> {
    return this.#jobs.start(request)
  }

  async job(id: string): Promise<JobStatus> {
    return this.#jobs.status(id)
  }

  async cancelJob(id: string): Promise<JobStatus> {
    return this.#jobs.cancel(id)
  }

  upload(id: string, datastore: DatastoreId, offset: number, body: Readable): Promise<{ offset: number }> {
    return this.#uploads.append(id, datastore, offset, body)
  }

  uploadStatus(id: string, datastore: DatastoreId): Promise<{ offset: number }> {
    return this.#uploads.status(id, datastore)
  }

  async screenshot(vm: VmId): Promise<Uint8Array> {
    return (await this.#vms.known(vm)).machine().screenshot()
  }

  async serialTail(vm: VmId): Promise<{ base64: string }> {
    const tail = await (await this.#vms.known(vm)).machine().serialTail(mostSerialBytes)
    return { base64: Buffer.from(tail).toString('base64') }
  }

  async console(vm: VmId, kind: 'serial' | 'vnc'): Promise<Duplex> {
    const machine = (await this.#vms.known(vm)).machine()
    const { network } = this.#deps
    if (kind === 'vnc') return network.connectUnix(machine.vncSocket)
    return this.#lines.open(vm, () => network.connectUnix(machine.serialSocket))
  }

  deleteDisk(disk: DiskId, datastore: DatastoreId, task?: TaskId): Promise<void> {
    return this.#deps.disks.remove(disk, datastore, task ?? null)
  }

  deleteImage(image: ImageId, datastore: DatastoreId): Promise<void> {
    return removeImage(this.#deps, image, datastore)
  }

  /** Throws `wrong-state` while the program that renews this host runs: it would take QEMU away under a VM. */
  async #mustNotBeRenewed(): Promise<void> {
    if ((await this.#deps.upgrade.report())?.state !== 'running') return
    throw new HoldfastError('wrong-state', 'this host is being renewed: its upgrade program runs')
  }

  async startUpgrade({ task }: { task: TaskId }): Promise<UpgradeReport> {
    // The same again may come when the host is in use already.
    const last = await this.#deps.upgrade.report()
    if (last?.task === task) return last
    const here = (await this.#vms.observe()).filter(({ process }) => process !== 'none')
    if (!this.#configuration.isInMaintenance || here.length > 0) {
      const why = here.length > 0 ? `${here.map(({ vm }) => vm).join(', ')} are here` : 'it is not in maintenance'
      throw new HoldfastError('wrong-state', `this host cannot be renewed now: ${why}`, {
        mend: 'Put it into maintenance first, which moves its VMs away.',
      })
    }
    const started = await this.#deps.upgrade.start(task)
    this.#loop.nudge()
    return started
  }

  /** Ends the agent; VMs, their networks and their DHCP run on. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new HoldfastError('cancelled', 'the agent is ending'))
    await this.#vms[Symbol.asyncDispose]()
  }

  async #work(work: JobWork, context: JobContext): Promise<JobResult> {
    const { disks, files, images, datastores, allowedImportFolders } = this.#deps
    switch (work.kind) {
      case 'create-disk':
        return disks.create(work, context)
      case 'create-nvram':
        return disks.createNvram(work, context)
      case 'copy-disk':
        return disks.copy(work, context)
      case 'move-disk':
        return moveDisk({ disks, datastores, files, keeper: await this.#vms.keeper(work.vm) }, work, context)
      case 'import-image':
        return importImage({ files, images, datastores, allowedFolders: allowedImportFolders }, work, context)
      case 'migrate-out':
        return (await this.#vms.keeper(work.vm)).migrateOut(work.request, context.onProgress, context.signal)
      case 'protect':
        return (await this.#vms.keeper(work.vm)).protect(work.request, context.onProgress, context.signal)
    }
  }
}
