import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ClusterId, RuleId, VmId } from '../../base/ids.ts'
import { silentLogger } from '../../base/log.ts'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import { aCluster } from '../domain/cluster-fixture.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import type { RuleRecord } from '../store/records.ts'
import type { AppContext } from './context.ts'
import { HostRegistry } from './host-registry.ts'
import { Mirror } from './mirror.ts'
import { Rules } from './rules.ts'

function rule(number: number): RuleRecord {
  const id = `rule-${number}` as RuleId
  return {
    ...{ id, uuid: id, name: `r${number}`, created: '2026-01-01T00:00:00Z', v: 1, cluster: 'cluster-1' as ClusterId },
    ...{ kind: 'apart', strength: 'must', vms: ['vm-1', 'vm-2'] as VmId[], hosts: [] },
  }
}

test('a page of rules is judged by one view of the cluster, however many there are', async () => {
  const clock = new VirtualClock()
  await using store = new MemoryStore(clock)
  for (let number = 1; number <= 20; number++)
    await store.commit({ changes: [{ do: 'create', kind: 'rule', value: rule(number) }], events: [] })
  await using mirror = await Mirror.open({ store, clock, logger: silentLogger })
  let views = 0
  const context: AppContext = {
    ...{ store, clock, random: new SeededRandom(1), logger: silentLogger, mirror, registry: new HostRegistry(clock) },
    agent: () => assert.fail('no host is asked'),
    cluster: async () => (views++, { ...aCluster({ hosts: [] }), rules: (await mirror.fresh()).list('rule') }),
  }
  const { items } = await new Rules(context).list()
  assert.deepEqual([items.length, views], [20, 1])
  // No host takes VMs in it.
  assert.ok(items.every(({ warnings }) => warnings.length === 1))
})
