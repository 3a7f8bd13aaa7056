/** Test code: the agent of one host in memory. It keeps the rules of run records as the real one does. */
import assert from 'node:assert/strict'
import { HoldfastError } from '../../base/errors.ts'
import type { DatastoreId, DiskId, HostId, VmId } from '../../base/ids.ts'
import type {
  AgentApi,
  ChangeArbiterRequest,
  JobProgress,
  JobRequest,
  JobStatus,
  MigrateOutcome,
  PrepareIncomingRequest,
  PrepareSecondRequest,
  SettleRequest,
  UnprotectRequest,
  VmDeployment,
} from '../../contracts/agent-api.ts'
import type { VmObservation } from '../../contracts/host.ts'
import type { ArbiterAskRequest, RegisterAnswer } from '../../contracts/protection.ts'
import type { TransitionRequest } from '../../contracts/manager-api.ts'
import type { AgentRunEvent, RunRecord, StopCause } from '../../contracts/run-record.ts'
import { answerTransition } from './run-records.ts'
import type { FakeAgents } from './fake-agents.ts'
import { falseWhenUnreachable, FakePairs } from './fake-pairs.ts'
import { emptyFakeVm, type FakeVm } from './fake-vm.ts'

interface FakeJob {
  readonly request: JobRequest
  readonly readyAt: number
  status: JobStatus
}

const noProgress: JobProgress = {
  fraction: 0,
  phase: 'work',
  doneBytes: 0,
  totalBytes: 0,
  bytesPerSecond: 0,
  dirtyBytesPerSecond: 0,
  remainingSeconds: null,
}

/** How long fake work takes, milliseconds of virtual time. */
const workMs = 200

export class FakeAgent implements Pick<AgentApi, 'observe'> {
  readonly id: HostId
  isUp = true
  /** Where the disks are that were moved under their guests; no restart of the agent forgets it. */
  readonly diskPlaces = new Map<string, string>()
  readonly pairs: FakePairs
  readonly #world: FakeAgents
  readonly #vms = new Map<VmId, FakeVm>()
  readonly #jobs = new Map<string, FakeJob>()
  #attempts = 0

  constructor(world: FakeAgents, id: HostId) {
    this.#world = world
    this.id = id
    this.pairs = new FakePairs(world, this)
  }

  /** This agent as the manager has it. What sagas never call is not there. */
  asApi(): AgentApi {
    return this as unknown as AgentApi
  }

  vm(id: VmId): FakeVm {
    const vm = this.#vms.get(id) ?? emptyFakeVm()
    this.#vms.set(id, vm)
    return vm
  }

  /** The agent dies with all that runs on the host; its files stay. */
  crash(): void {
    this.isUp = false
    this.#jobs.clear()
    for (const vm of this.#vms.values()) {
      vm.hasVanished = vm.incoming !== null && vm.process !== 'none'
      vm.process = 'none'
      vm.second = null
    }
  }

  /** The agent comes back and compares what it finds with the records. */
  async boot(): Promise<void> {
    this.isUp = true
    for (const [id, vm] of this.#vms) {
      const run = await this.record(id)
      if (run?.phase === 'running' && run.host === this.id && vm.process === 'none') await this.#isGone(id)
    }
  }

