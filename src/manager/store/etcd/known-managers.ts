/** The managers that live: each says so under a key of its own. They are no records, since they change all the time. */
import type { Clock } from '../../../base/clock.ts'
import { isoTime } from '../../../base/clock.ts'
import { endOf, type EtcdClient } from './etcd-client.ts'
import type { Keys } from './keys.ts'

export interface LivingManager {
  /** UUID. */
  readonly manager: string
  readonly name: string
  readonly urls: readonly string[]
  readonly version: string
  /** When it said so last, by its own clock. */
  readonly seen: string
}

export class KnownManagers {
  readonly #client: EtcdClient
  readonly #keys: Keys
  readonly #clock: Clock

  constructor(client: EtcdClient, keys: Keys, clock: Clock) {
    this.#client = client
    this.#keys = keys
    this.#clock = clock
  }

  async tell(own: Omit<LivingManager, 'seen'>): Promise<void> {
    const value = JSON.stringify({ ...own, seen: isoTime(this.#clock.now()) } satisfies LivingManager)
    await this.#client.write([], [{ do: 'put', key: this.#keys.managers + own.manager, value }])
  }

  async list(): Promise<LivingManager[]> {
    const { items } = await this.#client.range(this.#keys.managers, { end: endOf(this.#keys.managers) })
    return items.map(({ value }) => JSON.parse(value) as LivingManager)
  }

  async forget(manager: string): Promise<void> {
    await this.#client.write([], [{ do: 'delete', key: this.#keys.managers + manager }])
  }
}
