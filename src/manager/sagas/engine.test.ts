import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId, VmId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { VmRecord } from '../store/records.ts'
import { SagaEngine } from './engine.ts'
import { saga, type SagaDefinition } from './saga.ts'

interface Log {
  readonly lines: string[]
  fail: (line: string) => void
}

function world() {
  const clock = new VirtualClock()
  const store = new MemoryStore(clock)
  const log: Log = { lines: [], fail: () => undefined }
  const engine = (seed = 1): SagaEngine =>
    new SagaEngine({ store, clock, random: new SeededRandom(seed), logger: silentLogger })
  return { clock, store, log, engine }
}

function note(log: Log, line: string): void {
  log.lines.push(line)
  log.fail(line)
}

const target = { kind: 'vm', id: 'vm-1', name: 'web' }
const options = { target, startedBy: 'test' }
const never = new AbortController().signal

/** Three steps, the second of which commits. */
const threeSteps = saga<{ size: number }, Log>('test.three/1')
  .step({
    name: 'first',
    do: async ({ deps, params }) => {
      note(deps, 'first')
      return { size: params.size }
    },
    undo: async ({ deps, output }) => note(deps, `undo first ${output?.size ?? 'without output'}`),
  })
  .commit({
    name: 'second',
    do: async ({ deps, done }) => {
      note(deps, `second ${done.first.size}`)
      return 'moved'
    },
    settle: async ({ deps }) => {
      note(deps, 'settle')
      return { verdict: 'not-committed', code: 'host-error', reason: 'it did not happen' }
    },
  })
  .step({ name: 'third', do: async ({ deps, done }) => note(deps, `third ${done.second}`) })
  .result((done) => ({ size: done.first.size }))

async function startVm(store: MemoryStore): Promise<{ vm: VmId; expectedRevision: number }> {
  const value = { id: 'vm-1', name: 'web', operation: null } as unknown as VmRecord
  const created = await store.commit({ changes: [{ do: 'create', kind: 'vm', value }], events: [] })
  assert.ok(created.ok)
  return { vm: 'vm-1' as VmId, expectedRevision: created.revision }
}

async function begin<P, R>(engine: SagaEngine, definition: SagaDefinition<P, Log, R>, params: P): Promise<TaskId> {
  const started = await engine.start(definition, params, options)
  assert.ok(started.ok)
  return started.value
}

async function eventTypes(store: MemoryStore): Promise<string[]> {
  const events = await store.events({ revision: 0, sequence: 0 }, 1000)
  assert.ok(events !== 'relist')
  return events.map((event) => event.type)
}

test('a task runs its steps in order, and its end releases the VM in the same commit', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  const lock = await startVm(store)
  const started = await one.start(threeSteps, { size: 7 }, { ...options, lock })
  assert.ok(started.ok)
  assert.equal((await store.get('vm', 'vm-1'))?.value.operation, started.value)
  const view = await clock.run(one.wait(started.value, never), 1000)
  assert.equal(view.record.state, 'done')
  assert.deepEqual(view.record.result, { size: 7 })
  assert.equal(view.progress, 1)
  assert.deepEqual(log.lines, ['first', 'second 7', 'third moved'])
  const vm = await store.get('vm', 'vm-1')
  assert.equal(vm?.value.operation, null)
  assert.equal(vm?.revision, view.revision)
  assert.deepEqual(await eventTypes(store), ['task.started', 'task.ended'])
})

test('a held VM refuses another operation with the id of the task that holds it', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = () => {
    throw new HoldfastError('unreachable', 'gone')
  }
  const lock = await startVm(store)
  const first = await one.start(threeSteps, { size: 1 }, { ...options, lock })
  assert.ok(first.ok)
  const again = await one.start(threeSteps, { size: 1 }, { ...options, lock })
  assert.ok(!again.ok && again.reason === 'operation-in-progress')
  assert.equal(again.details.task, first.value)
  const stale = await one.start(threeSteps, { size: 1 }, { ...options, lock: { ...lock, vm: 'vm-9' as VmId } })
  assert.ok(!stale.ok && stale.reason === 'conflict')
  await clock.settle()
})

test('a definite failure undoes the steps that were begun, the failed one too, newest first', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line.startsWith('second')) throw new HoldfastError('no-space', 'the disk is full', { mend: 'Make room.' })
  }
  const view = await clock.run(one.wait(await begin(one, threeSteps, { size: 2 }), never), 1000)
  assert.equal(view.record.state, 'failed')
  assert.deepEqual(view.record.problem, {
    code: 'no-space',
    detail: 'the disk is full',
    mend: 'Make room.',
    details: { step: 'second' },
  })
  assert.deepEqual(log.lines, ['first', 'second 2', 'undo first 2'])
})

test('an unknown outcome is asked after again until patience is over, then undone without an output', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line === 'first') throw new HoldfastError('timeout', 'no answer')
  }
  const view = await clock.run(one.wait(await begin(one, threeSteps, { size: 2 }), never), 120_000)
  assert.equal(view.record.state, 'failed')
  assert.ok(clock.elapsedMs >= 60_000 && clock.elapsedMs < 80_000, String(clock.elapsedMs))
  assert.ok(log.lines.length > 5 && log.lines.length < 30, String(log.lines.length))
  assert.equal(log.lines.at(-1), 'undo first without output')
})

