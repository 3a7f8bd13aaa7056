/** Test code: what the searches of crashes share: a manager's reconcilers and sagas over fake hosts, in virtual time. */
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import type { VirtualClock } from '../../sim/virtual-clock.ts'
import { registerSagas } from '../sagas/all.ts'
import type { OperationsPort } from '../sagas/deps.ts'
import { SagaEngine } from '../sagas/engine.ts'
import { fakeWorld, type FakeWorld } from '../sagas/fake-world.ts'
import { beginOperation } from '../sagas/operation.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { ReconcilerDeps } from './deps.ts'
import { Reconcilers } from './reconcilers.ts'

export interface Running extends AsyncDisposable {
  readonly deps: ReconcilerDeps
  readonly world: FakeWorld
  readonly clock: VirtualClock
  readonly random: SeededRandom
  readonly store: MemoryStore
}

/** A manager's loops over fake hosts, its inventory a little behind as a real one's. */
export async function openFakeManager(seed: number, clock: VirtualClock): Promise<Running> {
  const [store, random] = [new MemoryStore(clock), new SeededRandom(seed)]
  const world = await fakeWorld({ store, clock, random })
  const engine = new SagaEngine({ store, clock, random: random.fork(), logger: silentLogger })
  const operations: OperationsPort = {
    leaveHost: () => Promise.reject(new Error('not used')),
    ended: () => Promise.reject(new Error('not used')),
    cancel: () => Promise.resolve(),
  }
  registerSagas(engine, { ...world.deps, operations })
  const lists = new Map<string, readonly unknown[]>()
  const refresh = async (): Promise<void> => {
    for (const kind of ['host', 'vm', 'run', 'disk'] as const) {
      lists.set(
        kind,
        (await store.list(kind)).items.map(({ value }) => value),
      )
    }
  }
  await refresh()
  const closing = new AbortController()
  const follow = (async () => {
    while (!closing.signal.aborted) {
      await clock.sleep(500, closing.signal).catch(() => undefined)
      await refresh()
    }
  })()
  const deps: ReconcilerDeps = {
    ...world.deps,
    inventory: { list: (kind) => (lists.get(kind) ?? []) as never },
    begin: (name, build) => beginOperation(engine, { name }, build),
    nudge: () => engine.nudge(),
  }
  const reconcilers = Reconcilers.start(deps)
  return {
    ...{ deps, world, clock, random, store },
    [Symbol.asyncDispose]: async () => {
      closing.abort(new Error('over'))
      await Promise.all([follow, reconcilers[Symbol.asyncDispose](), engine.close()])
    },
  }
}
