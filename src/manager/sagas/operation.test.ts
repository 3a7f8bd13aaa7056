import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { VmRecord } from '../store/records.ts'
import { SagaEngine } from './engine.ts'
import { beginOperation, type Operation } from './operation.ts'
import { saga, type SagaDefinition } from './saga.ts'

const never = new AbortController().signal

test('what the manager does by itself gives way to what somebody asks for, and to nothing else', async () => {
  const clock = new VirtualClock()
  const [store, lines] = [new MemoryStore(clock), [] as string[]]
  await using one = new SagaEngine({ store, clock, random: new SeededRandom(1), logger: silentLogger })
  const steps = (name: string, givesWay: boolean) =>
    saga<null, null>(name, { givesWay })
      .step({
        name: 'wait',
        do: ({ signal }) => clock.sleep(60_000, signal),
        undo: async () => void lines.push(`undo ${name}`),
      })
      .result(() => null)
  const [background, other] = [steps('test.background/1', true), steps('test.other/1', false)]
  const wish = saga<null, null>('test.wish/1')
    .step({ name: 'act', do: async () => void lines.push('the wish') })
    .result(() => null)
  for (const definition of [background, other, wish]) one.register(definition, null)
  const vm = { id: 'vm-1', name: 'web', operation: null } as unknown as VmRecord
  await store.commit({ changes: [{ do: 'create', kind: 'vm', value: vm }], events: [] })
  const operation = async (definition: SagaDefinition<null, null, null>): Promise<Operation<null>> => {
    const stored = await store.get('vm', 'vm-1')
    assert.ok(stored)
    const target = { kind: 'vm', id: vm.id, name: vm.name }
    return { saga: definition, params: null, target, lock: { vm: stored.value.id, expectedRevision: stored.revision } }
  }
  const asks = (name: string, definition: SagaDefinition<null, null, null>): Promise<TaskId> =>
    clock.run(
      beginOperation(one, { name }, () => operation(definition)),
      60_000,
    )
  const isHeldBy = (task: TaskId) => (thrown: HoldfastError) =>
    thrown.code === 'operation-in-progress' && thrown.details['task'] === task

  const held = await asks('reconciler/keeper', background)
  await assert.rejects(asks('reconciler/other', wish), isHeldBy(held))
  const done = await asks('admin', wish)
  assert.equal((await one.view(held))?.record.state, 'cancelled')
  await clock.run(one.wait(done, never), 1000)
  assert.deepEqual(lines, ['undo test.background/1', 'the wish'])

  const asked = await asks('admin', background)
  await assert.rejects(asks('admin', wish), isHeldBy(asked), 'somebody has asked for it')
  await one.cancel(asked)
  await clock.run(one.wait(asked, never), 1000)
  const firm = await asks('reconciler/keeper', other)
  await assert.rejects(asks('admin', wish), isHeldBy(firm), 'it is of a kind that does not give way')
  await one.cancel(firm)
})
