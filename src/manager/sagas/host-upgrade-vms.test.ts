import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SeededRandom } from '../../sim/seeded-random.ts'
import { VirtualClock } from '../../sim/virtual-clock.ts'
import type { ClusterView } from '../domain/cluster-view.ts'
import { MemoryStore } from '../store/memory/memory-store.ts'
import { addVm, fakeWorld, host1, shared, vm1 } from './fake-world.ts'
import { isBetweenVersions } from './host-upgrade-vms.ts'

/** VM 1 on host 1; a version of QEMU for each host. */
async function cluster(...versions: string[]): Promise<ClusterView> {
  const clock = new VirtualClock()
  const world = await fakeWorld({ store: new MemoryStore(clock), clock, random: new SeededRandom(1) })
  await addVm(world, { on: host1, datastore: shared })
  const view = await world.deps.cluster()
  const hosts = view.hosts.map((host, at) => {
    const { facts } = host
    assert.ok(facts)
    return { ...host, facts: { ...facts, qemu: { ...facts.qemu, version: versions[at] ?? '' } } }
  })
  return { ...view, hosts }
}

test('a VM on the last host with the old QEMU is not waited for; one that another host could hold is', async () => {
  assert.equal(isBetweenVersions(await cluster('9.0.0', '10.0.0', '10.0.0'), vm1), true)
  assert.equal(isBetweenVersions(await cluster('9.0.0', '9.0.0', '10.0.0'), vm1), false)
  const view = await cluster('9.0.0', '9.0.0', '10.0.0')
  const hosts = view.hosts.map((host, at) => (at === 1 ? { ...host, maintenance: 'on' as const } : host))
  assert.equal(isBetweenVersions({ ...view, hosts }, vm1), true)
  assert.equal(isBetweenVersions({ ...view, hosts: view.hosts.slice(0, 1) }, vm1), false)
})
