/** Hosts for tests of the manager: agents that do at once what they are told, and reports that say so. */
import { Duplex, PassThrough, type Readable } from 'node:stream'
import { HoldfastError } from '../../../base/errors.ts'
import type { HostId, VmId } from '../../../base/ids.ts'
import type { AgentApi, JobRequest, JobStatus } from '../../../contracts/agent-api.ts'
import type { HostFacts, HostReport, VmObservation } from '../../../contracts/host.ts'
import type { ReportResponse, TransitionRequest, TransitionResponse } from '../../../contracts/manager-api.ts'

/** How a fake host reaches its manager. */
export interface FakeLine {
  report(report: HostReport): Promise<ReportResponse>
  transition(request: TransitionRequest): Promise<TransitionResponse>
}

const gib = 1024 ** 3

export class FakeHost {
  readonly id: HostId
  readonly line: FakeLine
  readonly vms = new Map<VmId, VmObservation>()
  readonly uploads = new Map<string, Buffer>()
  readonly jobs: JobRequest[] = []
  readonly #lines = new Set<Duplex>()
  /** The configuration that the manager has told this host to have. */
  configuration: ReportResponse['configuration'] = null
  #sequence = 0

  constructor(id: HostId, line: FakeLine) {
    this.id = id
    this.line = line
  }

  /** Reports, takes the configuration over that comes back, and reports again when there was one. */
  async report(): Promise<void> {
    const answer = await this.line.report(this.#reportNow())
    if (answer.configuration === null) return
    this.configuration = answer.configuration
    await this.line.report(this.#reportNow())
  }

  #reportNow(): HostReport {
    const { configuration } = this
    return {
      ...{ host: this.id, session: `${this.id}-session`, sequence: ++this.#sequence, facts: fakeFacts(this.id) },
      ...{ sentAt: new Date(0).toISOString(), load: { load1: 0.1, cpuUsed: 0.1, memoryUsedMiB: 100 }, jobs: [] },
      vms: [...this.vms.values()],
      datastores: (configuration?.datastores ?? []).map(({ datastore, path }) => ({
        ...{ datastore, path, isUsable: true, problem: null, totalBytes: 100 * gib, freeBytes: 50 * gib },
      })),
      networks: (configuration?.networks ?? []).map(({ network, mtu }) => ({
        ...{ network, bridge: `hf-${network}`, isUp: true, problem: null, mtu },
      })),
      configurationDigest: configuration?.digest ?? '',
    }
  }

  #seen(vm: VmId, process: VmObservation['process'], generation: number): VmObservation {
    const seen: VmObservation = {
      ...{ vm, process, generation, discarded: null, problem: null, outOfSpace: false, startedAt: null },
      ...{ cpuSeconds: 1, rssMiB: 64 },
    }
    if (process === 'none') this.vms.delete(vm)
    else this.vms.set(vm, seen)
    return seen
  }

  async #move(vm: VmId, generation: number, event: TransitionRequest['event']): Promise<number> {
    const cause = event === 'stopped' ? 'asked' : null
    const attempt = `${vm}-${generation}-${event}`
    const answer = await this.line.transition({ vm, generation, event, cause, attempt })
    return answer.record.generation
  }