test('a commit whose outcome is unknown is settled, never guessed', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line.startsWith('second')) throw new HoldfastError('unreachable', 'no answer')
  }
  const view = await clock.run(one.wait(await begin(one, threeSteps, { size: 2 }), never), 1000)
  assert.equal(view.record.problem?.detail, 'it did not happen')
  assert.deepEqual(log.lines, ['first', 'second 2', 'settle', 'undo first 2'])
})

test('an undo that fails for good makes the task stuck, says so once, and goes on when nudged', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line.startsWith('second')) throw new HoldfastError('refused', 'no')
    if (line.startsWith('undo')) throw new HoldfastError('host-error', 'the file is busy')
  }
  const task = await begin(one, threeSteps, { size: 2 })
  await clock.advance(600_000)
  const stuck = await one.view(task)
  assert.equal(stuck?.record.state, 'stuck')
  assert.equal(stuck.record.step, 'first')
  assert.match(stuck.record.problem?.mend ?? '', /docs\/runbooks\/stuck-task\.md/)
  assert.equal((await eventTypes(store)).filter((type) => type === 'task.stuck').length, 1)
  assert.equal((await one.cancel(task)).ok, true)
  log.fail = () => undefined
  one.nudge(task)
  const view = await clock.run(one.wait(task, never), 1)
  assert.equal(view.record.state, 'failed')
  assert.equal(view.record.problem?.code, 'refused')
})

for (const silent of ['undo', 'third']) {
  test(`what stays unknown for a minute is said to be stuck, with the runbook that it names: ${silent}`, async () => {
    const { clock, store, log, engine } = world()
    await using one = engine()
    one.register(threeSteps, log)
    log.fail = (line) => {
      if (silent === 'undo' && line.startsWith('second')) throw new HoldfastError('refused', 'no')
      if (line.startsWith(silent)) throw new HoldfastError('unreachable', 'no answer', { runbook: 'migration-stuck' })
    }
    const task = await begin(one, threeSteps, { size: 2 })
    await clock.advance(30_000)
    assert.notEqual((await one.view(task))?.record.state, 'stuck')
    await clock.advance(60_000)
    const stuck = await one.view(task)
    assert.equal(stuck?.record.state, 'stuck')
    assert.equal(stuck.record.problem?.details?.['runbook'], 'migration-stuck')
    assert.equal((await eventTypes(store)).filter((type) => type === 'task.stuck').length, 1)
    log.fail = () => undefined
    one.nudge(task)
    const view = await clock.run(one.wait(task, never), 1)
    assert.equal(view.record.state, silent === 'undo' ? 'failed' : 'done')
  })
}

test('a step after the commit is tried until it succeeds, and cannot be cancelled', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line.startsWith('third')) throw new HoldfastError('host-error', 'not now')
  }
  const task = await begin(one, threeSteps, { size: 2 })
  await clock.advance(2000)
  const refusedCancel = await one.cancel(task)
  assert.ok(!refusedCancel.ok && refusedCancel.reason === 'wrong-state')
  await clock.advance(100_000)
  assert.equal((await one.view(task))?.record.state, 'stuck')
  log.fail = () => undefined
  const view = await clock.run(one.wait(task, never), 300_000)
  assert.equal(view.record.state, 'done')
})

test('a cancel aborts the running step and undoes the task', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  const long = saga<null, Log>('test.long/1')
    .step({
      name: 'wait',
      do: async ({ signal, progress }) => {
        progress(0.5, { bytesPerSecond: 5 })
        await clock.sleep(1_000_000, signal)
      },
      undo: async ({ deps }) => note(deps, 'undo wait'),
    })
    .result(() => null)
  one.register(long, log)
  const task = await begin(one, long, null)
  await clock.advance(10)
  const before = await one.view(task)
  assert.deepEqual([before?.progress, before?.detail, before?.isCancellable], [0.5, { bytesPerSecond: 5 }, true])
  assert.ok((await one.cancel(task)).ok)
  const view = await clock.run(one.wait(task, never), 1)
  assert.equal(view.record.state, 'cancelled')
  assert.deepEqual(log.lines, ['undo wait'])
  const again = await one.cancel(task)
  assert.ok(!again.ok && again.reason === 'wrong-state')
})

test('a cancel takes effect at once while an unknown outcome is being asked after', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line === 'first') throw new HoldfastError('unreachable', 'gone')
  }
  const task = await begin(one, threeSteps, { size: 1 })
  await clock.advance(20_000)
  assert.match((await one.view(task))?.trouble ?? '', /do of first: gone/)
  const at = clock.elapsedMs
  await one.cancel(task)
  const view = await clock.run(one.wait(task, never), 1)
  assert.equal(view.record.state, 'cancelled')
  assert.ok(clock.elapsedMs <= at + 1)
})

