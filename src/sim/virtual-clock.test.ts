import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from './seeded-random.ts'
import { VirtualClock } from './virtual-clock.ts'

test('timers fire in the order of their instant, then of their making', async () => {
  const clock = new VirtualClock()
  const seen: string[] = []
  clock.timer(20, () => seen.push('late'))
  clock.timer(10, () => seen.push('first'))
  clock.timer(10, () => seen.push('second'))
  const cancelled = clock.timer(15, () => seen.push('never'))
  cancelled[Symbol.dispose]()
  await clock.advance(15)
  assert.deepEqual(seen, ['first', 'second'])
  await clock.advance(5)
  assert.deepEqual(seen, ['first', 'second', 'late'])
  assert.equal(clock.monotonic(), 20)
})

test('code between two sleeps runs before the next timer', async () => {
  const clock = new VirtualClock()
  const seen: string[] = []
  const worker = async (name: string, ms: number): Promise<void> => {
    for (let round = 0; round < 3; round++) {
      await clock.sleep(ms)
      await Promise.resolve()
      seen.push(`${name}@${clock.monotonic()}`)
    }
  }
  await clock.run(Promise.all([worker('a', 10), worker('b', 15)]), 1000)
  assert.deepEqual(seen, ['a@10', 'b@15', 'a@20', 'b@30', 'a@30', 'b@45'])
})

test('an aborted sleep rejects at once with the reason and leaves nothing behind', async () => {
  const clock = new VirtualClock()
  const controller = new AbortController()
  const sleeping = clock.sleep(1000, controller.signal)
  controller.abort(new Error('enough'))
  await assert.rejects(sleeping, /enough/)
  await assert.rejects(clock.sleep(1, controller.signal), /enough/)
  assert.equal(clock.pendingCount, 0)
})

test('a frozen process misses nothing and a killed one never comes back', async () => {
  const clock = new VirtualClock()
  const [frozen, killed] = [clock.node(), clock.node()]
  const seen: string[] = []
  frozen.timer(10, () => seen.push(`thawed@${clock.monotonic()}`))
  killed.timer(10, () => seen.push('dead'))
  clock.timer(30, () => frozen.thaw())
  frozen.freeze()
  killed.kill()
  killed.timer(1, () => seen.push('dead'))
  await clock.advance(100)
  assert.deepEqual(seen, ['thawed@30'])
})

test('a wall clock that jumps moves no deadline', async () => {
  const clock = new VirtualClock()
  const before = clock.now()
  clock.jump(-3_600_000)
  assert.equal(clock.now(), before - 3_600_000)
  assert.equal(clock.monotonic(), 0)
})

test('waiting for what never happens ends with an error', async () => {
  const clock = new VirtualClock()
  await assert.rejects(clock.run(new Promise(() => undefined), 500), { code: 'timeout' })
})

test('a seed replays its numbers, and another seed gives others', () => {
  const draw = (seed: number): unknown[] => {
    const random = new SeededRandom(seed)
    return [
      random.int(1000),
      random.uuid(),
      [...random.bytes(4)],
      random.shuffle([1, 2, 3, 4, 5]),
      random.fork().next(),
    ]
  }
  assert.deepEqual(draw(7), draw(7))
  assert.notDeepEqual(draw(7), draw(8))
  const random = new SeededRandom(1)
  assert.match(random.uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})

test('numbers drawn are spread evenly', () => {
  const random = new SeededRandom(42)
  const counts = new Array<number>(10).fill(0)
  for (let round = 0; round < 10_000; round++) counts[random.int(10)]! += 1
  for (const count of counts) assert.ok(count > 850 && count < 1150, String(counts))
})
