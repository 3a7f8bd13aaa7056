/** Reports of hosts: taken in, answered with the configuration that the host should have. */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { HostId } from '../../base/ids.ts'
import { canonicalJson } from '../../contracts/digest.ts'
import type { HostReport } from '../../contracts/host.ts'
import type { ReportResponse } from '../../contracts/manager-api.ts'
import { hostConfiguration } from '../domain/host-configuration.ts'
import { describeSight, sightOf, type Sight } from '../domain/host-sight.ts'
import type { HostRecord } from '../store/records.ts'
import type { NewEvent } from '../store/store.ts'
import type { AppContext } from './context.ts'
import type { HostLeases } from './host-leases.ts'
import { unreachableAfterMs } from '../domain/cluster-view.ts'
import type { Managers } from './managers.ts'
import { need, newEvent, subjectOf, write } from './write.ts'

export class HostReports {
  readonly #context: AppContext
  readonly #managers: Pick<Managers, 'urls'>
  readonly #leases: HostLeases
  /** Hosts of whose coming and going people were told, and what they were told last. */
  readonly #told = new Map<HostId, boolean>()
  readonly #seen = new Map<HostId, Sight>()

  constructor(context: AppContext, leases: HostLeases, managers: Pick<Managers, 'urls'>) {
    this.#context = context
    this.#leases = leases
    this.#managers = managers
  }

  /** Takes a report in. Throws `not-allowed` when it speaks of another host. */
  async take(host: HostId, report: HostReport): Promise<ReportResponse> {
    if (report.host !== host) {
      throw new HoldfastError('not-allowed', `${host} cannot report for ${report.host}`)
    }
    const { mirror, registry, clock } = this.#context
    const wasOff = registry.isMarkedOff(host)
    const isNews = registry.accept(report)
    // Before anything that takes time: the host counts from when it sent the report.
    const lease = isNews ? this.#leases.answer(report) : null
    if (isNews) await this.#keepFacts(report, wasOff)
    const cluster = await this.#context.cluster()
    const configuration = hostConfiguration(cluster, host)
    const unknownVms = report.vms.flatMap(({ vm, process }) =>
      process === 'none' && mirror.get('run', vm) === undefined ? [vm] : [],
    )
    const silent = this.#leases.silent().filter((each) => each.host !== host)
    return {
      incarnation: mirror.list('cluster')[0]?.incarnation ?? 1,
      configuration: configuration.digest === report.configurationDigest ? null : configuration,
      managerTime: isoTime(clock.now()),
      managers: this.#managers.urls(),
      nextReportMs: this.#leases.nextReportMs,
      lease,
      ...(silent.length === 0 ? {} : { silent }),
      ...(unknownVms.length === 0 ? {} : { unknownVms }),
    }
  }

  /**
   * Facts are stored when they change, so that a host that is away is still known; its report says that it is not off. `wasOff`: it
   * was fenced a moment ago, which the mirror may not know yet.
   */
  async #keepFacts(report: HostReport, wasOff: boolean): Promise<void> {
    const { store, mirror } = this.#context
    const known = mirror.get('host', report.host)
    if (!wasOff && known !== undefined && !isNews(known, report)) return
    await write(store, async () => {
      const { value, revision } = await need(store, 'host', report.host)
      if (!isNews(value, report)) return { changes: [], value: undefined }
      const next: HostRecord = { ...value, facts: report.facts, confirmedOff: false }
      const { record, events } = value.confirmedOff ? this.#back(next, report) : { record: next, events: [] }
      return { changes: [{ do: 'update', kind: 'host', value: record, expected: revision }], events, value: undefined }
    })
  }

  /** A host that was confirmed off and reports: by the session that was switched off, when its devices lied. */
  #back(host: HostRecord, { session }: HostReport): { record: HostRecord; events: readonly NewEvent[] } {
    const back = newEvent('host.back', subjectOf('host', host), `${host.name} is back: it was confirmed off`)
    if (host.fencedBy?.session !== session) return { record: host, events: [back] }
    const words = `${host.name} goes on reporting although it was fenced: its fence devices are another machine's, or they lie. Its VMs may run twice until its agent has ended them (docs/runbooks/fence-failing.md)`
    const lied = { at: isoTime(this.#context.clock.now()), task: host.fencedBy.task }
    const record = host.fence == null ? host : { ...host, fence: { ...host.fence, lied } }
    return { record, events: [back, newEvent('host.fence-lied', subjectOf('host', host), words)] }
  }

  /** Tells once of each silence whether the host lives, as soon as others have looked. */
  async #tellSight(hosts: readonly HostRecord[]): Promise<void> {
    const { mirror, registry, store } = this.#context
    const sightings = registry.sightings(hosts)
    for (const record of hosts) {
      if (registry.isConnected(record.id)) this.#seen.delete(record.id)
      if (registry.stateOf(record) !== 'unreachable' || this.#told.get(record.id) !== false) continue
      const { sight, by } = sightOf(record.id, sightings)
      if (sight === 'unseen' || this.#seen.get(record.id) === sight) continue
      this.#seen.set(record.id, sight)
      const what = describeSight(by, (host) => mirror.get('host', host)?.name ?? host)
      const [type, word] =
        sight === 'isolated'
          ? ['host.isolated', 'is cut off from the managers, and lives']
          : ['host.silent', 'is seen by nobody']
      const event = newEvent(type, subjectOf('host', record), `${record.name} ${word} (${what})`)
      await write(store, async () => ({ changes: [], events: [event], value: undefined }))
    }
  }

  /** Tells of hosts that came within reach or went out of it since the last call. */
  async tellChanges(): Promise<void> {
    const { mirror, registry, store } = this.#context
    const hosts = mirror.list('host')
    for (const record of hosts) {
      const isConnected = registry.isConnected(record.id)
      const before = this.#told.get(record.id)
      if (before === isConnected) continue
      // A manager that has just begun waits for reports before it says that a host is silent.
      const isTooEarly = registry.silentMs(record.id) < unreachableAfterMs
      if (before === undefined && !isConnected && (isTooEarly || registry.stateOf(record) === 'never-seen')) continue
      this.#told.set(record.id, isConnected)
      const [type, word] = isConnected ? ['host.connected', 'is connected'] : ['host.unreachable', 'is out of reach']
      const event = newEvent(type, subjectOf('host', record), `${record.name} ${word}`)
      await write(store, async () => ({ changes: [], events: [event], value: undefined }))
    }
    await this.#tellSight(hosts)
    const known = new Set(hosts.map((host) => host.id))
    for (const id of this.#told.keys()) if (!known.has(id)) this.#told.delete(id)
  }
}

function isNews(record: HostRecord, report: HostReport): boolean {
  return record.confirmedOff || canonicalJson(record.facts) !== canonicalJson(report.facts)
}
