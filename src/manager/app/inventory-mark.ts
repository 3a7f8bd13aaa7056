/**
 * The mark `init`, which says whose inventory lies at a prefix, and whether its making came to an end.
 *
 *   nothing ──▶ half made, step 0 ──▶ step 1 ──▶ … ──▶ whole
 *                     ▲                                 │ restore
 *                     └─────────────────────────────────┘
 *
 * Whatever is written while it is half made is written together with the next step, under the condition that the last one is
 * still there. So a write of before that arrives late, or a second time, or from another who makes one too, does nothing.
 */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Network } from '../../base/network.ts'
import type { Random } from '../../base/random.ts'
import type { StorePlace } from '../../contracts/manager-join.ts'
import { EtcdClient, endOf, type Condition, type EtcdOptions, type Operation } from '../store/etcd/etcd-client.ts'
import { Keys } from '../store/etcd/keys.ts'

export interface InventoryPlace {
  readonly network: Network
  readonly clock: Clock
  readonly random: Random
  readonly place: StorePlace
}

interface InitMark {
  /** UUID of the manager that makes it, or has made it. */
  readonly by: string
  readonly isWhole: boolean
  /** UUID of the cluster, once it is whole. */
  readonly cluster?: string
  /** Which making it is, and how far; an older version has not written it. */
  readonly run?: string
  readonly step?: number
}

interface Found {
  readonly text: string
  readonly mark: InitMark
}

export function etcdOptions({ network, clock, place }: Omit<InventoryPlace, 'random'>): EtcdOptions {
  const { endpoints, tls } = place
  return { network, clock, endpoints, ...(tls === undefined ? {} : { tls }) }
}

export function placeText({ endpoints, prefix }: StorePlace): string {
  return `${endpoints.join(', ')} (keys ${prefix})`
}

async function readMark(at: InventoryPlace): Promise<Found | undefined> {
  const text = (await new EtcdClient(etcdOptions(at)).range(new Keys(at.place.prefix).init)).items[0]?.value
  return text === undefined ? undefined : { text, mark: JSON.parse(text) as InitMark }
}

/** Undefined: nobody has begun one there. */
export async function markAt(at: InventoryPlace): Promise<InitMark | undefined> {
  return (await readMark(at))?.mark
}

/** All that is written of an inventory until it is whole. */
export class InventoryMaking {
  readonly #client: EtcdClient
  readonly #key: string
  readonly #conditions: readonly Condition[]
  #mark: InitMark
  #text: string

  private constructor(at: InventoryPlace, found: Found, conditions: readonly Condition[]) {
    this.#client = new EtcdClient(etcdOptions(at))
    this.#key = new Keys(at.place.prefix).init
    this.#conditions = conditions
    this.#mark = found.mark
    this.#text = found.text
  }

  /** Takes over what is there now, which is half made from here on. `conditions`: of every write, beside the mark. */
  static async take(
    at: InventoryPlace,
    by: string,
    found: Found | undefined,
    conditions: readonly Condition[],
  ): Promise<InventoryMaking> {
    const mark: InitMark = { by, isWhole: false, run: at.random.uuid(), step: 0 }
    const before = found ?? { text: '', mark }
    const making = new InventoryMaking(at, before, conditions)
    await making.#become(mark, [], [{ key: making.#key, value: found?.text }, ...conditions])
    return making
  }

  /** The very one that is there. */
  static of(at: InventoryPlace, found: Found): InventoryMaking {
    return new InventoryMaking(at, found, [])
  }

  /** Throws `wrong-state` where another goes on with it, or a condition does not hold any more. */
  async write(operations: readonly Operation[]): Promise<void> {
    await this.#become({ ...this.#mark, step: (this.#mark.step ?? 0) + 1 }, operations)
  }

  /** The inventory is whole, and of that cluster. */
  async end(cluster: string): Promise<void> {
    const { by, run } = this.#mark
    await this.#become({ by, isWhole: true, cluster, ...(run === undefined ? {} : { run }) }, [])
  }

