/**
 * Leases in etcd: a key that names the holder, and changes whenever the lease is renewed. Whether one is over is judged by
 * whoever wants it, by a clock of his own that does not jump: when he has seen the same holder's same renewal for all of its
 * time. So clocks need not agree, a manager that has just begun takes nothing from anybody, and the holder, who counts from
 * before he asked, always believes in his lease for a shorter time than others do.
 */
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Random } from '../../../base/random.ts'
import type { Lease } from '../store.ts'
import { endOf, type Condition, type EtcdClient } from './etcd-client.ts'
import type { Keys } from './keys.ts'

interface Held extends Pick<Lease, 'owner' | 'ttlMs'> {
  /** Another with each renewal. */
  readonly beat: string
}

interface Deps {
  readonly client: Pick<EtcdClient, 'range' | 'write'>
  readonly keys: Keys
  readonly clock: Clock
  readonly random: Random
}

export class EtcdLeases {
  readonly #deps: Deps
  /** What was read last of each lease, and when that was seen first. */
  readonly #seen = new Map<string, { readonly text: string; readonly at: number }>()

  constructor(deps: Deps) {
    this.#deps = deps
  }

  /** Begins to count for every lease that is held now: nobody is taken for gone because this manager was. */
  async open(): Promise<void> {
    const { client, keys } = this.#deps
    const prefix = keys.lease('')
    const { items } = await client.range(prefix, { end: endOf(prefix) })
    for (const { key, value } of items) this.#look(key.slice(prefix.length), value)
  }

  /** `also`: must hold in the moment in which the lease is written, or it is not. */
  async acquire(id: string, owner: string, ttlMs: number, also: readonly Condition[] = []): Promise<Lease | undefined> {
    if (!Number.isFinite(ttlMs) || ttlMs <= 0) throw new HoldfastError('internal', `a lease of ${ttlMs} ms`)
    const { client, keys, clock, random } = this.#deps
    const asked = clock.monotonic()
    const text = JSON.stringify({ owner, ttlMs, beat: random.uuid() } satisfies Held)
    // Mostly it is a renewal of what we hold: one call, where etcd is slow.
    const last = this.#seen.get(id)?.text
    if (last !== undefined && ownerIn(last) === owner) {
      const renewed = [{ do: 'put', key: keys.lease(id), value: text }] as const
      if ((await client.write([{ key: keys.lease(id), value: last }, ...also], renewed)).isDone) {
        this.#seen.set(id, { text, at: asked })
        return { id, owner, ttlMs }
      }
    }
    for (;;) {
      const before = await this.#read(id)
      if (before !== undefined && before.held.owner !== owner && this.#isHeld(id, before.held)) return undefined
      const { isDone } = await client.write(
        [{ key: keys.lease(id), value: before?.text }, ...also],
        [{ do: 'put', key: keys.lease(id), value: text }],
      )
      // Not done: another was faster, or this very call, whose first answer was lost; or what must hold too does not.
      const now = isDone ? text : (await this.#read(id))?.text
      if (now === text) {
        this.#seen.set(id, { text, at: asked })
        return { id, owner, ttlMs }
      }
      if (also.length > 0 && now === before?.text) return undefined
    }
  }

  async release(id: string, owner: string): Promise<void> {
    const { client, keys } = this.#deps
    const before = await this.#read(id)
    if (before?.held.owner !== owner) return
    await client.write([{ key: keys.lease(id), value: before.text }], [{ do: 'delete', key: keys.lease(id) }])
  }

  async owner(id: string): Promise<string | undefined> {
    const found = await this.#read(id)
    return found !== undefined && this.#isHeld(id, found.held) ? found.held.owner : undefined
  }

  /** Holds for as long as nobody has renewed or taken the lease since it was seen last. */
  condition(id: string): Condition {
    return { key: this.#deps.keys.lease(id), value: this.#seen.get(id)?.text }
  }

  /** As it was seen last, whether its time is over or not. */
  seenOwner(id: string): string | undefined {
    const text = this.#seen.get(id)?.text
    return text === undefined ? undefined : ownerIn(text)
  }

  async #read(id: string): Promise<{ readonly text: string; readonly held: Held } | undefined> {
    const { client, keys } = this.#deps
    const text = (await client.range(keys.lease(id))).items[0]?.value
    if (text === undefined) return undefined
    this.#look(id, text)
    return { text, held: JSON.parse(text) as Held }
  }

  #look(id: string, text: string): void {
    if (this.#seen.get(id)?.text !== text) this.#seen.set(id, { text, at: this.#deps.clock.monotonic() })
  }

  #isHeld(id: string, { ttlMs }: Held): boolean {
    const seen = this.#seen.get(id)
    return seen === undefined || this.#deps.clock.monotonic() - seen.at < ttlMs
  }
}

function ownerIn(text: string): string {
  return (JSON.parse(text) as Held).owner
}
