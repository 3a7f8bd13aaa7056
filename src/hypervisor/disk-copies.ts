/**
 * Copies of a running machine's disks on another host, which follow them: of a move, or of the second copy of a protected VM.
 * When the guest stands still they are let go whole (`finish`), and who goes on with them is the caller's matter.
 */
import type { Clock } from '../base/clock.ts'
import { HoldfastError } from '../base/errors.ts'
import type { Processes } from '../base/processes.ts'
import { diskNode } from './command-line.ts'
import {
  abandonCopy,
  finishCopy,
  MirrorWatch,
  nodeOfDevice,
  startMirror,
  type MirrorJob,
  type MirrorProgress,
} from './disk-mirror.ts'
import { withoutHanging } from './handshake-guard.ts'
import type { QemuFeatures } from './qemu-version.ts'
import type { Qmp } from './qmp.ts'
import { stallMs, StallWatch } from './stall-watch.ts'

export interface CopyTarget {
  readonly host: string
  readonly port: number
  /** TLS credentials of this QEMU, and the name that the other side's certificate must bear; null: no TLS. */
  readonly tls: { readonly creds: string; readonly name: string } | null
  readonly exports: readonly { readonly key: number; readonly name: string }[]
  /** Bytes per second; null: as fast as it goes. */
  readonly maxBandwidth: number | null
}

export interface CopyDeps {
  readonly qmp: Qmp
  readonly features: QemuFeatures
  readonly clock: Clock
  readonly processes: Processes
}

/** Names that nothing else in a QEMU bears, so that what a killed owner has left is known. */
const [jobPrefix, targetPrefix] = ['mirror-', 'mirror-target-']
const pollMs = 200

export class DiskCopies {
  readonly #qmp: Qmp
  readonly #jobs: readonly MirrorJob[]
  readonly #watch: MirrorWatch
  #isOpen = true

  private constructor(qmp: Qmp, jobs: readonly MirrorJob[]) {
    this.#qmp = qmp
    this.#jobs = jobs
    this.#watch = new MirrorWatch(qmp, jobs)
  }

  /**
   * Resolves when the copies follow the disks. Rejects with the signal's reason, or `unreachable` when the other side takes
   * nothing any more; nothing of them is left then.
   */
  static async make(
    deps: CopyDeps,
    target: CopyTarget,
    onProgress: (progress: MirrorProgress) => void,
    signal: AbortSignal,
  ): Promise<DiskCopies> {
    const { qmp, features, clock } = deps
    const jobs = target.exports.map(({ key }) => ({ job: `${jobPrefix}${key}`, target: `${targetPrefix}${key}` }))
    const copies = new DiskCopies(qmp, jobs)
    const stall = new StallWatch(clock)
    const watch = (progress: MirrorProgress): void => {
      onProgress(progress)
      if (stall.isQuietFor(progress.doneBytes, stallMs))
        throw new HoldfastError('unreachable', 'the target takes nothing of the disks any more')
    }
    try {
      await copies.#start(deps, target)
      await copies.#watch.untilReady(clock, features, watch, signal)
      return copies
    } catch (thrown) {
      await copies.abandon()
      throw thrown
    }
  }

  async #start(deps: CopyDeps, { host, port, tls, exports, maxBandwidth }: CopyTarget): Promise<void> {
    const { qmp, features } = deps
    for (const [at, { key, name }] of exports.entries()) {
      const job = this.#jobs[at]
      if (job === undefined) continue
      const node = await nodeOfDevice(qmp, diskNode(key))
      const added = qmp.execute('blockdev-add', {
        ...{ driver: 'nbd', 'node-name': job.target, server: { type: 'inet', host, port: String(port) }, export: name },
        discard: 'unmap',
        ...(tls === null ? {} : { 'tls-creds': tls.creds, 'tls-hostname': tls.name }),
      })
      await withoutHanging(deps, { host, port }, added)
      await startMirror(qmp, features, { ...job, node, maxBandwidth })
    }
  }

  /** While the guest stands still: each copy is whole and flushed when this resolves, and follows no more. */
  async finish(): Promise<void> {
    if (!this.#isOpen) return
    for (const job of this.#jobs) await finishCopy(this.#qmp, this.#watch, job)
    this.#close()
  }

  /** Gives up what is not finished. Never rejects. */
  async abandon(): Promise<void> {
    if (!this.#isOpen) return
    if (this.#qmp.isOpen) for (const job of this.#jobs) await abandonCopy(this.#qmp, this.#watch, job)
    this.#close()
  }

  #close(): void {
    this.#isOpen = false
    this.#watch[Symbol.dispose]()
  }
}

/** Gives up the copies that an owner has left who is no more. */
export async function abandonLeftCopies(qmp: Qmp, clock: Clock): Promise<void> {
  interface Named {
    readonly device?: string
    readonly 'node-name'?: string
  }
  for (;;) {
    const jobs = (await qmp.execute<readonly Named[]>('query-block-jobs')).filter(
      ({ device }) => device?.startsWith(jobPrefix) === true,
    )
    if (jobs.length === 0) break
    for (const { device } of jobs) await qmp.execute('block-job-cancel', { device, force: true }).catch(() => undefined)
    await clock.sleep(pollMs)
  }
  const nodes = await qmp.execute<readonly Named[]>('query-named-block-nodes', { flat: true })
  for (const { 'node-name': node } of nodes) {
    if (node?.startsWith(targetPrefix) === true) await qmp.execute('blockdev-del', { 'node-name': node })
  }
}