  /** The guest of a VM that this host is to run is gone: said when this side is the one that may say it. */
  async #isGone(id: VmId): Promise<void> {
    if (await this.pairs.mayGoOn(id).catch(falseWhenUnreachable)) await this.move(id, 'stopped', 'crashed')
  }

  async reached(): Promise<void> {
    await Promise.resolve()
    if (!this.isUp) throw new HoldfastError('unreachable', `${this.id} does not answer`)
    await this.#world.advance()
  }

  async record(vm: VmId): Promise<RunRecord | undefined> {
    return (await this.#world.store.get('run', vm))?.value.run
  }

  async move(
    vm: VmId,
    event: AgentRunEvent,
    cause: StopCause | null = null,
    more: Partial<Pick<TransitionRequest, 'generation' | 'decides'>> = {},
  ): Promise<boolean> {
    const run = await this.record(vm)
    if (run === undefined) return false
    const attempt = `${this.id}-${++this.#attempts}`
    const request = { vm, event, cause, attempt, generation: run.generation, ...more }
    const answer = await answerTransition(this.#world, this.id, request)
    this.vm(vm).generation = Math.max(this.vm(vm).generation, answer.record.generation)
    return answer.isAccepted
  }

  run(id: VmId): void {
    const elsewhere = this.#world.runningOn(id).filter((host) => host !== this.id)
    assert.deepEqual(elsewhere, [], `${id} would run on ${this.id} and on ${elsewhere.join()}`)
    this.vm(id).process = 'running'
  }

  refuseOlder(vm: VmId, generation: number): void {
    if (generation < this.vm(vm).generation) {
      throw new HoldfastError('stale-generation', `${generation} is older than ${this.vm(vm).generation}`)
    }
  }

  seen(id: VmId): VmObservation {
    const { process, generation, discarded, resets } = this.vm(id)
    const counted = { upMs: 600_000, silentMs: 90_000, idleMs: 90_000, isPanicked: false }
    const guest = { boot: `boot-${resets}`, agent: 'silent' as const, ...counted }
    const rest = { problem: null, outOfSpace: false, startedAt: null, cpuSeconds: 0, rssMiB: 0 }
    return { vm: id, process, generation, discarded, ...rest, guest }
  }

  needFiles(deployment: VmDeployment): void {
    const { disks, nvram } = deployment.spec
    for (const { disk, datastore } of [...disks, ...(nvram === null ? [] : [nvram])]) {
      if (!this.#world.files.has(`${datastore}/${disk}`)) {
        throw new HoldfastError('hypervisor-error', `there is no ${disk} on ${datastore}`)
      }
    }
  }

  /** What its report says of VMs. */
  get observations(): VmObservation[] {
    return [...this.#vms.keys()].map((id) => this.seen(id)).filter(({ process }) => process !== 'none')
  }

  async observe(vm: VmId): Promise<VmObservation> {
    await this.reached()
    return this.seen(vm)
  }

  async start(deployment: VmDeployment): Promise<VmObservation> {
    await this.reached()
    const { vm: id, generation } = deployment
    const vm = this.vm(id)
    if (vm.process === 'running' && vm.deployment?.generation === generation) return this.seen(id)
    this.refuseOlder(id, generation)
    this.needFiles(deployment)
    vm.deployment = deployment
    vm.generation = generation
    if (!(await this.move(id, 'started', null, { generation }))) {
      throw new HoldfastError('stale-generation', 'the record does not permit the start')
    }
    this.run(id)
    return this.seen(id)
  }

  async stop(id: VmId, request: { generation: number; how: 'off' | 'acpi' }): Promise<VmObservation> {
    await this.reached()
    const vm = this.vm(id)
    if (vm.process === 'none') return this.seen(id)
    this.refuseOlder(id, request.generation)
    if (vm.process !== 'running' && vm.process !== 'paused') {
      throw new HoldfastError('wrong-state', `it is ${vm.process}`)
    }
    vm.process = 'none'
    await this.move(id, 'stopped', request.how === 'off' ? 'asked' : 'guest-shutdown')
    return this.seen(id)
  }

  async signal(id: VmId, request: { generation: number; signal: string }): Promise<VmObservation> {
    await this.reached()
    this.refuseOlder(id, request.generation)
    const vm = this.vm(id)
    if (request.signal === 'pause') vm.process = 'paused'
    if (request.signal === 'resume') vm.process = 'running'
    if (request.signal === 'reset') vm.resets++
    return this.seen(id)
  }

  async screenshot(): Promise<Uint8Array> {
    await this.reached()
    return Buffer.from('PNG')
  }

  async serialTail(): Promise<{ base64: string }> {
    await this.reached()
    return { base64: Buffer.from('its last words').toString('base64') }
  }

  async prepareIncoming(request: PrepareIncomingRequest): Promise<unknown> {
    await this.reached()
    const { vm: id, generation } = request.deployment
    this.refuseOlder(id, generation)
    const [vm, run] = [this.vm(id), await this.record(id)]
    if (run?.phase !== 'moving' || run.target !== this.id || run.generation !== generation) {
      throw new HoldfastError('stale-generation', 'the record does not permit the arrival')
    }
    if (vm.discarded !== null && vm.discarded >= generation) throw new HoldfastError('wrong-state', 'discarded already')
    for (const { disk, to } of request.movingDisks) this.#world.files.add(`${to}/${disk}`)
    this.needFiles(request.deployment)
    Object.assign(vm, {
      process: 'incoming',
      hasVanished: false,
      incoming: request,
      deployment: request.deployment,
      generation,
    })
    return { host: this.id, port: 1, tlsName: this.id, nbdPort: null, exports: [] }
  }

  async discardIncoming(id: VmId, generation: number): Promise<unknown> {
    await this.reached()
    const vm = this.vm(id)
    if (vm.process === 'running' && vm.incoming !== null) return { outcome: 'running', observation: this.seen(id) }
    if (vm.hasVanished) return { outcome: 'gone', observation: this.seen(id) }
    vm.process = 'none'
    vm.discarded = generation
    for (const { disk, to } of vm.incoming?.movingDisks ?? []) this.#world.files.delete(`${to}/${disk}`)
    vm.incoming = null
    return { outcome: 'discarded', observation: this.seen(id) }
  }

  async releaseIncoming(id: VmId): Promise<VmObservation> {
    await this.reached()
    if (this.vm(id).process === 'incoming-complete') await this.#arrive(id)
    return this.seen(id)
  }

  async #arrive(id: VmId): Promise<void> {
    this.run(id)
    await this.move(id, 'arrived')
    this.vm(id).incoming = null
  }

  async settle(id: VmId, request: SettleRequest): Promise<VmObservation> {
    await this.reached()
    const [vm, run] = [this.vm(id), await this.record(id)]
    if (request.verdict === 'release') {
      if (run?.host === this.id && run.phase !== 'stopped')
        throw new HoldfastError('wrong-state', 'it is this host that runs it')
      vm.process = 'none'
      for (const { disk, from } of request.movedDisks) this.#world.files.delete(`${from}/${disk}`)
      return this.seen(id)
    }
    if (run?.phase !== 'moving' || run.host !== this.id) return this.seen(id)
    if (vm.process === 'sent' && !request.targetDiscarded) throw new HoldfastError('wrong-state', 'it was sent')
    if (vm.process === 'none') throw new HoldfastError('wrong-state', 'nothing is here')
    for (const job of this.#jobs.values()) if (job.request.work.kind === 'migrate-out') this.#endJob(job, 'cancelled')
    if (await this.move(id, 'returned')) this.run(id)
    return this.seen(id)
  }

  async tellRecord(record: RunRecord): Promise<void> {
    await this.reached()
    const vm = this.vm(record.vm)
    vm.generation = Math.max(vm.generation, record.generation)
    const isMine = [record.host, record.target, record.protection?.second].includes(this.id)
    if (record.phase === 'stopped' || (record.phase === 'running' && !isMine)) vm.process = 'none'
    if (record.phase === 'running' && record.host === this.id && vm.process === 'none') await this.#isGone(record.vm)
  }

  prepareSecond(request: PrepareSecondRequest): Promise<unknown> {
    return this.pairs.prepareSecond(request)
  }

  discardSecond(id: VmId, n: number): Promise<VmObservation> {
    return this.pairs.discardSecond(id, n)
  }

  unprotect(id: VmId, request: UnprotectRequest): Promise<VmObservation> {
    return this.pairs.unprotect(id, request)
  }

  changeArbiter(id: VmId, request: ChangeArbiterRequest): Promise<VmObservation> {
    return this.pairs.changeArbiter(id, request)
  }

  arbiterClaim(request: ArbiterAskRequest): Promise<RegisterAnswer> {
    return this.pairs.claimHere(request)
  }

  arbiterLook(request: ArbiterAskRequest): Promise<RegisterAnswer> {
    return this.pairs.lookHere(request)
  }

  async deleteDisk(disk: DiskId, datastore: DatastoreId): Promise<void> {
    await this.reached()
    this.#world.files.delete(`${datastore}/${disk}`)
  }

  async deleteImage(image: string, datastore: DatastoreId): Promise<void> {
    await this.reached()
    this.#world.files.delete(`${datastore}/${image}`)
  }

  async startJob(request: JobRequest): Promise<JobStatus> {
    await this.reached()
    const known = this.#jobs.get(request.id)
    if (known !== undefined) return known.status
    const { work } = request
    if (this.#world.failingWork.delete(work.kind)) throw new HoldfastError('no-space', 'the datastore is full')
    if (work.kind === 'migrate-out') {
      this.refuseOlder(work.vm, work.request.generation)
      if (this.vm(work.vm).process !== 'running') throw new HoldfastError('wrong-state', 'it does not run here')
      this.vm(work.vm).process = 'outgoing'
    }
    const status: JobStatus = { id: request.id, state: 'running', progress: noProgress, result: null, problem: null }
    if (work.kind === 'protect') await this.pairs.mayBegin(work.vm, work.request)
    const job = { request, readyAt: this.#world.clock.monotonic() + workMs, status }
    this.#jobs.set(request.id, job)
    return status
  }

  async job(id: string): Promise<JobStatus> {
    await this.reached()
    const job = this.#jobs.get(id)
    if (job === undefined) throw new HoldfastError('not-found', `there is no job ${id}`)
    return job.status
  }

  async cancelJob(id: string): Promise<JobStatus> {
    await this.reached()
    const job = this.#jobs.get(id)
    if (job === undefined) throw new HoldfastError('not-found', `there is no job ${id}`)
    if (job.status.state !== 'running') return job.status
    this.#endJob(job, 'cancelled')
    const { work } = job.request
    if (work.kind === 'migrate-out') {
      this.#setOutcome(job, 'not-sent')
      await this.#comeBack(work.vm)
    }
    return job.status
  }

  async advance(): Promise<void> {
    await this.pairs.watchOver(this.#vms.keys())
    for (const job of this.#jobs.values()) {
      if (job.status.state !== 'running' || this.#world.clock.monotonic() < job.readyAt) continue
      const { work } = job.request
      this.#endJob(job, 'done')
      if (work.kind === 'create-disk' || work.kind === 'create-nvram')
        this.#world.files.add(`${work.datastore}/${work.disk}`)
      if (work.kind === 'copy-disk') this.#world.files.add(`${work.to}/${work.disk}`)
      if (work.kind === 'move-disk') this.#moveDisk(job)
      if (work.kind === 'import-image') this.#importImage(job)
      if (work.kind === 'migrate-out') await this.#send(job, work.vm)
      if (work.kind === 'protect' && !(await this.pairs.begin(work.vm, work.request))) this.#fail(job)
      if (this.#world.forgottenWork.delete(work.kind)) this.#jobs.delete(job.request.id)
    }
  }

  #moveDisk(job: FakeJob): void {
    const { work } = job.request
    if (work.kind !== 'move-disk') return
    const { disk, to } = work.moving
    if (work.settleOnly !== true) {
      this.#world.files.add(`${to}/${disk}`)
      this.diskPlaces.set(disk, to)
    }
    job.status = { ...job.status, result: { isMoved: this.diskPlaces.get(disk) === to } }
  }

  #importImage(job: FakeJob): void {
    const { work } = job.request
    if (work.kind !== 'import-image') return
    this.#world.files.add(`${work.datastore}/${work.image}`)
    const result = { format: 'qcow2', virtualBytes: 1024, fileBytes: 512, sha256: 'a'.repeat(64) }
    job.status = { ...job.status, result }
  }

  async #send(job: FakeJob, id: VmId): Promise<void> {
    const run = await this.record(id)
    const target = run?.target === null || run === undefined ? undefined : this.#world.agent(run.target)
    if (target?.isUp !== true || target.vm(id).process !== 'incoming') {
      this.#setOutcome(job, 'not-sent')
      return this.#comeBack(id)
    }
    this.vm(id).process = 'sent'
    this.#setOutcome(job, 'sent')
    target.vm(id).process = 'incoming-complete'
    if (target.vm(id).incoming?.runWhen === 'complete') await target.#arrive(id)
  }

  async #comeBack(id: VmId): Promise<void> {
    this.vm(id).process = 'running'
    await this.move(id, 'returned')
  }

  #endJob(job: FakeJob, state: 'done' | 'cancelled'): void {
    if (job.status.state !== 'running') return
    job.status = { ...job.status, state, progress: { ...noProgress, fraction: 1 } }
  }

  #fail(job: FakeJob): void {
    job.status = { ...job.status, state: 'failed', problem: { code: 'host-error', detail: 'the second is not there' } }
  }

  #setOutcome(job: FakeJob, outcome: MigrateOutcome['outcome']): void {
    const result: MigrateOutcome = {
      outcome,
      reason: null,
      totalMs: workMs,
      downtimeMs: 5,
      ramBytes: 100,
      diskBytes: 0,
    }
    job.status = { ...job.status, result }
  }
}
