import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HostId, NetworkId } from '../../base/ids.ts'
import { defaultMonitoring } from '../../contracts/monitoring.ts'
import { aCluster, aRun, aVm } from './cluster-fixture.ts'
import { deploymentFor, hostConfiguration } from './host-configuration.ts'
import { vmState, type VmSight } from './vm-state.ts'

const nic = {
  key: 1,
  network: 'net-1' as NetworkId,
  model: 'virtio',
  mac: '52:54:00:00:00:01',
  address: '10.9.0.1',
  slot: '03',
} as const
const [host1, host2] = ['host-1' as HostId, 'host-2' as HostId]

test('a host has its datastores, and peers with all other hosts and the ends outside', () => {
  const configuration = hostConfiguration(aCluster(), host1)
  assert.deepEqual(
    configuration.datastores.map((each) => each.datastore),
    ['ds-1', 'ds-2'],
  )
  assert.deepEqual(configuration.networks[0]?.peers, ['10.2.0.2', '10.2.0.3', '192.0.2.1'])
})

test('leases follow a VM to where it arrives, and the digest changes with them', () => {
  const vm = aVm(1, 'host-1', { nics: [nic] })
  const moving = { ...vm, run: { ...vm.run, phase: 'moving' as const, target: host2 } }
  const leases = (cluster: ReturnType<typeof aCluster>, host: HostId) => hostConfiguration(cluster, host).leases.length
  assert.deepEqual([leases(aCluster({ vms: [vm] }), host1), leases(aCluster({ vms: [vm] }), host2)], [1, 0])
  assert.deepEqual([leases(aCluster({ vms: [moving] }), host1), leases(aCluster({ vms: [moving] }), host2)], [1, 1])
  const before = hostConfiguration(aCluster({ vms: [vm] }), host2).digest
  assert.notEqual(hostConfiguration(aCluster({ vms: [moving] }), host2).digest, before)
  assert.equal(hostConfiguration(aCluster({ vms: [vm] }), host2).digest, before)
})

test('a host is told which VMs are monitored, wherever they run, and nothing of it where none is', () => {
  const vm = aVm(1, 'host-1')
  const plain = hostConfiguration(aCluster({ vms: [vm] }), host2)
  assert.equal('monitored' in plain, false)
  const policies = { monitoring: { ...defaultMonitoring, reset: 'on-panic' as const } }
  const configuration = hostConfiguration(aCluster({ vms: [{ ...vm, policies }] }), host2)
  assert.deepEqual(configuration.monitored, [{ vm: 'vm-1', everyMs: null }])
  assert.notEqual(configuration.digest, plain.digest)
})

test('a deployment brings networks and leases along', () => {
  const vm = aVm(1, null, { nics: [nic] })
  const deployment = deploymentFor(aCluster({ vms: [vm] }), vm, host2, 7)
  assert.equal(deployment.generation, 7)
  assert.deepEqual(deployment.networks[0]?.peers, ['10.2.0.1', '10.2.0.3', '192.0.2.1'])
  assert.deepEqual(
    deployment.leases.map((lease) => [lease.address, lease.hostname]),
    [['10.9.0.1', 'v1']],
  )
})

const sight = (change: Partial<VmSight>): VmSight => ({
  power: 'on',
  run: aRun(),
  host: null,
  observation: null,
  operation: null,
  ...change,
})
const running = aRun({ phase: 'running', host: host1, cause: null })
const operation = (saga: string, state = 'running') => ({ saga, state, problem: null })

test('the state for people follows record, host and operation', () => {
  const state = (change: Partial<VmSight>) => vmState(sight(change)).state
  assert.equal(state({}), 'stopped')
  assert.equal(state({ operation: operation('vm.start') }), 'starting')
  assert.equal(state({ run: running, host: 'connected' }), 'running')
  assert.equal(state({ run: running, host: 'unreachable' }), 'unknown')
  assert.equal(state({ run: running, host: 'connected', operation: operation('vm.shutdown') }), 'stopping')
  assert.equal(state({ run: aRun({ phase: 'moving' }), operation: operation('vm.migrate') }), 'migrating')
  assert.equal(state({ run: aRun({ phase: 'moving' }), operation: operation('vm.migrate', 'stuck') }), 'stuck')
  assert.equal(state({ run: aRun({ phase: 'unknown' }) }), 'unknown')
})

test('a VM that stopped without being asked says why', () => {
  assert.equal(vmState(sight({ run: aRun({ cause: 'crashed' }) })).problem, 'QEMU ended without being asked')
  assert.equal(vmState(sight({ run: aRun({ cause: 'asked' }), power: 'off' })).problem, null)
})
