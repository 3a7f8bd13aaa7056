/** A request with an idempotency key, and a manager that dies at any write while it answers. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../base/errors.ts'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../../base/node/index.ts'
import { MemoryStore } from '../../manager/store/memory/memory-store.ts'
import type { Commit, CommitResult } from '../../manager/store/store.ts'
import { TestManager } from '../testing/test-manager.ts'

const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }

/** The store as a manager sees it that dies at its `last`th write after `arm`: before it, or right after it. */
class MortalStore {
  readonly view: MemoryStore
  readonly dead = Promise.withResolvers<false>()
  readonly #ended = Promise.withResolvers<never>()
  #left = Infinity

  constructor(store: MemoryStore, isAfter: boolean) {
    this.#ended.promise.catch(() => undefined)
    const commit = async (commit: Commit): Promise<CommitResult> => {
      const left = --this.#left
      if (left <= 0) this.dead.resolve(false)
      if (left < 0 || (left === 0 && !isAfter)) return this.#ended.promise
      const result = await store.commit(commit)
      return left === 0 ? this.#ended.promise : result
    }
    this.view = new Proxy(store, {
      get(of, name) {
        if (name === 'commit') return commit
        const value: unknown = Reflect.get(of, name)
        return typeof value === 'function' ? (value as () => unknown).bind(of) : value
      },
    })
  }

  arm(last: number): void {
    this.#left = last
  }

  /** Lets go of what waits for the dead manager's writes. */
  end(): void {
    this.#ended.reject(new HoldfastError('store-error', 'this manager is dead'))
  }
}

const body = { name: 'web', memoryMiB: 64, nics: [] }
const disk = { name: 'fast', path: '/fast', isShared: true }

async function ask(world: TestManager, token: string, [url, payload]: readonly [string, object]) {
  const headers = { host: 'manager.test', authorization: `Bearer ${token}`, 'idempotency-key': 'once' }
  const response = await world.server.inject({ method: 'POST', url, headers, payload })
  return { status: response.statusCode, json: response.json<{ id: string }>() }
}

for (const [what, request, kind] of [
  ['a VM', ['/v1/vms', body], 'vm'],
  ['a datastore', ['/v1/datastores', disk], 'datastore'],
] as const) {
  for (const [isAfter, write] of [true, false].flatMap((after) => [1, 2, 3].map((at) => [after, at] as const))) {
    test(`${what} is made once when the manager dies ${isAfter ? 'after' : 'before'} write ${write} of the request`, async () => {
      await using store = new MemoryStore(ports.clock)
      const mortal = new MortalStore(store, isAfter)
      await using first = await TestManager.open(ports, mortal.view)
      using _end = { [Symbol.dispose]: () => mortal.end() }
      await first.addHost(mortal.view, 'one')
      const token = (await first.manager.access.createToken({ name: 't', role: 'administrator' }, 'a test')).secret
      // A token's first use is written once an hour.
      await first.manager.access.callerOfToken(token)
      mortal.arm(write)
      const lost = ask(first, token, request)
      lost.catch(() => undefined)
      const answered = await Promise.race([lost, mortal.dead.promise])
      await using second = await TestManager.open(ports, store)
      await second.addHost(store, 'two')
      const again = await ask(second, token, request)
      assert.ok(again.status === 202 || again.status === 201, JSON.stringify(again.json))
      if (answered !== false) assert.equal(again.json.id, answered.json.id)
      assert.equal((await ask(second, token, request)).json.id, again.json.id)
      const tasks = (await store.list('task')).items.filter(({ value }) => value.saga.startsWith('vm.create/'))
      assert.equal(tasks.length, kind === 'vm' ? 1 : 0)
      if (kind === 'datastore') assert.equal((await store.list('datastore')).items.length, 1)
    })
  }
}
