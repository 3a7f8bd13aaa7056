import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../base/clock.ts'
import type { VmId } from '../../base/ids.ts'
import { aCluster, aHost, aSpec, aVm } from '../domain/cluster-fixture.ts'
import { place } from '../domain/placement.ts'
import { HostPromises } from './host-promises.ts'

test('two VMs that start at once, before the log of either says where, take two hosts', () => {
  let now = 0
  const promises = new HostPromises({ monotonic: () => now } as Clock)
  const cluster = aCluster({
    hosts: [aHost(1, { load1: 0.1 }), aHost(2, { load1: 2 })],
    vms: [aVm(1, null), aVm(2, null)],
  })
  const start = (vm: string) =>
    promises.choose(cluster, vm as VmId, (seen) => {
      const placement = place(seen, { vm: vm as VmId, spec: aSpec() })
      assert.ok(placement.ok)
      return placement.host
    })
  assert.deepEqual([start('vm-1'), start('vm-2')], ['host-1', 'host-2'])
  // The same VM again does not stand in its own way.
  assert.equal(start('vm-1'), 'host-1')
  // A choice that nobody has heard of since counts no more.
  now = 10_000
  assert.equal(start('vm-2'), 'host-1')
})
