/**
 * Test code: the suite that every store passes. `storeSuite(name, make)` registers it. The clock is virtual, so leases
 * expire when the suite says so; all else is waited for as it happens.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { check, claim, create, event, eventPlace, remove, update } from './store-suite-changes.ts'
import { eventCases, watchCases } from './store-suite-watch.ts'
import type { Change, NewEvent, Revision, Store, WatchBatch } from './store.ts'

export interface StoreHarness extends AsyncDisposable {
  /** Opens the store, or opens it again. One at a time. */
  open(clock: VirtualClock): Promise<Store>
  /** Closes it as a manager that ends does; what it held is kept. */
  close(store: Store): Promise<void>
}

export type Case = (context: Context) => Promise<void>

export function storeSuite(name: string, make: () => Promise<StoreHarness>): void {
  const groups = [commitCases, limitCases, readCases, watchCases, eventCases, idCases, leaseCases]
  for (const [title, run] of groups.flatMap((group) => Object.entries(group))) {
    test(`${name}: ${title}`, async () => {
      await using harness = await make()
      const context = new Context(harness)
      await context.start()
      await run(context)
      await harness.close(context.store)
    })
  }
}

/** An open store, and short ways to write to it. */
class Context {
  readonly clock = new VirtualClock()
  readonly #harness: StoreHarness
  #store: Store | undefined

  constructor(harness: StoreHarness) {
    this.#harness = harness
  }

