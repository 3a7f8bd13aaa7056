/**
 * Who leads, of several managers on one etcd.
 *
 * The lease says who may: it is renewed all the time, and judged by each observer's own clock (leases.ts). The key `lead` says
 * who does: whoever has got the lease writes himself there, by compare-and-set, with a term that is one higher. Every commit of
 * the leader names that text as a condition, and so does every renewal of its lease. So what a former leader has still under way,
 * however late it comes, is not written, and it does not lead on when another has led.
 *
 *            lease free                written as `lead`
 *   standby ───────────▶ has the lease ────────────────▶ leads ──▶ its lease is over, or another is named: it ends
 */
import { isoTime, type Clock } from '../../../base/clock.ts'
import type { Random } from '../../../base/random.ts'
import type { EtcdClient } from './etcd-client.ts'
import type { Fence } from './etcd-store.ts'
import type { Keys } from './keys.ts'
import { EtcdLeases } from './leases.ts'

/** The manager that is named as the leader. */
export interface LeadRecord {
  /** UUID of the manager. */
  readonly manager: string
  readonly name: string
  readonly urls: readonly string[]
  /** One higher each time that the lead is taken. */
  readonly term: number
  readonly since: string
  /** Of the process that leads: the owner of the lease. */
  readonly life: string
}

export interface EtcdLeadOptions {
  readonly client: Pick<EtcdClient, 'range' | 'write'>
  readonly keys: Keys
  readonly time: Clock
  readonly random: Random
  readonly self: () => Pick<LeadRecord, 'manager' | 'name' | 'urls'>
  readonly ttlMs: number
}

const leaseName = 'lead'

export class EtcdLead {
  readonly #options: EtcdLeadOptions
  readonly #leases: EtcdLeases
  /** Of this process: one that is started anew takes nothing over from its former life. */
  readonly #owner: string
  #taken: { readonly text: string; readonly record: LeadRecord } | undefined
  #heldUntil = 0
  #known: LeadRecord | undefined

  /** Made by `open`. */
  private constructor(options: EtcdLeadOptions) {
    this.#options = options
    this.#leases = new EtcdLeases({ ...options, clock: options.time })
    this.#owner = options.random.uuid()
  }

  /** Begins to count for a leader that there is. */
  static async open(options: EtcdLeadOptions): Promise<EtcdLead> {
    const lead = new EtcdLead(options)
    await lead.#leases.open()
    return lead
  }

  /** Whether our lease is still valid at this moment, counted from before its last renewal was asked. */
  holds(): boolean {
    return this.#taken !== undefined && this.msLeft() > 0
  }

  msLeft(): number {
    return this.#heldUntil - this.#options.time.monotonic()
  }

  /** The leader's name as every commit of it demands it. Undefined before it is taken. */
  get condition(): Fence['condition'] | undefined {
    return this.#taken === undefined ? undefined : { key: this.#options.keys.lead, value: this.#taken.text }
  }

  /** As whom this manager has taken the lead. Undefined before that. */
  get taken(): LeadRecord | undefined {
    return this.#taken?.record
  }

  /** The manager that leads; undefined where nobody does. */
  async leader(): Promise<LeadRecord | undefined> {
    return (await this.#leases.owner(leaseName)) === undefined ? undefined : this.rival()
  }

  /** After a `take` that found another with the lease: which. Asks etcd only when it is another than before. */
  async rival(): Promise<LeadRecord | undefined> {
    const owner = this.#leases.seenOwner(leaseName)
    if (this.#known?.life !== owner) this.#known = (await this.#read())?.record
    return this.#known?.life === owner ? this.#known : undefined
  }

  /** Takes the lead where nobody has it. */
  async take(): Promise<boolean> {
    this.#taken = undefined
    if (!(await this.renew())) return false
    // Whoever is late with what follows, and has lost the lease meanwhile, must not overwrite another's name.
    const ours = this.#leases.condition(leaseName)
    const before = await this.#read()
    const { client, keys, self, time } = this.#options
    const { manager, name, urls } = self()
    const record: LeadRecord = {
      ...{ manager, name, urls, life: this.#owner },
      ...{ term: (before?.record.term ?? 0) + 1, since: isoTime(time.now()) },
    }
    const text = JSON.stringify(record)
    const { isDone } = await client.write(
      [ours, { key: keys.lead, value: before?.text }],
      [{ do: 'put', key: keys.lead, value: text }],
    )
    // Not done: another was faster, or this very call, whose first answer was lost.
    if (!isDone && (await this.#read())?.text !== text) return false
    this.#taken = { text, record }
    return this.holds()
  }

  /** False where another manager has the lease, or has led since we took the lead. */
  async renew(): Promise<boolean> {
    const { time, ttlMs } = this.#options
    const asked = time.monotonic()
    const { condition } = this
    const also = condition === undefined ? [] : [condition]
    if ((await this.#leases.acquire(leaseName, this.#owner, ttlMs, also)) === undefined) return false
    this.#heldUntil = Math.max(this.#heldUntil, asked + ttlMs)
    return true
  }

  /** Gives the lead back, so that another takes it at once. Commit nothing after this. */
  async release(): Promise<void> {
    this.#taken = undefined
    await this.#leases.release(leaseName, this.#owner)
  }

  async #read(): Promise<{ text: string; record: LeadRecord } | undefined> {
    const { client, keys } = this.#options
    const text = (await client.range(keys.lead)).items[0]?.value
    return text === undefined ? undefined : { text, record: JSON.parse(text) as LeadRecord }
  }
}