test('a closed engine leaves its tasks for the next one, which goes on from the log', async () => {
  const { clock, log, engine } = world()
  const one = engine(1)
  one.register(threeSteps, log)
  log.fail = (line) => {
    if (line.startsWith('third')) throw new HoldfastError('unreachable', 'gone')
  }
  const task = await begin(one, threeSteps, { size: 3 })
  const waiting = one.wait(task, never)
  await clock.advance(1000)
  await Promise.all([assert.rejects(waiting, { code: 'unreachable' }), one.close()])
  await assert.rejects(one.start(threeSteps, { size: 1 }, options), { code: 'unreachable' })
  log.fail = () => undefined
  log.lines.length = 0
  await using two = engine(2)
  two.register(threeSteps, log)
  assert.deepEqual(await two.recover(), { resumed: [task], unknown: [] })
  const view = await clock.run(two.wait(task, never), 1000)
  assert.equal(view.record.state, 'done')
  assert.deepEqual(log.lines, ['third moved'])
})

test('an engine whose task another one took over lets go at its next write', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine(1)
  await using two = engine(2)
  const gate = Promise.withResolvers<undefined>()
  const gated = saga<null, Log>('test.gated/1')
    .step({
      name: 'only',
      do: async ({ deps, task }) => {
        note(deps, `do for ${(await store.get('task', task))?.value.runner === undefined ? 'nobody' : 'somebody'}`)
        await gate.promise
      },
    })
    .step({ name: 'last', do: async ({ deps }) => note(deps, 'last') })
    .result(() => null)
  one.register(gated, log)
  two.register(gated, log)
  const task = await begin(one, gated, null)
  await clock.settle()
  await two.recover()
  gate.resolve(undefined)
  const view = await clock.run(two.wait(task, never), 1000)
  assert.equal(view.record.state, 'done')
  assert.equal(log.lines.filter((line) => line === 'last').length, 1)
  assert.deepEqual(one.runningTasks, [])
})

test('a task of an unknown operation is stuck until a manager that knows it comes', async () => {
  const { clock, store, log, engine } = world()
  const one = engine(1)
  one.register(threeSteps, log)
  log.fail = () => {
    throw new HoldfastError('unreachable', 'gone')
  }
  const task = await begin(one, threeSteps, { size: 3 })
  await one.close()
  await using two = engine(2)
  assert.deepEqual(await two.recover(), { resumed: [], unknown: [task] })
  assert.deepEqual(await two.recover(), { resumed: [], unknown: [task] })
  assert.equal((await two.view(task))?.record.state, 'stuck')
  assert.equal((await eventTypes(store)).filter((type) => type === 'task.stuck').length, 1)
  log.fail = () => undefined
  await using three = engine(3)
  three.register(threeSteps, log)
  await three.recover()
  assert.equal((await clock.run(three.wait(task, never), 1000)).record.state, 'done')
})

test('a store that cannot write holds a task up, and forgets nothing', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  const task = await begin(one, threeSteps, { size: 3 })
  store.faults.beforeCommit = () => {
    throw new HoldfastError('store-error', 'the disk is full')
  }
  await clock.advance(60_000)
  assert.deepEqual(log.lines, ['first'])
  store.faults.beforeCommit = undefined as never
  const view = await clock.run(one.wait(task, never), 60_000)
  assert.equal(view.record.state, 'done')
  assert.deepEqual(log.lines, ['first', 'second 3', 'third moved'])
})

test('log writes whose replies are lost are recognised', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  let count = 0
  const task = await begin(one, threeSteps, { size: 3 })
  store.faults.afterCommit = () => {
    if (count++ % 2 === 0) throw new HoldfastError('unreachable', 'no reply')
  }
  const view = await clock.run(one.wait(task, never), 60_000)
  assert.equal(view.record.state, 'done')
  assert.deepEqual(log.lines, ['first', 'second 3', 'third moved'])
  assert.deepEqual(await eventTypes(store), ['task.started', 'task.ended'])
})

test('a start whose reply is lost runs all the same, and a refused one uses up no id', async () => {
  const { clock, store, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  const lock = await startVm(store)
  store.faults.afterCommit = () => {
    store.faults = {}
    throw new HoldfastError('unreachable', 'no reply')
  }
  const started = await one.start(threeSteps, { size: 7 }, { ...options, lock })
  assert.ok(started.ok)
  assert.ok(!(await one.start(threeSteps, { size: 7 }, { ...options, lock })).ok)
  await clock.run(one.wait(started.value, never), 1000)
  assert.equal((await store.get('vm', 'vm-1'))?.value.operation, null)
  assert.equal(await begin(one, threeSteps, { size: 1 }), 'task-2')
})

test('many tasks run side by side', async () => {
  const { clock, log, engine } = world()
  await using one = engine()
  one.register(threeSteps, log)
  const tasks = await Promise.all(Array.from({ length: 200 }, (_, size) => begin(one, threeSteps, { size })))
  const views = await clock.run(Promise.all(tasks.map((task) => one.wait(task, never))), 10_000)
  assert.ok(views.every((view) => view.record.state === 'done'))
  assert.equal(new Set(tasks).size, 200)
})