  get store(): Store {
    assert.ok(this.#store)
    return this.#store
  }

  async start(): Promise<void> {
    this.#store = await this.#harness.open(this.clock)
  }

  async restart(): Promise<void> {
    await this.#harness.close(this.store)
    await this.start()
  }

  /** A commit that must succeed; its revision. */
  async write(changes: readonly Change[], events: readonly NewEvent[] = []): Promise<Revision> {
    const result = await this.store.commit({ changes, events })
    assert.ok(result.ok, JSON.stringify(result))
    return result.revision
  }

  async owner(id: string): Promise<string | undefined> {
    return (await this.store.get('claim', id))?.value.owner
  }

  /** The next `count` batches after a place. */
  async watched(from: Revision, count: number): Promise<(WatchBatch | 'relist')[]> {
    const seen: (WatchBatch | 'relist')[] = []
    for await (const batch of this.store.watch(from, AbortSignal.timeout(20_000))) {
      seen.push(batch)
      if (seen.length === count) break
    }
    return seen
  }
}

const commitCases: Record<string, Case> = {
  'a record is written by those who know its revision, and by nobody else': async (c) => {
    const first = await c.write([create('a', 'one')])
    const second = await c.write([update('a', first, 'two')])
    assert.ok(second > first)
    const stale = await c.store.commit({ changes: [update('a', first, 'three')], events: [] })
    assert.deepEqual(stale, { ok: false, reason: 'conflict', kind: 'claim', id: 'a', actual: second })
    const again = await c.store.commit({ changes: [create('a')], events: [] })
    assert.ok(!again.ok && again.actual === second)
    assert.deepEqual(await c.store.get('claim', 'a'), { value: claim('a', 'two'), revision: second })
    await c.write([remove('a', second)])
    assert.equal(await c.store.get('claim', 'a'), undefined)
    const gone = await c.store.commit({ changes: [update('a', second, 'four')], events: [] })
    assert.ok(!gone.ok && gone.actual === 0)
  },
  'a commit is all or nothing, and bears one revision': async (c) => {
    const first = await c.write([create('a'), create('b')])
    const failed = await c.store.commit({
      changes: [update('a', first, 'x'), create('c'), update('b', first + 5, 'x')],
      events: [event('never')],
    })
    assert.ok(!failed.ok && failed.id === 'b')
    assert.equal(await c.owner('a'), 'nobody')
    assert.equal(await c.owner('c'), undefined)
    assert.deepEqual(await c.store.events(eventPlace, 10), [])
    assert.equal(await c.store.revision(), first)
    assert.equal((await c.store.get('claim', 'b'))?.revision, first)
  },
  'a check alone writes nothing, and holds a commit to what was read': async (c) => {
    const first = await c.write([create('a')])
    assert.deepEqual(await c.store.commit({ changes: [check('a', first), check('b', 0)], events: [] }), {
      ok: true,
      revision: first,
    })
    assert.ok((await c.store.commit({ changes: [check('a', first), check('a', first), create('b')], events: [] })).ok)
    assert.ok(!(await c.store.commit({ changes: [check('b', 0), create('c')], events: [] })).ok)
    assert.equal(await c.owner('c'), undefined)
  },
  'of many writers with the same revision exactly one wins': async (c) => {
    let revision = await c.write([create('a', 'start')])
    for (let round = 0; round < 10; round++) {
      const results = await Promise.all(
        Array.from({ length: 20 }, (_, n) =>
          c.store.commit({ changes: [update('a', revision, `writer ${n}`), create(`r${round}/${n}`)], events: [] }),
        ),
      )
      const won = results.filter((result) => result.ok)
      assert.equal(won.length, 1)
      const winner = results.findIndex((result) => result.ok)
      assert.equal(await c.owner('a'), `writer ${winner}`)
      assert.equal(await c.owner(`r${round}/${winner}`), 'nobody')
      revision = won[0]?.ok === true ? won[0].revision : 0
    }
    assert.equal((await c.store.list('claim')).items.length, 11)
  },
  'a counter raised by compare-and-set from many sides loses no step': async (c) => {
    await c.write([create('n', '0')])
    const raise = async (): Promise<void> => {
      for (;;) {
        const at = await c.store.get('claim', 'n')
        assert.ok(at)
        const changes = [update('n', at.revision, String(Number(at.value.owner) + 1))]
        if ((await c.store.commit({ changes, events: [] })).ok) return
      }
    }
    await Promise.all(Array.from({ length: 40 }, raise))
    assert.equal(await c.owner('n'), '40')
  },
  'what is written is there after a restart': async (c) => {
    const first = await c.write([create('a', 'one'), create('b')], [event('kept')])
    const second = await c.write([remove('b', first)])
    await c.restart()
    assert.equal(await c.store.revision(), second)
    assert.deepEqual(await c.store.get('claim', 'a'), { value: claim('a', 'one'), revision: first })
    assert.equal(await c.store.get('claim', 'b'), undefined)
    assert.equal((await c.store.events(eventPlace, 10)).length, 1)
    assert.equal(await c.write([update('a', first, 'two')]), second + 1)
  },
  'unknown fields of a record are kept': async (c) => {
    const value = { ...claim('a'), ofTheFuture: { deep: ['x', null, 1.5] } }
    await c.write([{ do: 'create', kind: 'claim', value }])
    await c.restart()
    assert.deepEqual((await c.store.get('claim', 'a'))?.value, value)
  },
}

const limitCases: Record<string, Case> = {
  'a hundred changes are possible, more are too large': async (c) => {
    const many = (count: number): Change[] => Array.from({ length: count }, (_, n) => create(`claim-${n + 1}`))
    await assert.rejects(c.store.commit({ changes: many(101), events: [] }), { code: 'too-large' })
    assert.equal(await c.store.revision(), 0)
    await c.write(many(100))
    assert.equal((await c.store.list('claim')).items.length, 100)
  },
  'more than a mebibyte is too large': async (c) => {
    await c.write([create('small', 'x'.repeat(1024 * 1024 - 200))])
    await assert.rejects(c.store.commit({ changes: [create('large', 'é'.repeat(524_288))], events: [] }), {
      code: 'too-large',
    })
    await assert.rejects(c.store.commit({ changes: [], events: [event('x'.repeat(1024 * 1024))] }), {
      code: 'too-large',
    })
  },
  'one record twice in a commit is refused': async (c) => {
    await assert.rejects(c.store.commit({ changes: [create('a'), create('a')], events: [] }), { code: 'internal' })
  },
}

const readCases: Record<string, Case> = {
  'a list is in order of id, numbers as numbers, and names its revision': async (c) => {
    await c.write(['vm-10', 'vm-9', 'vm-100', 'host-2'].map((id) => create(id)))
    const revision = await c.write([create('vm-1')])
    const list = await c.store.list('claim')
    assert.deepEqual(
      list.items.map((item) => item.value.id),
      ['host-2', 'vm-1', 'vm-9', 'vm-10', 'vm-100'],
    )
    assert.equal(list.revision, revision)
    assert.deepEqual((await c.store.list('vm')).items, [])
  },
  'a reader cannot change what others read': async (c) => {
    const value = { ...claim('a'), list: ['x'] }
    await c.write([{ do: 'create', kind: 'claim', value }])
    value.list.push('y')
    const read = await c.store.get('claim', 'a')
    assert.ok(read)
    assert.throws(() => ((read.value as { owner: string }).owner = 'thief'), TypeError)
    assert.deepEqual((await c.store.get('claim', 'a'))?.value, { ...claim('a'), list: ['x'] })
  },
}

const idCases: Record<string, Case> = {
  'short ids count up, and are never given out twice': async (c) => {
    assert.equal(await c.store.nextId('vm'), 'vm-1')
    assert.equal(await c.store.nextId('host'), 'host-1')
    const together = await Promise.all(Array.from({ length: 50 }, () => c.store.nextId('vm')))
    assert.equal(new Set([...together, 'vm-1']).size, 51)
    await c.restart()
    assert.equal(await c.store.nextId('vm'), 'vm-52')
    assert.equal(await c.store.nextId('datastore'), 'ds-1')
    assert.equal(await c.store.revision(), 0)
  },
}

const leaseCases: Record<string, Case> = {
  'a lease is held by one, renewed by it, and expires': async (c) => {
    assert.deepEqual(await c.store.acquireLease('lead', 'one', 1000), { id: 'lead', owner: 'one', ttlMs: 1000 })
    assert.equal(await c.store.acquireLease('lead', 'two', 1000), undefined)
    await c.clock.advance(900)
    assert.ok(await c.store.acquireLease('lead', 'one', 1000))
    await c.clock.advance(900)
    assert.equal(await c.store.leaseOwner('lead'), 'one')
    await c.clock.advance(100)
    assert.equal(await c.store.leaseOwner('lead'), undefined)
    assert.ok(await c.store.acquireLease('lead', 'two', 1000))
    assert.equal(await c.store.acquireLease('lead', 'one', 1000), undefined)
  },
  'of many who want a lease one gets it': async (c) => {
    const asked = Array.from({ length: 10 }, (_, n) => c.store.acquireLease('lead', `owner ${n}`, 1000))
    assert.equal((await Promise.all(asked)).filter((lease) => lease !== undefined).length, 1)
  },
  'a lease is given back by its owner alone': async (c) => {
    await c.store.acquireLease('lead', 'one', 1000)
    await c.store.releaseLease('lead', 'two')
    assert.equal(await c.store.leaseOwner('lead'), 'one')
    await c.store.releaseLease('lead', 'one')
    assert.equal(await c.store.leaseOwner('lead'), undefined)
    assert.ok(await c.store.acquireLease('lead', 'two', 500))
  },
  'a lease counts as just renewed when the manager starts, and a wall clock that jumps changes nothing': async (c) => {
    await c.store.acquireLease('host-1', 'agent', 1000)
    await c.clock.advance(900)
    c.clock.jump(86_400_000)
    assert.equal(await c.store.leaseOwner('host-1'), 'agent')
    await c.restart()
    await c.clock.advance(900)
    assert.equal(await c.store.leaseOwner('host-1'), 'agent')
    assert.equal(await c.store.acquireLease('host-1', 'other', 1000), undefined)
    await c.clock.advance(100)
    assert.equal(await c.store.leaseOwner('host-1'), undefined)
    await c.store.acquireLease('host-1', 'other', 1000)
    await c.store.releaseLease('host-1', 'other')
    await c.restart()
    assert.equal(await c.store.leaseOwner('host-1'), undefined)
  },
}
