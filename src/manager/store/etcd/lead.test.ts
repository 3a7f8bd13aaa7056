/** Two managers that want to lead, and an etcd that answers late. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nodeRandom } from '../../../base/node/index.ts'
import { VirtualClock } from '../../../sim/virtual-clock.ts'
import type { Condition, EtcdClient, Operation } from './etcd-client.ts'
import { Keys } from './keys.ts'
import { EtcdLead } from './lead.ts'

type Client = Pick<EtcdClient, 'range' | 'write'>

const ttlMs = 2000

/** What etcd holds. `hold`: the next call of that client waits until it is let go, before it is carried out. */
class MemoryEtcd {
  readonly values = new Map<string, string>()

  client(): Client & { hold(which: 'range' | 'write'): () => void } {
    let held: { which: string; until: Promise<void> } | undefined
    const turn = async (which: string): Promise<void> => {
      const waits = held?.which === which ? held.until : undefined
      if (waits !== undefined) held = undefined
      await waits
    }
    return {
      hold: (which) => {
        const { promise, resolve } = Promise.withResolvers<void>()
        held = { which, until: promise }
        return resolve
      },
      range: async (key, options) => {
        const end = options?.end
        await turn('range')
        const keys = [...this.values.keys()].filter((each) =>
          end === undefined ? each === key : each >= key && each < end,
        )
        const items = keys.map((each) => ({ key: each, value: this.values.get(each) ?? '', modRevision: 1 }))
        return { items, revision: 1, isMore: false }
      },
      write: async (conditions, operations) => {
        await turn('write')
        return { isDone: this.#write(conditions, operations), revision: 1 }
      },
    }
  }

  #write(conditions: readonly Condition[], operations: readonly Operation[]): boolean {
    if (!conditions.every(({ key, value }) => this.values.get(key) === value)) return false
    for (const each of operations) {
      if (each.do === 'put') this.values.set(each.key, each.value)
      else this.values.delete(each.key)
    }
    return true
  }
}

function world() {
  const etcd = new MemoryEtcd()
  const clock = new VirtualClock()
  const keys = new Keys('x/')
  const open = async (manager: string) => {
    const client = etcd.client()
    const self = () => ({ manager, name: manager, urls: [] })
    const lead = await EtcdLead.open({ client, keys, time: clock, random: nodeRandom(), self, ttlMs })
    return { client, lead }
  }
  const named = () => (JSON.parse(etcd.values.get(keys.lead) ?? '{}') as { manager?: string }).manager
  return { etcd, clock, open, named }
}

test('a renewal that was under way while another led is none', async () => {
  const { clock, open } = world()
  const [one, two] = [await open('one'), await open('two')]
  assert.ok(await one.lead.take())
  assert.equal(await two.lead.take(), false)
  await clock.advance(ttlMs - 100)
  // Asked in time, and carried out when another has led and given the lead back.
  const letGo = one.client.hold('write')
  const renewing = one.lead.renew()
  await clock.advance(ttlMs)
  assert.ok(await two.lead.take())
  await two.lead.release()
  letGo()
  assert.equal(await renewing, false)
  assert.equal(one.lead.holds(), false)
  assert.equal(await one.lead.renew(), false)
})

test('one whose lease was over renews it where nobody else has led', async () => {
  const { clock, open } = world()
  const one = await open('one')
  assert.ok(await one.lead.take())
  await clock.advance(2 * ttlMs)
  assert.equal(one.lead.holds(), false)
  assert.ok(await one.lead.renew())
  assert.ok(one.lead.holds())
})

test('one that is frozen before it has looked who leads overwrites nobody’s name, and leads later on', async () => {
  const { clock, open, named } = world()
  const [one, two] = [await open('one'), await open('two')]
  const taking = one.lead.take()
  // It has asked for the lease already; next it asks who led last.
  const thaw = one.client.hold('range')
  await clock.settle()
  assert.equal(await two.lead.take(), false)
  await clock.advance(ttlMs)
  assert.ok(await two.lead.take())
  thaw()
  assert.equal(await taking, false)
  assert.equal(named(), 'two')
  assert.ok(two.lead.holds() && (await two.lead.renew()))
  await two.lead.release()
  assert.ok(await one.lead.take())
  assert.deepEqual([named(), one.lead.taken?.term], ['one', 2])
})
