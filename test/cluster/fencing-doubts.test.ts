/** Fencing that is not wanted any more, or never was: hosts that come back, and people who say otherwise. In virtual time. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'

test('a manager whose network is whole again after a cut fences none of the hosts that report again one by one', async () => {
  const switched: string[] = []
  for (const cutMs of [6000, 10_000]) {
    for (let seed = 1; seed <= 8; seed++) {
      const world = await SimulatedCluster.open({ seed, hosts: 4, hasFences: true })
      await world.clock.advance(12_000 + seed * 377)
      for (const { id } of world.hosts) world.network.cut(id, 'manager')
      await world.clock.advance(cutMs)
      for (const { id } of world.hosts) world.network.join(id)
      await world.clock.advance(30_000)
      const off = world.fences.done.filter((each) => each.startsWith('off'))
      if (off.length > 0) switched.push(`seed ${seed}, cut for ${cutMs} ms: ${off.join()}`)
    }
  }
  assert.deepEqual(switched, [])
})
