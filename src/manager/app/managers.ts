/**
 * The managers of the cluster. Each says by itself that it lives (known-managers.ts); whoever leads writes down which there are
 * and where they are asked, and tells agents and clients.
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { ManagerId } from '../../base/ids.ts'
import type { Manager } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import type { EtcdMember } from '../store/etcd/etcd-client.ts'
import type { LivingManager } from '../store/etcd/known-managers.ts'
import type { ManagerRecord } from '../store/records.ts'
import type { Access } from './access.ts'
import type { AppContext, Caller } from './context.ts'
import type { LeadRecord } from './leadership.ts'
import type { Mirror } from './mirror.ts'
import { namedPageOf, type PageOf } from './pages.ts'
import { objectView } from './views/object-view.ts'
import { need, newEvent, subjectOf, write } from './write.ts'

export type { LivingManager }

export interface ManagersPort {
  /** Those that live, this one among them. */
  living(): Promise<readonly LivingManager[]>
  /** Who leads: this manager, while it answers. */
  leader(): Pick<LeadRecord, 'manager' | 'since'>
  forget(manager: string): Promise<void>
  /** Of the store, as they say of themselves. Never rejects. */
  members(): Promise<readonly EtcdMember[]>
}

/**
 * One that has told nothing new of itself for so long is silent. How long that is, is counted here, from when it was seen first
 * (as of leases: store/etcd/leases.ts): the clocks of two machines need not agree.
 */
const silentAfterMs = 10_000
/** Who lives is looked at as often. */
const lookEveryMs = 2000
/** Members of the store are. */
const membersEveryMs = 5000

export class Managers {
  readonly #context: AppContext
  readonly #port: ManagersPort | undefined
  readonly #own: () => readonly string[]
  readonly #access: Pick<Access, 'revokeNamed'>
  #living: readonly LivingManager[] = []
  /** What each has said last, and when that was new, by our own clock that does not jump. */
  #heard = new Map<string, { readonly seen: string; readonly at: number }>()
  #lookAt = 0
  #members: readonly EtcdMember[] = []
  #membersAt = 0

  constructor(
    context: AppContext,
    parts: {
      readonly port: ManagersPort | undefined
      readonly own: () => readonly string[]
      readonly access: Pick<Access, 'revokeNamed'>
    },
  ) {
    this.#context = context
    this.#port = parts.port
    this.#own = parts.own
    this.#access = parts.access
  }

