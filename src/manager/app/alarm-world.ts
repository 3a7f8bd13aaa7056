/** The inventory and the newest observations as conditions of alarms want them. */
import type { HostId } from '../../base/ids.ts'
import { defaultAlarmSettings, type AlarmSettings } from '../../contracts/alarms.ts'
import type { AlarmCertificate, AlarmHost, AlarmRoom, AlarmVm, AlarmWorld } from '../domain/alarms/condition.ts'
import { admissionProblem } from '../domain/admission.ts'
import { describeSight, sightOf } from '../domain/host-sight.ts'
import type { HostRecord, VmRecord } from '../store/records.ts'
import type { CertificateEnds, OwnCertificate } from './certificate-ends.ts'
import { clusterSnapshot } from './cluster-snapshot.ts'
import type { AppContext } from './context.ts'
import type { Managers } from './managers.ts'
import type { Mirror } from './mirror.ts'

export interface AlarmWorldParts {
  readonly context: Pick<AppContext, 'mirror' | 'registry' | 'clock'>
  readonly version: string
  readonly ends: CertificateEnds
  readonly certificates: () => readonly OwnCertificate[]
  readonly managers: Pick<Managers, 'seen' | 'storeMembers'>
  readonly room: RoomLooks
}

/** What is judged of all VMs together is judged this often, and not with every look. */
const roomEveryMs = 10_000

/** The room that admission control is to keep, as of some seconds ago. */
export class RoomLooks {
  readonly #context: Pick<AppContext, 'mirror' | 'registry' | 'clock'>
  #seen: AlarmRoom | null = null
  #lookAt = Number.NEGATIVE_INFINITY

  constructor(context: Pick<AppContext, 'mirror' | 'registry' | 'clock'>) {
    this.#context = context
  }

  /** Looks anew when that is due. */
  seen(): AlarmRoom | null {
    const { clock } = this.#context
    if (clock.monotonic() >= this.#lookAt) {
      this.#lookAt = clock.monotonic() + roomEveryMs
      this.#seen = this.#look()
    }
    return this.#seen
  }

  #look(): AlarmRoom | null {
    const { mirror, registry } = this.#context
    const record = mirror.list('cluster')[0]
    if (record?.admission === undefined || record.admission.policy === 'off') return null
    const problem = admissionProblem(clusterSnapshot(mirror, registry), record.admission) ?? null
    return { subject: { kind: 'cluster', id: record.id, name: record.name }, problem }
  }
}

export function alarmSettings(mirror: Mirror): AlarmSettings {
  return { ...defaultAlarmSettings, ...mirror.get('alarm-settings', 'alarm-settings')?.settings }
}

export function alarmWorld(parts: AlarmWorldParts): AlarmWorld {
  const { context, version } = parts
  const { mirror, clock } = context
  return {
    ...{ now: clock.now(), settings: alarmSettings(mirror), version },
    hosts: mirror.list('host').map((host) => hostOf(host, context)),
    datastores: mirror.list('datastore'),
    vms: mirror.list('vm').flatMap((vm) => vmOf(vm, context)),
    tasks: mirror.list('task'),
    certificates: certificatesOf(parts),
    ...{ managers: parts.managers.seen(), storeMembers: parts.managers.storeMembers(), room: parts.room.seen() },
  }
}

function hostOf(record: HostRecord, context: AlarmWorldParts['context']): AlarmHost {
  const { registry } = context
  const { id, name, maintenance, facts, fence } = record
  const state = registry.stateOf(record)
  const known = registry.isConnected(id) ? registry.known(id) : undefined
  return {
    ...{ id, name, maintenance, state, silentMs: registry.silentMs(id) },
    agentVersion: (known?.report.facts ?? facts)?.agentVersion ?? null,
    clockSkewMs: known?.clockSkewMs ?? null,
    datastores: known?.report.datastores ?? null,
    vms: known?.vms ?? null,
    seenBy: state === 'unreachable' ? seenBy(id, context) : null,
    fenceProblem: fence?.test?.problem ?? null,
    fenceLiedAt: fence?.lied?.at ?? null,
  }
}

function seenBy(id: HostId, { mirror, registry }: AlarmWorldParts['context']): string | null {
  const { sight, by } = sightOf(id, registry.sightings(mirror.list('host')))
  return sight === 'isolated' ? describeSight(by, (host) => mirror.get('host', host)?.name ?? host) : null
}

function vmOf(record: VmRecord, { mirror, registry }: AlarmWorldParts['context']): AlarmVm[] {
  const run = mirror.get('run', record.id)?.run
  if (run === undefined) return []
  const { id, name, power, operation, policies, protection } = record
  const wish =
    protection === undefined
      ? null
      : {
          ...{ isWanted: protection.isWanted, reason: protection.reason },
          isClockBehind: protection.isClockBehind ?? false,
        }
  const gaveUpAt = record.monitoring?.gaveUpAt ?? null
  // Another boot than that one is another matter; one that nobody can see now may be the same.
  const boot = registry.observation(run.host, id)?.guest?.boot ?? gaveUpAt
  const isGivenUp = run.phase === 'running' && gaveUpAt !== null && boot === gaveUpAt
  return [{ id, name, power, operation, restart: policies.restart, isGivenUp, run, protection: wish }]
}

function certificatesOf({ context, ends, certificates }: AlarmWorldParts): AlarmCertificate[] {
  const { mirror } = context
  const ofHosts = mirror.list('host').map(({ id, name }) => ({
    subject: { kind: 'host', id, name },
    what: `the certificate of ${name}`,
    endsAt: ends.ofHost(id),
  }))
  const cluster = mirror.list('cluster')[0]
  if (cluster === undefined) return ofHosts
  // One alarm for the cluster: of the manager's own certificate and the authority's, the one that ends first.
  const own = certificates().map((each) => ({ what: each.what, endsAt: ends.of(each) }))
  const first = own.toSorted((a, b) => a.endsAt - b.endsAt)[0]
  if (first === undefined) return ofHosts
  return [...ofHosts, { subject: { kind: 'cluster', id: cluster.id, name: cluster.name }, ...first }]
}
