import assert from 'node:assert/strict'
import type { HostId, TaskId } from '../../base/ids.ts'
import type { TaskRecord } from '../store/records.ts'
import { upgradeClusterSaga, type HostUpgradesPort } from './cluster-upgrade.ts'
import { fakeWorld, host1, host2, host3, hostIds } from './fake-world.ts'
import { sagaSuite, type SuiteTools, type TrialEnd } from './suite.ts'

interface Child {
  readonly id: TaskId
  readonly host: HostId
  readonly begunAt: number
  state: TaskRecord['state']
}

const takesMs = 5000

/** Hosts that are renewed in their own time, whatever becomes of the manager; one that is called off ends as cancelled. */
class Hosts implements HostUpgradesPort {
  readonly children: Child[] = []
  readonly #tools: SuiteTools

  constructor(tools: SuiteTools) {
    this.#tools = tools
  }

  async begin({ host }: { host: HostId }): Promise<TaskId> {
    const before = this.children.at(-1)
    if (before !== undefined)
      assert.equal(this.#now(before).state, 'done', `${before.host} is done before ${host} begins`)
    const id = `task-9${this.children.length}` as TaskId
    this.children.push({ id, host, begunAt: this.#tools.clock.now(), state: 'running' })
    return id
  }

  async find(_roll: TaskId, host: HostId): Promise<TaskRecord | undefined> {
    const child = this.children.findLast((each) => each.host === host)
    return child === undefined ? undefined : this.#now(child)
  }

  async look(task: TaskId): Promise<TaskRecord> {
    const child = this.children.find(({ id }) => id === task)
    assert.ok(child)
    return this.#now(child)
  }

  async cancel(task: TaskId): Promise<void> {
    const child = this.children.find(({ id }) => id === task)
    assert.ok(child)
    if (this.#now(child).ended === null) child.state = 'cancelled'
  }

  async doing(): Promise<{ fraction: number; words: string }> {
    return { fraction: 0.5, words: 'it is renewed' }
  }

  #now(child: Child): TaskRecord {
    if (child.state === 'running' && this.#tools.clock.now() - child.begunAt >= takesMs) child.state = 'done'
    const ended = child.state === 'running' ? null : 'now'
    return { id: child.id, state: child.state, ended, problem: null, result: {} } as unknown as TaskRecord
  }
}

/** One host after the other, each once. */
async function check({ children }: Hosts, { state, record }: TrialEnd): Promise<void> {
  const done = children.filter((child) => child.state === 'done').map(({ host }) => host)
  assert.deepEqual(
    children.map(({ host }) => host),
    [host2, host1, host3].slice(0, children.length),
  )
  if (state === 'done') {
    assert.deepEqual(done, [host2, host1, host3])
    assert.equal((record.result?.['hosts'] as unknown[]).length, hostIds.length)
  }
}

sagaSuite({
  definition: upgradeClusterSaga,
  faultyDeps: ['cluster'],
  world: async (tools) => {
    const world = await fakeWorld(tools)
    const upgrades = new Hosts(tools)
    const params = { hosts: [host2, host1, host3], isByHand: false, timeoutSeconds: 1800 }
    return {
      ...{ deps: { ...world.deps, upgrades }, params },
      start: { target: null, startedBy: 'test' },
      check: (end) => check(upgrades, end),
    }
  },
})