  /** Where agents and clients ask: this manager, which leads, and then the others. */
  urls(): string[] {
    return allUrls(this.#context.mirror, this.#own())
  }

  /** Writes down who is new, or is asked elsewhere than before. Called every second. */
  async look(): Promise<void> {
    const { clock, mirror } = this.#context
    if (this.#port === undefined || clock.monotonic() < this.#lookAt) return
    this.#lookAt = clock.monotonic() + lookEveryMs
    this.#lookAtMembers(this.#port)
    await this.#hear(this.#port)
    for (const living of this.#living) {
      if (this.#isSilent(living.manager) || living.urls.length === 0) continue
      const known = mirror.list('manager').find(({ uuid }) => uuid === living.manager)
      if (known === undefined || !isSame(known, living)) await this.#writeDown(living)
    }
  }

  async #writeDown({ manager, name, urls, version }: LivingManager): Promise<void> {
    const { store, clock } = this.#context
    const found = (await store.list('manager')).items.find(({ value }) => value.uuid === manager)
    const id = found?.value.id ?? ((await store.nextId('manager')) as ManagerId)
    const created = found?.value.created ?? isoTime(clock.now())
    const value: ManagerRecord = { ...found?.value, id, uuid: manager, name, created, v: 1, urls, version }
    const word =
      found === undefined ? 'is a manager of this cluster now' : `is asked at ${urls.join(', ')} (${version})`
    const events = [newEvent('manager.known', subjectOf('manager', value), `${name} ${word}`)]
    await store.commit({
      changes: [
        found === undefined
          ? { do: 'create', kind: 'manager', value }
          : { do: 'update', kind: 'manager', value, expected: found.revision },
      ],
      events,
    })
  }

  /** Those that are written down, and whether they have said nothing for long; as of the last look. */
  seen(): { readonly id: ManagerId; readonly name: string; readonly isSilent: boolean }[] {
    if (this.#port === undefined) return []
    const leader = this.#port.leader().manager
    return this.#context.mirror.list('manager').map(({ id, uuid, name }) => {
      return { id, name, isSilent: uuid !== leader && this.#isSilent(uuid) }
    })
  }

  /** Members of the store, as of the last look at them. */
  storeMembers(): readonly EtcdMember[] {
    return this.#members
  }

  /** One that hangs is waited for beside. */
  #lookAtMembers(port: ManagersPort): void {
    const { clock } = this.#context
    if (clock.monotonic() < this.#membersAt) return
    this.#membersAt = clock.monotonic() + membersEveryMs
    void port.members().then((members) => {
      this.#members = members
    })
  }

  async #hear(port: ManagersPort | undefined): Promise<void> {
    if (port === undefined) return
    this.#living = await port.living()
    const at = this.#context.clock.monotonic()
    this.#heard = new Map(
      this.#living.map(({ manager, seen }) => {
        const before = this.#heard.get(manager)
        return [manager, before?.seen === seen ? before : { seen, at }]
      }),
    )
  }

  #isSilent(manager: string): boolean {
    const heard = this.#heard.get(manager)
    return heard === undefined || this.#context.clock.monotonic() - heard.at > silentAfterMs
  }

  async list(query: CallOf<'listManagers'>['query'] = {}): Promise<PageOf<Manager>> {
    const mirror = await this.#context.mirror.fresh()
    await this.#hear(this.#port)
    const page = namedPageOf(mirror.list('manager'), query)
    const items = page.items.map((record) => this.#view(record, mirror.revisionOf('manager', record.id)))
    return { items, next: page.next, revision: mirror.revision }
  }

  #view(record: ManagerRecord, revision: number): Manager {
    const leader = this.#port?.leader()
    const isLeading = leader?.manager === record.uuid
    return {
      ...objectView(record, revision),
      urls: [...record.urls],
      version: record.version,
      state: isLeading ? 'leads' : this.#isSilent(record.uuid) ? 'silent' : 'stands-by',
      leadsSince: isLeading ? leader.since : null,
      lastSeen: this.#heard.get(record.uuid)?.seen ?? null,
    }
  }

  /** Forgets a manager that is gone, and revokes the token that it was given. Refused with `wrong-state` while it lives. */
  async remove(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    const { value } = await need(store, 'manager', id)
    await this.#hear(this.#port)
    if (this.#port?.leader().manager === value.uuid || !this.#isSilent(value.uuid)) {
      throw new HoldfastError('wrong-state', `${value.name} is not gone: it runs`, {
        mend: 'Stop it first (systemctl disable --now holdfast-manager), and try again ten seconds later.',
      })
    }
    await this.#port?.forget(value.uuid)
    await this.#access.revokeNamed(managerTokenName(value.uuid), caller.name)
    await write(store, async () => {
      const { revision } = await need(store, 'manager', id)
      const message = `${value.name} is no manager of this cluster any more`
      return {
        changes: [{ do: 'remove', kind: 'manager', id, expected: revision }],
        events: [newEvent('manager.removed', subjectOf('manager', value), message, { by: caller.name })],
        value: undefined,
      }
    })
    return null
  }
}

/** The API token that a manager was given when it joined is called so. */
export function managerTokenName(manager: string): string {
  return `administrator on manager ${manager}`
}

function isSame(known: ManagerRecord, { name, urls, version }: LivingManager): boolean {
  return known.name === name && known.version === version && known.urls.join() === urls.join()
}

/** Our own first, then those of the other managers. */
export function allUrls(mirror: Pick<Mirror, 'list'>, own: readonly string[]): string[] {
  return [...new Set([...own, ...mirror.list('manager').flatMap(({ urls }) => urls)])]
}
