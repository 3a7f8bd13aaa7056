/**
 * The managers of the cluster. Each says by itself that it lives (known-managers.ts); whoever leads writes down which there are
 * and where they are asked, and tells agents and clients.
 */
import { isoTime } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { ManagerId } from '../../base/ids.ts'
import type { Manager } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import type { LivingManager } from '../store/etcd/known-managers.ts'
import type { ManagerRecord } from '../store/records.ts'
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
}

/** One that has not told of itself for so long is silent. */
export const silentAfterMs = 10_000
/** Who lives is looked at as often. */
const lookEveryMs = 2000

export class Managers {
  readonly #context: AppContext
  readonly #port: ManagersPort | undefined
  readonly #own: () => readonly string[]
  #living: readonly LivingManager[] = []
  #lookAt = 0

  constructor(context: AppContext, port: ManagersPort | undefined, own: () => readonly string[]) {
    this.#context = context
    this.#port = port
    this.#own = own
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
    this.#living = await this.#port.living()
    for (const living of this.#living) {
      if (this.#isSilent(living.seen) || living.urls.length === 0) continue
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
      const seen = this.#living.find(({ manager }) => manager === uuid)?.seen
      return { id, name, isSilent: uuid !== leader && this.#isSilent(seen) }
    })
  }

  #isSilent(seen: string | undefined): boolean {
    return seen === undefined || this.#context.clock.now() - Date.parse(seen) > silentAfterMs
  }

  async list(query: CallOf<'listManagers'>['query'] = {}): Promise<PageOf<Manager>> {
    const mirror = await this.#context.mirror.fresh()
    if (this.#port !== undefined) this.#living = await this.#port.living()
    const page = namedPageOf(mirror.list('manager'), query)
    const items = page.items.map((record) => this.#view(record, mirror.revisionOf('manager', record.id)))
    return { items, next: page.next, revision: mirror.revision }
  }

  #view(record: ManagerRecord, revision: number): Manager {
    const leader = this.#port?.leader()
    const isLeading = leader?.manager === record.uuid
    const seen = this.#living.find(({ manager }) => manager === record.uuid)?.seen
    return {
      ...objectView(record, revision),
      urls: [...record.urls],
      version: record.version,
      state: isLeading ? 'leads' : this.#isSilent(seen) ? 'silent' : 'stands-by',
      leadsSince: isLeading ? leader.since : null,
      lastSeen: seen ?? null,
    }
  }

  /** Forgets a manager that is gone. Refused with `wrong-state` while it lives. */
  async remove(id: string, caller: Caller): Promise<null> {
    const { store } = this.#context
    const { value } = await need(store, 'manager', id)
    this.#living = (await this.#port?.living()) ?? []
    const seen = this.#living.find(({ manager }) => manager === value.uuid)?.seen
    if (this.#port?.leader().manager === value.uuid || !this.#isSilent(seen)) {
      throw new HoldfastError('wrong-state', `${value.name} is not gone: it runs`, {
        mend: 'Stop it first (systemctl disable --now holdfast-manager), and try again ten seconds later.',
      })
    }
    await this.#port?.forget(value.uuid)
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

function isSame(known: ManagerRecord, { name, urls, version }: LivingManager): boolean {
  return known.name === name && known.version === version && known.urls.join() === urls.join()
}

/** Our own first, then those of the other managers. */
export function allUrls(mirror: Pick<Mirror, 'list'>, own: readonly string[]): string[] {
  return [...new Set([...own, ...mirror.list('manager').flatMap(({ urls }) => urls)])]
}
