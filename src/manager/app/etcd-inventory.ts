/**
 * All that a manager has on etcd: the store, the lead, and the list of managers that live. Whose inventory it is, and whether it
 * is whole, is in inventory-mark.ts.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Logger } from '../../base/log.ts'
import type { Network } from '../../base/network.ts'
import type { Random } from '../../base/random.ts'
import type { StorePlace } from '../../contracts/manager-join.ts'
import { EtcdClient, type EtcdMember } from '../store/etcd/etcd-client.ts'
import { openEtcdStore, type EtcdStore } from '../store/etcd/etcd-store.ts'
import { Keys } from '../store/etcd/keys.ts'
import { KnownManagers } from '../store/etcd/known-managers.ts'
import { EtcdLead, type LeadRecord } from '../store/etcd/lead.ts'
import { etcdOptions, markAt, placeText } from './inventory-mark.ts'
import { keepLead, leadTtlMs, waitForLead } from './leadership.ts'

export interface EtcdInventoryOptions {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly logger: Logger
  readonly place: StorePlace
  /** Who we are when we lead. */
  readonly self: () => Pick<LeadRecord, 'manager' | 'name' | 'urls'>
}

/** A member that hangs must not cost the lead. */
const leadAttemptMs = 900

/** Opens the inventory for a manager. Nothing is committed before it leads. Throws `unreachable`, `store-error`. */
export class EtcdInventory implements AsyncDisposable {
  readonly store: EtcdStore
  readonly lead: EtcdLead
  readonly known: KnownManagers
  /** What every member of etcd that is named says of itself. Never rejects. */
  readonly members: () => Promise<readonly EtcdMember[]>
  readonly #options: EtcdInventoryOptions

  private constructor(options: EtcdInventoryOptions, store: EtcdStore, lead: EtcdLead, client: EtcdClient) {
    this.#options = options
    this.store = store
    this.lead = lead
    this.known = new KnownManagers(client, new Keys(options.place.prefix), options.clock)
    this.members = () => client.members()
  }

  static async open(options: EtcdInventoryOptions): Promise<EtcdInventory> {
    const { clock, random, logger, self, place } = options
    const where = etcdOptions(options)
    const client = new EtcdClient({ ...where, attemptMs: leadAttemptMs, patienceMs: leadTtlMs })
    const keys = new Keys(place.prefix)
    const store = await openEtcdStore({ ...where, time: clock, random, logger, prefix: place.prefix, isLed: true })
    try {
      const lead = await EtcdLead.open({ client, keys, time: clock, random, self, ttlMs: leadTtlMs })
      return new EtcdInventory(options, store, lead, client)
    } catch (thrown) {
      await store[Symbol.asyncDispose]()
      throw thrown
    }
  }

  /** Throws `wrong-state` unless this is the whole inventory of that cluster; undefined: of any. */
  async mustBe(cluster: string | undefined): Promise<void> {
    const where = placeText(this.#options.place)
    const found = (await this.store.list('cluster')).items[0]?.value
    const mark = await markAt(this.#options)
    if (mark?.isWhole === false) {
      throw new HoldfastError('wrong-state', `the inventory at ${where} is half made: its making was cut short`, {
        mend: 'Run the command that was cut short again, where it was begun.',
      })
    }
    if (found === undefined) {
      throw new HoldfastError('wrong-state', `there is no inventory at ${where}`, {
        mend: 'See whether manager.json names the right etcd and prefix. If etcd has lost its data, restore a backup: holdfast manager restore.',
      })
    }
    if (cluster !== undefined && found.uuid !== cluster) {
      throw new HoldfastError('wrong-state', `the inventory at ${where} is of another cluster (${found.name})`, {
        mend: 'See whether manager.json names the right etcd and prefix.',
      })
    }
  }

  /** Commits are written from here on, as long as the lead is ours. */
  fence(onBroken: () => void): void {
    const { condition } = this.lead
    if (condition === undefined) throw new HoldfastError('internal', 'the lead was not taken')
    this.store.fence({ condition, onBroken })
  }

  /** For work in a data folder while no manager runs: leads until it is disposed. Throws `wrong-state` where another leads. */
  async takeLead(waitMs = 3 * leadTtlMs): Promise<AsyncDisposable> {
    const { clock, logger } = this.#options
    const ports = { lead: this.lead, clock, logger }
    let other: LeadRecord | undefined
    {
      // Not the signal of the keeping: this one may end in the very moment in which the lead is got.
      const waiting = new AbortController()
      using _late = clock.timer(waitMs, () => waiting.abort())
      if (!(await waitForLead(ports, (leader) => (other = leader), waiting.signal))) {
        const message = other === undefined ? 'the lead cannot be taken' : `${nameOf(other)} leads this cluster`
        throw new HoldfastError('wrong-state', message, {
          mend: 'Ask the managers that run, or stop all of them first.',
        })
      }
    }
    this.fence(() => undefined)
    const ended = new AbortController()
    const keeping = keepLead(ports, ended.signal)
    return {
      [Symbol.asyncDispose]: async () => {
        ended.abort()
        await keeping
        await this.lead.release()
      },
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]()
  }
}

/** (A variable that a callback sets is `never` to the compiler.) */
function nameOf({ name }: LeadRecord): string {
  return name
}
