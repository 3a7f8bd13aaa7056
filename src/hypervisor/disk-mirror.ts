/** Copies a running guest's disks while it writes to them (blockdev-mirror), and follows the copies. */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import { diskNode } from './command-line.ts'
import type { QemuFeatures } from './qemu-version.ts'
import type { Qmp, QmpEvent } from './qmp.ts'

export interface MirrorJob {
  readonly job: string
  /** Node that the copy goes to. */
  readonly target: string
}

interface BlockJob {
  readonly device: string
  readonly len: number
  readonly offset: number
  readonly ready: boolean
  readonly 'io-status': string
}

export interface MirrorProgress {
  readonly doneBytes: number
  readonly totalBytes: number
}

const pollMs = 200
/** UEFI's variables are on the board's second flash, which bears no name of ours. */
const variablesDevice = '/machine/system.flash1'
const nvramKey = 0

/** The node that a disk's device reads and writes now; it changes with `moveDisk`. */
export async function nodeOfDevice(qmp: Qmp, deviceId: string): Promise<string> {
  interface BlockDevice {
    readonly qdev?: string
    readonly inserted?: { readonly 'node-name'?: string }
  }
  const devices = await qmp.execute<readonly BlockDevice[]>('query-block')
  const found = devices.find(
    ({ qdev }) =>
      qdev === deviceId ||
      qdev?.startsWith(`/machine/peripheral/${deviceId}/`) === true ||
      (deviceId === diskNode(nvramKey) && qdev === variablesDevice),
  )
  const node = found?.inserted?.['node-name']
  if (node === undefined) throw new HoldfastError('not-found', `the machine has no disk ${deviceId}`)
  return node
}

/**
 * Starts copying. From `READY` on every write of the guest goes to both sides before it is acknowledged, where QEMU
 * can change to that later; older ones do so from the start, which slows the guest's writes for the whole copy.
 */
export async function startMirror(
  qmp: Qmp,
  features: QemuFeatures,
  mirror: MirrorJob & { node: string; maxBandwidth: number | null },
): Promise<void> {
  await qmp.execute('blockdev-mirror', {
    'job-id': mirror.job,
    device: mirror.node,
    target: mirror.target,
    sync: 'full',
    'copy-mode': features.mirrorChangesCopyMode ? 'background' : 'write-blocking',
    'auto-finalize': true,
    'auto-dismiss': true,
    'on-source-error': 'report',
    'on-target-error': 'report',
    ...(mirror.maxBandwidth === null ? {} : { speed: mirror.maxBandwidth }),
  })
}

/** Follows jobs by their events: each job's end is kept, whoever asks for it and when. */
export class MirrorWatch implements Disposable {
  readonly #qmp: Qmp
  readonly #ends = new Map<string, PromiseWithResolvers<void>>()
  readonly #subscription: Disposable

  constructor(qmp: Qmp, jobs: readonly MirrorJob[]) {
    this.#qmp = qmp
    for (const { job } of jobs) {
      const end = Promise.withResolvers<void>()
      end.promise.catch(() => undefined)
      this.#ends.set(job, end)
    }
    this.#subscription = qmp.onEvent((event) => this.#take(event))
    qmp.closed.then(
      () =>
        this.#ends.forEach((end) => end.reject(new HoldfastError('unreachable', 'QEMU ended while disks were copied'))),
      () => undefined,
    )
  }

  #take({ event, data }: QmpEvent): void {
    const end = this.#ends.get(data['device'] as string)
    if (end === undefined) return
    const error = data['error']
    if (event === 'BLOCK_JOB_COMPLETED' && error === undefined) end.resolve()
    else if (event === 'BLOCK_JOB_COMPLETED')
      end.reject(new HoldfastError('hypervisor-error', `copying a disk failed: ${JSON.stringify(error)}`))
    else if (event === 'BLOCK_JOB_CANCELLED') end.reject(new HoldfastError('cancelled', 'copying a disk was cancelled'))
  }

  /** Resolves when the job has ended well and has let go of both nodes. */
  async ended(job: string): Promise<void> {
    await this.#ends.get(job)?.promise
  }

  /** Resolves when every copy has caught up and stays so. Rejects when one fails, or with the signal's reason. */
  async untilReady(
    clock: Clock,
    features: QemuFeatures,
    onProgress: (progress: MirrorProgress) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const jobs = [...this.#ends.keys()]
    const failed = Promise.all(jobs.map((job) => this.ended(job)))
    failed.catch(() => undefined)
    for (;;) {
      signal.throwIfAborted()
      const all = await this.#qmp.execute<readonly BlockJob[]>('query-block-jobs')
      const ours = all.filter(({ device }) => jobs.includes(device))
      onProgress(sum(ours))
      if (ours.length === jobs.length && ours.every(({ ready }) => ready)) break
      // A job that is not listed has ended, so its promise says why.
      await (ours.length < jobs.length ? failed : Promise.race([clock.sleep(pollMs, signal), failed]))
    }
    if (!features.mirrorChangesCopyMode) return
    for (const job of jobs)
      await this.#qmp.execute('block-job-change', { id: job, type: 'mirror', 'copy-mode': 'write-blocking' })
  }

  [Symbol.dispose](): void {
    this.#subscription[Symbol.dispose]()
  }
}

function sum(jobs: readonly BlockJob[]): MirrorProgress {
  return jobs.reduce(
    (total, { offset, len }) => ({ doneBytes: total.doneBytes + offset, totalBytes: total.totalBytes + len }),
    { doneBytes: 0, totalBytes: 0 },
  )
}

/** Ends a copy that is ready, leaving the target whole and flushed; the guest writes only to its old disk then. */
export async function finishCopy(qmp: Qmp, watch: MirrorWatch, { job, target }: MirrorJob): Promise<void> {
  await qmp.execute('block-job-cancel', { device: job })
  await watch.ended(job)
  await qmp.execute('blockdev-del', { 'node-name': target })
}

/** Gives a copy up, in whatever state it is; never rejects. */
export async function abandonCopy(qmp: Qmp, watch: MirrorWatch, { job, target }: MirrorJob): Promise<void> {
  const isCancelled = await qmp.execute('block-job-cancel', { device: job, force: true }).then(
    () => true,
    () => false,
  )
  if (isCancelled) await watch.ended(job).catch(() => undefined)
  await qmp.execute('blockdev-del', { 'node-name': target }).catch(() => undefined)
}
