/**
 * The source's side of a migration. What its outcomes rest on ("exactly one copy"):
 *
 * - No return path is open in plain pre-copy. QEMU then goes on by itself only when it could not hand over every byte,
 *   and the last byte is one that the target cannot do without (command-line.ts: suppress-vmdesc). So `not-sent` means
 *   that the target is incomplete, and after `sent` the guest stands still here until somebody says otherwise.
 * - Post-copy opens a return path. Until it begins, QEMU goes on by itself also when only the target's answer was lost;
 *   so the target must have been told `hold`. From the moment it begins, QEMU never lets the guest run here again.
 *
 * Disks that move too are copied first and mirrored until the guest stands still (`pre-switchover`). Then each mirror is
 * ended, which flushes the target's disk, and its connection is closed, before the last of the memory is sent: there is
 * one writer at each point.
 */
import type { Clock } from '../base/clock.ts'
import { describeError, HoldfastError } from '../base/errors.ts'
import type { Processes } from '../base/processes.ts'
import { Convergence } from './convergence.ts'
import { DiskCopies } from './disk-copies.ts'
import type { MirrorProgress } from './disk-mirror.ts'
import { withoutHanging } from './handshake-guard.ts'
import type { OutgoingOptions, OutgoingResult } from './hypervisor.ts'
import type { MigrateStatus } from './machine-state.ts'
import { addTlsClient, applySettings, removeTls, tcpUri } from './migration-settings.ts'
import { cancelAndWait, endings, endOf, type OutgoingEnd } from './outgoing-end.ts'
import { diskProgress, memoryProgress } from './outgoing-progress.ts'
import type { QemuFeatures } from './qemu-version.ts'
import type { Qmp } from './qmp.ts'
import { stallMs, StallWatch } from './stall-watch.ts'

export interface OutgoingDeps {
  readonly qmp: Qmp
  readonly features: QemuFeatures
  readonly clock: Clock
  readonly processes: Processes
  readonly tlsDirectory: string | null
}

const pollMs = 200
/**
 * QEMU stops the guest as soon as the rest would fit into the allowed downtime, and uses all of it, also where one more
 * short pass would leave a hundredth. So it is allowed this much only, until passes shrink no more (docs/benchmarks.md).
 */
const shortDowntimeMs = 10
/** Bytes per second; QEMU's own default would be 128 MiB/s. */
const unlimited = 2 ** 40
/** The same while the guest stands still (stall-watch.ts). */
const standingStallMs = 8_000

export async function migrateOut(
  deps: OutgoingDeps,
  options: OutgoingOptions,
  signal: AbortSignal,
): Promise<OutgoingResult> {
  await using outgoing = new Outgoing(deps, options, signal)
  return await outgoing.run()
}

class Outgoing implements AsyncDisposable {
  readonly #deps: OutgoingDeps
  readonly #options: OutgoingOptions
  readonly #signal: AbortSignal
  readonly #started: number
  readonly #convergence: Convergence
  readonly #shrinking = new Convergence(1, 0.5)
  #hasFullDowntime = false
  #copies: DiskCopies | undefined
  #disks: MirrorProgress = { doneBytes: 0, totalBytes: 0 }
  #isStarted = false
  #isPostCopy = false
  #mayPostCopy: boolean
  #isCancelSent = false
  readonly #stall: StallWatch
  #stalled: string | undefined
  /** Where QEMU was seen last; changes are told by `#changed`. */
  #status = 'none'
  #changed = Promise.withResolvers<void>()

  constructor(deps: OutgoingDeps, options: OutgoingOptions, signal: AbortSignal) {
    this.#deps = deps
    this.#options = options
    this.#signal = signal
    this.#started = deps.clock.monotonic()
    this.#stall = new StallWatch(deps.clock)
    this.#convergence = new Convergence(options.autoConverge ? 6 : 3)
    // Post-copy has no moment at which a mirror could be ended with nothing of the guest running anywhere.
    this.#mayPostCopy = options.allowPostCopy && options.exports.length === 0
  }