  get agent(): AgentApi {
    const no = async (): Promise<never> => {
      throw new HoldfastError('host-error', 'this fake host cannot do that')
    }
    return {
      ...{ prepareIncoming: no, discardIncoming: no, releaseIncoming: no, settle: no },
      prepareSecond: no,
      discardSecond: async (vm) => this.vms.get(vm) ?? this.#seen(vm, 'none', 0),
      unprotect: async (vm, { generation }) => this.#seen(vm, 'running', await this.#move(vm, generation, 'alone')),
      changeArbiter: no,
      ...{ arbiterLife: no, arbiterOpen: no, arbiterClaim: no, arbiterLook: no, arbiterSupersede: no },
      report: async () => this.#reportNow(),
      configure: async (configuration) => {
        this.configuration = configuration
      },
      observe: async (vm) => this.vms.get(vm) ?? this.#seen(vm, 'none', 0),
      start: async ({ vm, generation }) => this.#seen(vm, 'running', await this.#move(vm, generation, 'started')),
      stop: async (vm, { generation }) => this.#seen(vm, 'none', await this.#move(vm, generation, 'stopped')),
      signal: async (vm, { signal, generation }) =>
        this.#seen(vm, signal === 'pause' ? 'paused' : 'running', generation),
      probe: async () => ({ isReady: true, problem: null }),
      startJob: async (request) => this.#job(request),
      job: async (id) => doneJob(id, null),
      cancelJob: async (id) => doneJob(id, null),
      upload: async (id, _datastore, offset, body) => this.#append(id, offset, body),
      uploadStatus: async (id) => ({ offset: this.uploads.get(id)?.length ?? 0 }),
      screenshot: async () => Buffer.from('89504e470d0a1a0a', 'hex'),
      serialTail: async () => ({ base64: '' }),
      console: async (vm) => {
        const line = echo(`${this.id}:${vm}> `)
        this.#lines.add(line)
        return line
      },
      deleteDisk: async () => undefined,
      deleteImage: async () => undefined,
      startUpgrade: no,
      tellRecord: async () => undefined,
    }
  }

  /** Ends every console, as when QEMU ends. */
  hangUp(): void {
    for (const line of this.#lines) line.destroy()
    this.#lines.clear()
  }

  #job(request: JobRequest): JobStatus {
    this.jobs.push(request)
    const isImport = request.work.kind === 'import-image'
    const facts = { format: 'qcow2', virtualBytes: 1024, fileBytes: 512, sha256: 'a'.repeat(64) }
    return doneJob(request.id, isImport ? facts : {})
  }

  async #append(id: string, offset: number, body: Readable): Promise<{ offset: number }> {
    const before = this.uploads.get(id) ?? Buffer.alloc(0)
    if (offset !== before.length) {
      throw new HoldfastError('conflict', 'the offset is not the end', { offset: before.length })
    }
    const chunks: Buffer[] = [before]
    for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk)
    const all = Buffer.concat(chunks)
    this.uploads.set(id, all)
    return { offset: all.length }
  }
}

/** A line on which a guest greets with its host and says back what it is told. */
function echo(greeting: string): Duplex {
  const [toGuest, fromGuest] = [new PassThrough(), new PassThrough()]
  fromGuest.write(greeting)
  toGuest.pipe(fromGuest)
  return Duplex.from({ readable: fromGuest, writable: toGuest })
}

function doneJob(id: string, result: Record<string, unknown> | null): JobStatus {
  const progress = {
    fraction: 1,
    phase: 'done',
    doneBytes: 1,
    totalBytes: 1,
    bytesPerSecond: 0,
    dirtyBytesPerSecond: 0,
  }
  return { id, state: 'done', progress: { ...progress, remainingSeconds: 0 }, result, problem: null }
}

export function fakeFacts(name: string): HostFacts {
  return {
    ...{ hostname: name, agentVersion: '0.1.0', kernel: '6.1', memoryMiB: 8192, foreignVms: [] },
    cpu: { model: 'Test CPU', cores: 4, flags: ['sse4_2', 'popcnt', 'aes', 'cx16', 'lahf_lm', 'ssse3', 'sse4_1'] },
    accelerator: { kind: 'tcg', reason: 'a test' },
    qemu: {
      version: '10.0.2',
      machineTypes: ['pc-i440fx-7.2', 'pc-i440fx-10.0', 'pc-q35-7.2', 'pc-q35-10.0'],
      cpuModels: ['qemu64', 'x86-64-v2', 'x86-64-v2-AES', 'Nehalem', 'Westmere', 'max'],
    },
    addresses: { management: '127.0.0.1', storage: '127.0.0.1', guests: '127.0.0.1' },
  }
}
