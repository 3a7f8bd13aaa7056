/** Test code: what every store tells of its changes, as they happen (watches) and afterwards (events). */
import assert from 'node:assert/strict'
import { check, claim, create, event, eventPlace, remove, update } from './store-suite-changes.ts'
import type { Case } from './store-suite.ts'
import type { WatchBatch } from './store.ts'

export const watchCases: Record<string, Case> = {
  'a watch tells every commit in order, with its changes and events': async (c) => {
    const first = await c.write([create('a', 'one')])
    const second = await c.write([update('a', first, 'two'), create('b'), check('c', 0)], [event('x'), event('y')])
    const third = await c.write([remove('a', second)])
    const fourth = await c.write([], [event('alone')])
    const batches = await c.watched(first, 3)
    assert.deepEqual(
      batches.map((batch) => batch !== 'relist' && batch.revision),
      [second, third, fourth],
    )
    const [middle, removed, told] = batches as WatchBatch[]
    assert.ok(middle !== undefined && removed !== undefined && told !== undefined)
    assert.deepEqual(middle.changes, [
      { kind: 'claim', id: 'a', revision: second, value: claim('a', 'two') },
      { kind: 'claim', id: 'b', revision: second, value: claim('b') },
    ])
    assert.deepEqual(
      middle.events.map((entry) => [entry.message, entry.revision, entry.sequence]),
      [
        ['x', second, 1],
        ['y', second, 2],
      ],
    )
    assert.deepEqual(removed.changes, [{ kind: 'claim', id: 'a', revision: third, value: undefined }])
    assert.deepEqual(told.events[0]?.data, { n: [1] })
  },
  'a watch that waits is told what comes, without a gap, while others write': async (c) => {
    const total = 300
    const watching = c.watched(0, total)
    const slow = c.watched(0, total)
    for (let n = 0; n < total; n += 10) {
      await Promise.all(Array.from({ length: 10 }, (_, m) => c.write([create(`claim-${n + m + 1}`)])))
    }
    for (const batches of [await watching, await slow]) {
      assert.deepEqual(
        batches.map((batch) => batch !== 'relist' && batch.revision),
        Array.from({ length: total }, (_, n) => n + 1),
      )
    }
  },
  'a watch goes on from a revision of before a restart': async (c) => {
    for (let n = 1; n <= 200; n++) await c.write([create(`claim-${n}`)], n === 50 ? [event('fifty')] : [])
    await c.restart()
    const watching = c.watched(20, 181)
    await c.write([create('after')])
    const batches = (await watching) as WatchBatch[]
    assert.deepEqual(
      batches.map((batch) => batch.revision),
      Array.from({ length: 181 }, (_, n) => n + 21),
    )
    assert.equal(batches[29]?.events[0]?.message, 'fifty')
    assert.deepEqual(batches[0]?.changes[0]?.value, claim('claim-21'))
  },
  'a place that was compacted answers relist, the first one after it does not': async (c) => {
    for (let n = 1; n <= 10; n++) await c.write([create(`claim-${n}`)])
    await c.store.compact(6)
    assert.equal(await c.store.oldestKept(), 6)
    assert.deepEqual(await c.watched(4, 5), ['relist'])
    assert.equal((await c.watched(5, 5)).length, 5)
    await c.restart()
    assert.equal(await c.store.oldestKept(), 6)
    assert.deepEqual(await c.watched(0, 5), ['relist'])
    assert.equal(await c.owner('claim-1'), 'nobody')
    await c.store.compact(1_000_000)
    assert.equal((await c.watched(9, 1))[0], 'relist')
    const watching = c.watched(10, 1)
    const next = await c.write([create('more')])
    assert.equal(((await watching)[0] as WatchBatch).revision, next)
  },
  'a watch that fell behind a compaction is told to list again': async (c) => {
    for (let n = 1; n <= 5; n++) await c.write([create(`claim-${n}`)])
    const seen: unknown[] = []
    for await (const batch of c.store.watch(0, AbortSignal.timeout(20_000))) {
      seen.push(batch === 'relist' ? batch : batch.revision)
      if (seen.length === 5) {
        for (let n = 6; n <= 9; n++) await c.write([create(`claim-${n}`)])
        await c.store.compact(8)
      }
    }
    assert.deepEqual(seen, [1, 2, 3, 4, 5, 'relist'])
  },
  'a place that was never reached belongs to another life of the store': async (c) => {
    await c.write([create('a')])
    assert.deepEqual(await c.watched(50, 1), ['relist'])
    assert.equal(await c.store.events({ revision: 50, sequence: 1 }, 5), 'relist')
  },
  'a watch ends quietly when it is aborted': async (c) => {
    const controller = new AbortController()
    const ended = (async () => {
      for await (const batch of c.store.watch(0, controller.signal)) assert.fail(JSON.stringify(batch))
    })()
    controller.abort()
    await ended
  },
}

export const eventCases: Record<string, Case> = {
  'events are paged in order, also within one revision': async (c) => {
    await c.write([create('a')], [event('1'), event('2'), event('3')])
    await c.write([create('b')])
    await c.write([], [event('4')])
    await c.restart()
    const seen: string[] = []
    let place = eventPlace
    for (;;) {
      const page = await c.store.events(place, 2)
      assert.ok(page !== 'relist')
      const last = page.at(-1)
      if (last === undefined) break
      seen.push(...page.map((entry) => entry.message))
      place = { revision: last.revision, sequence: last.sequence }
      assert.match(last.time, /^2026-01-01T/)
    }
    assert.deepEqual(seen, ['1', '2', '3', '4'])
    assert.deepEqual((await c.store.events({ revision: 1, sequence: Number.MAX_SAFE_INTEGER }, 9)).length, 1)
  },
  'events before a compaction are gone, and say so': async (c) => {
    for (let n = 1; n <= 6; n++) await c.write([], [event(String(n))])
    await c.store.compact(4)
    assert.equal(await c.store.events(eventPlace, 10), 'relist')
    const kept = await c.store.events({ revision: (await c.store.oldestKept()) - 1, sequence: 0 }, 10)
    assert.ok(kept !== 'relist')
    assert.deepEqual(
      kept.map((entry) => entry.message),
      ['4', '5', '6'],
    )
  },
}