  async run(): Promise<OutgoingResult> {
    const { qmp } = this.#deps
    using _ = qmp.onEvent(({ event, data }) => {
      if (event === 'MIGRATION') this.#see(String(data['status']))
      if (event === 'MIGRATION_PASS') this.#wake()
    })
    qmp.closed.then(
      () => this.#see('lost'),
      () => undefined,
    )
    try {
      this.#signal.throwIfAborted()
      const creds = await this.#prepare()
      if (this.#movesDisks) await this.#copyDisks(creds)
      this.#signal.throwIfAborted()
      this.#isStarted = true
      await qmp.execute('migrate', { uri: tcpUri(this.#options.host, this.#options.port) })
      return await this.#follow()
    } catch (thrown) {
      return await this.#broken(thrown)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { qmp } = this.#deps
    await this.#copies?.abandon()
    if (qmp.isOpen) await removeTls(qmp).catch(() => undefined)
  }

  #see(status: string): void {
    this.#status = status
    this.#wake()
  }

  #wake(): void {
    this.#changed.resolve()
    this.#changed = Promise.withResolvers<void>()
  }

  async #prepare(): Promise<string | null> {
    const { qmp, tlsDirectory } = this.#deps
    const { tlsName, maxBandwidth, downtimeLimitMs, autoConverge, multifdChannels } = this.#options
    if (tlsName !== null && tlsDirectory === null)
      throw new HoldfastError('refused', 'this machine was started without a TLS folder')
    const creds = tlsName === null || tlsDirectory === null ? null : await addTlsClient(qmp, tlsDirectory)
    await applySettings(qmp, {
      capabilities: {
        'auto-converge': autoConverge,
        'postcopy-ram': this.#mayPostCopy,
        'pause-before-switchover': this.#movesDisks,
        multifd: multifdChannels > 0,
      },
      parameters: {
        'max-bandwidth': maxBandwidth ?? unlimited,
        'downtime-limit': Math.min(shortDowntimeMs, downtimeLimitMs),
        'tls-creds': creds ?? '',
        'tls-hostname': tlsName ?? '',
        'tls-authz': '',
        ...(multifdChannels > 0 ? { 'multifd-channels': multifdChannels } : {}),
      },
    })
    return creds
  }

  async #copyDisks(creds: string | null): Promise<void> {
    const { clock } = this.#deps
    const { host, nbdPort, tlsName, maxBandwidth, exports, onProgress } = this.#options
    if (nbdPort === null)
      throw new HoldfastError('invalid-request', 'disks are to move, but the target named no port for them')
    const started = clock.monotonic()
    const report = (progress: MirrorProgress): void => {
      this.#disks = progress
      onProgress(diskProgress(progress, clock.monotonic() - started))
    }
    const tls = creds === null || tlsName === null ? null : { creds, name: tlsName }
    const target = { host, port: nbdPort, tls, exports, maxBandwidth }
    this.#copies = await DiskCopies.make(this.#deps, target, report, this.#signal)
  }

  /** Until the end, whatever it is. Looks again at each event, and every 200 ms for progress. */
  async #follow(): Promise<OutgoingResult> {
    const { qmp, clock } = this.#deps
    for (;;) {
      const changed = this.#changed.promise
      const status = await this.#query()
      this.#status = status.status ?? this.#status
      if (endings.has(this.#status)) return this.#result(this.#explained(await endOf(qmp, clock, status)))
      if (this.#signal.aborted) await this.#cancel()
      else if (this.#isStalled(status)) await this.#cancel()
      else if (this.#status === 'pre-switchover') await this.#switchDisks()
      else if (this.#status === 'active') await this.#pass(status)
      this.#options.onProgress(memoryProgress(status, this.#disks))
      const stop = new AbortController()
      await Promise.race([
        clock.sleep(pollMs, stop.signal).catch(() => undefined),
        changed,
        aborted(this.#signal, this.#isCancelSent, stop.signal),
      ])
      stop.abort()
    }
  }

  async #query(): Promise<MigrateStatus> {
    const { host, port } = this.#options
    const answer = this.#deps.qmp.execute<MigrateStatus>('query-migrate')
    // Once the migration is past its handshake, a slow answer is only slow.
    return await (this.#isPastHandshake ? answer : withoutHanging(this.#deps, { host, port }, answer))
  }

  get #movesDisks(): boolean {
    return this.#options.exports.length > 0
  }

  get #isPastHandshake(): boolean {
    return this.#status !== 'none' && this.#status !== 'setup'
  }

  /** Silence of the network would last for a quarter of an hour before the kernel gives up, with a guest that stands still. */
  #isStalled(status: MigrateStatus): boolean {
    const isStanding = this.#status === 'device' || this.#status === 'pre-switchover'
    const isQuiet = this.#stall.isQuietFor(status.ram?.transferred ?? 0, isStanding ? standingStallMs : stallMs)
    if (!isQuiet || this.#isPostCopy) return false
    this.#stalled ??= 'the target takes nothing any more'
    return true
  }

  #explained(end: OutgoingEnd): OutgoingEnd {
    return end.outcome === 'sent' || this.#stalled === undefined ? end : { ...end, reason: this.#stalled }
  }

  async #cancel(): Promise<void> {
    // After post-copy has begun there is no way back.
    if (this.#isCancelSent || this.#isPostCopy) return
    this.#isCancelSent = true
    await this.#deps.qmp.execute('migrate_cancel')
  }

  /** The guest stands still: the disks become the target's alone, then the rest of the memory follows. */
  async #switchDisks(): Promise<void> {
    const { qmp } = this.#deps
    await this.#copies?.finish()
    await qmp.execute('migrate-continue', { state: 'pre-switchover' })
  }

  async #pass(status: MigrateStatus): Promise<void> {
    if (this.#isPostCopy || status.ram === undefined) return
    this.#shrinking.observe(status.ram['dirty-sync-count'], status.ram.remaining)
    if (this.#shrinking.isStuck && !this.#hasFullDowntime) {
      this.#hasFullDowntime = true
      await this.#deps.qmp.execute('migrate-set-parameters', { 'downtime-limit': this.#options.downtimeLimitMs })
    }
    if (!this.#mayPostCopy) return
    this.#convergence.observe(status.ram['dirty-sync-count'], status.ram.remaining)
    if (!this.#convergence.isStuck) return
    try {
      await this.#options.beforePostCopy()
    } catch {
      this.#mayPostCopy = false
      return
    }
    this.#isPostCopy = true
    await this.#deps.qmp.execute('migrate-start-postcopy')
  }

  /** Something rejected: before `migrate` nothing was sent; after it QEMU itself knows. */
  async #broken(thrown: unknown): Promise<OutgoingResult> {
    const { qmp, clock } = this.#deps
    const reason = this.#signal.aborted && !this.#isStarted ? 'cancelled' : describeError(thrown)
    if (!this.#isStarted) {
      const isUnknown = !qmp.isOpen || (thrown instanceof HoldfastError && thrown.code === 'timeout')
      return this.#result({ outcome: isUnknown ? 'unknown' : 'not-sent', reason, status: {} })
    }
    try {
      const end = await cancelAndWait(qmp, clock)
      return this.#result(end.outcome === 'sent' ? end : { ...end, reason })
    } catch {
      return this.#result({ outcome: 'unknown', reason, status: {} })
    }
  }

  #result({ outcome, reason, status }: OutgoingEnd): OutgoingResult {
    return {
      outcome,
      reason,
      totalMs: Math.round(this.#deps.clock.monotonic() - this.#started),
      downtimeMs: status.downtime ?? 0,
      ramBytes: status.ram?.transferred ?? 0,
      diskBytes: this.#disks.doneBytes,
    }
  }
}

/** Resolves when the signal aborts, unless that was already acted on. `release` lets go of the signal. */
function aborted(signal: AbortSignal, isDone: boolean, release: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (isDone) return
    if (signal.aborted) return resolve()
    signal.addEventListener('abort', () => resolve(), { once: true, signal: release })
  })
}
