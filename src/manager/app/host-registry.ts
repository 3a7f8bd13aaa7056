/**
 * What hosts say of themselves, in memory: the newest report of each. A report counts as newer by its session and
 * sequence, never by a clock. Nothing here survives a restart; hosts report again within seconds.
 */
import type { Clock } from '../../base/clock.ts'
import type { HostId, VmId } from '../../base/ids.ts'
import type { HostReport, VmObservation } from '../../contracts/host.ts'
import type { Host } from '../../contracts/inventory.ts'
import { unreachableAfterMs } from '../domain/cluster-view.ts'
import type { Sighting } from '../domain/host-sight.ts'
import { isNewer, type ReportMark } from '../domain/fence-plan.ts'
import type { HostRecord } from '../store/records.ts'

export const reportIntervalMs = 2000
/** One report missed: a host that says nothing for longer has not gone on reporting. */
const steadyGapMs = 4000

export interface KnownHost {
  readonly report: HostReport
  /** Of the report. */
  readonly vms: ReadonlyMap<VmId, VmObservation>
  /** By the clock that does not jump. */
  readonly heardAt: number
  /** Since then no report has been long after the one before it; by the same clock. */
  readonly steadySince: number
  readonly lastSeen: string
  /** The host's wall clock minus ours, when the report came; includes the time on the wire. */
  readonly clockSkewMs: number
  /** It was switched off since: it is not connected, however fresh the report is. */
  readonly isOff?: boolean
}

export class HostRegistry {
  readonly #clock: Clock
  readonly #hosts = new Map<HostId, KnownHost>()
  /** Sessions of agents that have been replaced: a late report of one is dropped. */
  readonly #ended = new Set<string>()
  readonly #openedAt: number
  readonly #givenUp = new Set<HostId>()
  readonly #listeners = new Set<(host: HostId, wasAway: boolean) => void>()

  constructor(clock: Clock) {
    this.#clock = clock
    this.#openedAt = clock.monotonic()
  }

  /** Takes a report in; false when a newer one of the same host is here already. */
  accept(report: HostReport): boolean {
    const known = this.#hosts.get(report.host)
    if (known !== undefined) {
      if (this.#ended.has(report.session)) return false
      if (known.report.session === report.session && known.report.sequence >= report.sequence) return false
      if (known.report.session !== report.session) this.#end(known.report.session)
    }
    const [now, heardAt] = [this.#clock.now(), this.#clock.monotonic()]
    const isSteady = known !== undefined && heardAt - known.heardAt <= steadyGapMs
    const wasAway = !this.isConnected(report.host)
    this.#hosts.set(report.host, {
      report,
      vms: new Map(report.vms.map((each) => [each.vm, each])),
      heardAt,
      steadySince: isSteady ? known.steadySince : heardAt,
      lastSeen: new Date(now).toISOString(),
      clockSkewMs: Date.parse(report.sentAt) - now,
    })
    for (const listener of this.#listeners) listener(report.host, wasAway)
    return true
  }

  #end(session: string): void {
    this.#ended.add(session)
    const [oldest] = this.#ended
    if (this.#ended.size > 1000 && oldest !== undefined) this.#ended.delete(oldest)
  }

  known(host: HostId): KnownHost | undefined {
    return this.#hosts.get(host)
  }

  /** The newest report, however old. */
  report(host: HostId): HostReport | undefined {
    return this.#hosts.get(host)?.report
  }

  isConnected(host: HostId): boolean {
    const known = this.#hosts.get(host)
    return known !== undefined && known.isOff !== true && this.#clock.monotonic() - known.heardAt < unreachableAfterMs
  }

  /** How long the host has been silent, milliseconds; counted from this manager's start when it never reported. */
  silentMs(host: HostId): number {
    return this.#clock.monotonic() - (this.#hosts.get(host)?.heardAt ?? this.#openedAt)
  }

  /** For how long the host has gone on reporting without a gap, milliseconds; 0 before its first report. */
  steadyMs(host: HostId): number {
    const now = this.#clock.monotonic()
    return now - (this.#hosts.get(host)?.steadySince ?? now)
  }

  /** What a connected host sees of a VM. */
  observation(host: HostId | null, vm: VmId): VmObservation | undefined {
    if (host === null || !this.isConnected(host)) return undefined
    return this.#hosts.get(host)?.vms.get(vm)
  }

  /** What hosts that are heard have seen of others. */
  sightings(hosts: readonly HostRecord[]): Sighting[] {
    return hosts
      .filter(({ id }) => this.isConnected(id))
      .flatMap(({ id }) => (this.report(id)?.neighbours ?? []).map((look) => ({ by: id, look })))
  }

  /** Counts the host as out of reach until its next report, unless one has come since the mark. */
  markOff(host: HostId, mark: ReportMark): void {
    const known = this.#hosts.get(host)
    if (known !== undefined && !isNewer(mark, known.report)) this.#hosts.set(host, { ...known, isOff: true })
  }

  isMarkedOff(host: HostId): boolean {
    return this.#hosts.get(host)?.isOff === true
  }

  /**
   * The host's lease is about to be given up: whatever it reports from now on earns it none, until `keepLease`. False where it
   * has been heard within `silentMs`: then it keeps it.
   */
  giveUpLease(host: HostId, silentMs: number): boolean {
    if (this.silentMs(host) < silentMs) return false
    this.#givenUp.add(host)
    return true
  }

  keepLease(host: HostId): void {
    this.#givenUp.delete(host)
  }

  isLeaseGivenUp(host: HostId): boolean {
    return this.#givenUp.has(host)
  }

  forget(host: HostId): void {
    this.#hosts.delete(host)
  }

  /** Calls back after each report that was taken in; `wasAway`: the host had been out of reach until then. */
  onReport(listener: (host: HostId, wasAway: boolean) => void): Disposable {
    this.#listeners.add(listener)
    return { [Symbol.dispose]: () => this.#listeners.delete(listener) }
  }

  stateOf(record: HostRecord): Host['state'] {
    if (this.isConnected(record.id)) return 'connected'
    if (record.confirmedOff) return 'confirmed-off'
    return this.#hosts.has(record.id) || record.facts !== null ? 'unreachable' : 'never-seen'
  }
}
