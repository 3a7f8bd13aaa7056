/** The suite passes a right saga, and catches each kind of wrong one that is planted here. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import type { VmId } from '../../base/ids.ts'
import type { VmRecord } from '../store/records.ts'
import { saga, type SagaDefinition } from './saga.ts'
import { sagaScenarios, sagaSuite, type SagaSuiteOptions, type SagaWorld, type SuiteTools } from './suite.ts'

/** A toy of a move: a copy is reserved and made on the target, the owner changes, the source's copy goes. */
class Hosts {
  owner = 'a'
  readonly copies = new Set(['a'])
  readonly reserved = new Map<string, string>()
  moves = 0

  async reserve(host: string, by: string): Promise<string> {
    this.reserved.set(by, host)
    return `ticket of ${by}`
  }
  async release(by: string): Promise<void> {
    this.reserved.delete(by)
  }
  async copyTo(host: string): Promise<void> {
    this.copies.add(host)
  }
  async drop(host: string): Promise<void> {
    this.copies.delete(host)
  }
  async handOver(to: string): Promise<void> {
    if (!this.copies.has(to)) throw new HoldfastError('wrong-state', `${to} has no copy`)
    this.owner = to
  }
  async whoOwns(): Promise<string> {
    return this.owner
  }
  async count(): Promise<void> {
    this.moves++
  }
}

interface Deps {
  readonly hosts: Hosts
}
type Definition = SagaDefinition<{ to: string }, Deps, null>

function move(
  name: string,
  parts: { forgetsUndo?: boolean; guesses?: boolean; countsTwice?: boolean } = {},
): Definition {
  return saga<{ to: string }, Deps>(name)
    .step({
      name: 'reserve',
      do: ({ deps, params, task }) => deps.hosts.reserve(params.to, task),
      undo: ({ deps, task }) => deps.hosts.release(task),
    })
    .step({
      name: 'copy',
      do: async ({ deps, params }) => {
        await deps.hosts.copyTo(params.to)
        if (parts.countsTwice === true) await deps.hosts.count()
      },
      ...(parts.forgetsUndo === true ? {} : { undo: ({ deps, params }) => deps.hosts.drop(params.to) }),
    })
    .commit({
      name: 'hand-over',
      do: ({ deps, params }) => deps.hosts.handOver(params.to),
      settle: async ({ deps, params }) => {
        const owner = parts.guesses === true ? 'a' : await deps.hosts.whoOwns()
        if (owner === params.to) return { verdict: 'committed', output: undefined }
        return { verdict: 'not-committed', code: 'host-error', reason: 'it was not handed over' }
      },
    })
    .step({ name: 'drop-source', do: ({ deps }) => deps.hosts.drop('a') })
    .step({ name: 'release', do: ({ deps, task }) => deps.hosts.release(task) })
    .result(() => null)
}

async function world({ store }: SuiteTools): Promise<SagaWorld<{ to: string }, Deps>> {
  const hosts = new Hosts()
  const value = { id: 'vm-1', name: 'web', operation: null } as unknown as VmRecord
  const created = await store.commit({ changes: [{ do: 'create', kind: 'vm', value }], events: [] })
  assert.ok(created.ok)
  return {
    deps: { hosts },
    params: { to: 'b' },
    start: {
      target: { kind: 'vm', id: 'vm-1', name: 'web' },
      startedBy: 'suite',
      lock: { vm: 'vm-1' as VmId, expectedRevision: created.revision },
    },
    check: ({ state }) => {
      const owner = state === 'done' ? 'b' : 'a'
      assert.equal(hosts.owner, owner, `owned by ${hosts.owner} after ${state}`)
      assert.deepEqual([...hosts.copies], [owner], `copies after ${state}`)
      assert.equal(hosts.reserved.size, 0, 'a reservation is left')
      assert.ok(hosts.moves <= 1, 'counted twice')
    },
  }
}

function suiteOf(definition: Definition): SagaSuiteOptions<{ to: string }, Deps, null> {
  return { definition, world, faultyDeps: ['hosts'], randomRuns: 50 }
}

async function failuresOf(definition: Definition): Promise<string[]> {
  const failures: string[] = []
  for (const scenario of sagaScenarios(suiteOf(definition))) {
    await scenario.run().catch((thrown: unknown) => failures.push(`${scenario.name}: ${String(thrown)}`))
  }
  return failures
}

sagaSuite(suiteOf(move('test.move/1')))

sagaSuite({
  definition: saga<null, { done: Set<string> }>('test.no-commit/1')
    .step({
      name: 'one',
      do: async ({ deps }) => void deps.done.add('one'),
      undo: async ({ deps }) => void deps.done.delete('one'),
    })
    .step({
      name: 'two',
      do: async ({ deps }) => void deps.done.add('two'),
      undo: async ({ deps }) => void deps.done.delete('two'),
    })
    .result(() => null),
  world: () => {
    const done = new Set<string>()
    const start = { target: null, startedBy: 'suite' }
    return {
      deps: { done },
      params: null,
      start,
      check: ({ state }) => assert.equal(done.size, state === 'done' ? 2 : 0),
    }
  },
})

test('the suite catches a step without its undo', async () => {
  const failures = await failuresOf(move('test.forgets/1', { forgetsUndo: true }))
  assert.ok(
    failures.some((failure) => failure.startsWith('hand-over fails:')),
    failures.join('\n'),
  )
})

test('the suite catches a judge that guesses', async () => {
  const failures = await failuresOf(move('test.guesses/1', { guesses: true }))
  assert.ok(
    failures.some((failure) => failure.startsWith('hand-over loses its reply:')),
    failures.join('\n'),
  )
  assert.ok(
    failures.some((failure) => failure.includes('dies around each log write')),
    failures.join('\n'),
  )
  assert.ok(!failures.some((failure) => failure.startsWith('it runs undisturbed:')), failures.join('\n'))
})

test('the suite catches a step that is not idempotent', async () => {
  const failures = await failuresOf(move('test.counts/1', { countsTwice: true }))
  assert.ok(
    failures.some((failure) => failure.startsWith('copy is done twice:')),
    failures.join('\n'),
  )
})

test('the suite catches a do that leaves something behind when its second call fails', async () => {
  const right = move('test.leaves/1')
  const steps = right.steps.map((step) =>
    step.name === 'reserve' && step.kind === 'step'
      ? {
          ...step,
          undo: async (context: Parameters<NonNullable<typeof step.undo>>[0]) => {
            // Undoes only what it was told of: wrong, since a reply that is lost tells nothing.
            if (context.output !== undefined) await step.undo?.(context)
          },
        }
      : step,
  )
  const failures = await failuresOf({ ...right, steps })
  assert.ok(
    failures.some((failure) => failure.startsWith('reserve fails after it was done:')),
    failures.join('\n'),
  )
})
