/**
 * Copies of a running machine's disks on another host, as for a move, but nobody switches over: when the copies follow the
 * disks and the guest stands still, they are let go whole (`finish`).
 */
import type { Clock } from '../base/clock.ts'
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
import { addTlsClient } from './migration-settings.ts'
import { featuresOf, versionOf, type QemuVersionReply } from './qemu-version.ts'
import type { Qmp } from './qmp.ts'

export interface CopyTarget {
  readonly host: string
  readonly port: number
  /** Name that the other side's certificate must bear; null: no TLS. */
  readonly tlsName: string | null
  readonly exports: readonly { readonly key: number; readonly name: string }[]
}

interface Deps {
  readonly qmp: Qmp
  readonly clock: Clock
  readonly processes: Processes
  readonly tlsDirectory: string | null
}

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

  /** Resolves when the copies follow the disks. Rejects with the signal's reason; nothing of them is left then. */
  static async make(
    deps: Deps,
    target: CopyTarget,
    onProgress: (progress: MirrorProgress) => void,
    signal: AbortSignal,
  ): Promise<DiskCopies> {
    const { qmp, clock } = deps
    const features = featuresOf(versionOf(await qmp.execute<QemuVersionReply>('query-version')))
    const jobs = target.exports.map(({ key }) => ({ job: `second-${key}`, target: `${diskNode(key)}-second` }))
    const copies = new DiskCopies(qmp, jobs)
    try {
      await copies.#start(deps, target, features)
      await copies.#watch.untilReady(clock, features, onProgress, signal)
      return copies
    } catch (thrown) {
      await copies.abandon()
      throw thrown
    }
  }

  async #start(deps: Deps, target: CopyTarget, features: ReturnType<typeof featuresOf>): Promise<void> {
    const { qmp, tlsDirectory } = deps
    const { host, port, tlsName, exports } = target
    const creds = tlsName === null || tlsDirectory === null ? null : await addTlsClient(qmp, tlsDirectory)
    for (const [at, { key, name }] of exports.entries()) {
      const job = this.#jobs[at]
      if (job === undefined) continue
      const node = await nodeOfDevice(qmp, diskNode(key))
      const added = qmp.execute('blockdev-add', {
        ...{ driver: 'nbd', 'node-name': job.target, server: { type: 'inet', host, port: String(port) }, export: name },
        discard: 'unmap',
        ...(creds === null ? {} : { 'tls-creds': creds, 'tls-hostname': tlsName }),
      })
      await withoutHanging(deps, { host, port }, added)
      await startMirror(qmp, features, { ...job, node, maxBandwidth: null })
    }
  }

  /** While the guest stands still: each copy is whole and flushed when this resolves, and follows no more. */
  async finish(): Promise<void> {
    for (const job of this.#jobs) await finishCopy(this.#qmp, this.#watch, job)
    this.#close()
  }

  /** Gives up what is not finished. Never rejects. */
  async abandon(): Promise<void> {
    if (!this.#isOpen) return
    for (const job of this.#jobs) await abandonCopy(this.#qmp, this.#watch, job)
    this.#close()
  }

  #close(): void {
    this.#isOpen = false
    this.#watch[Symbol.dispose]()
  }
}