  async #become(
    mark: InitMark,
    operations: readonly Operation[],
    conditions: readonly Condition[] = [{ key: this.#key, value: this.#text }, ...this.#conditions],
  ): Promise<void> {
    const text = JSON.stringify(mark)
    const { isDone } = await this.#client.write(conditions, [...operations, { do: 'put', key: this.#key, value: text }])
    // Not done: another was faster, or this very call, whose first answer was lost.
    if (!isDone && (await this.#client.range(this.#key)).items[0]?.value !== text) {
      throw new HoldfastError('wrong-state', 'another manager leads, or makes an inventory at the same place', {
        mend: 'See that no manager runs there, and run the command again.',
      })
    }
    this.#mark = mark
    this.#text = text
  }
}

/**
 * Marks the prefix as one where this manager makes an inventory. What it has begun before it takes over; what is whole is left
 * alone, whoever made it. Throws `wrong-state` where there is one, another is being made, or a manager lives.
 */
export async function beginMaking(at: InventoryPlace, by: string): Promise<InventoryMaking> {
  const client = new EtcdClient(etcdOptions(at))
  const keys = new Keys(at.place.prefix)
  const lease = keys.lease('lead')
  const where = placeText(at.place)
  const { items } = await client.range(keys.all, { end: endOf(keys.all), limit: 1 })
  const found = await readMark(at)
  if (items.length > 0) mustGoOn(found, by, at.place)
  const living = (await client.range(keys.managers, { end: endOf(keys.managers), limit: 1 })).items.length > 0
  if (living || (await client.range(lease)).items.length > 0) {
    throw new HoldfastError('wrong-state', `managers run, or have run, on what is at ${where}`, {
      mend: 'Name another place (etcd://…/PREFIX). To put a backup in its place: holdfast manager restore.',
    })
  }
  return InventoryMaking.take(at, by, found, [{ key: lease, value: undefined }])
}

/** As `beginMaking`, for who makes it by leading there. Its own whole one is no refusal: that is where `init` was cut short. */
export async function beginInventory(at: InventoryPlace, by: string): Promise<void> {
  const found = await readMark(at)
  if (found?.mark.by !== by) await beginMaking(at, by)
}

/** The inventory that was begun by `beginInventory` is whole. */
export async function endInventory(at: InventoryPlace, by: string, cluster: string): Promise<void> {
  const found = await readMark(at)
  if (found?.mark.by === by && found.mark.isWhole && found.mark.cluster === cluster) return
  mustGoOn(found, by, at.place)
  if (found !== undefined) await InventoryMaking.of(at, found).end(cluster)
}

/** What is there is about to be written anew, by who leads (`lead`): every write names that. */
export async function remakeInventory(at: InventoryPlace, by: string, lead: Condition): Promise<InventoryMaking> {
  return InventoryMaking.take(at, by, await readMark(at), [lead])
}

/** The making that this manager has begun there and not ended; undefined: it is whole. Throws `wrong-state` where it is another's. */
export async function ownMaking(at: InventoryPlace, by: string): Promise<InventoryMaking | undefined> {
  const found = await readMark(at)
  if (found?.mark.by === by && found.mark.isWhole) return undefined
  if (found !== undefined) mustGoOn(found, by, at.place)
  if (found !== undefined) return InventoryMaking.of(at, found)
  throw new HoldfastError('wrong-state', `the inventory has moved to etcd, and not to ${placeText(at.place)}`, {
    mend: 'Name the place that it was moved to.',
  })
}

/** Throws `wrong-state` unless this manager's inventory is half made there. */
function mustGoOn(found: Found | undefined, by: string, place: StorePlace): void {
  const where = placeText(place)
  if (found?.mark.isWhole === false) {
    if (found.mark.by === by) return
    throw new HoldfastError('wrong-state', `another manager began an inventory at ${where}, and has not ended that`, {
      mend: `Run it again where it was begun; or, if that is given up: etcdctl del --prefix ${place.prefix}`,
    })
  }
  throw new HoldfastError('wrong-state', `there is an inventory at ${where} already`, {
    mend: 'Join its cluster (holdfast manager join), or name another place (etcd://…/PREFIX).',
  })
}
