/** The whole lab: real manager, real agents, real guests. What a newcomer does in the first minutes, and what then breaks. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { labStatus } from '../../src/lab/status.ts'
import { leftovers } from '../../src/lab/world.ts'
import { TestLab } from '../support/lab.ts'

let lab: TestLab
before(async () => {
  lab = await TestLab.open({ name: 'tlab', hosts: 2 })
})
after(() => lab[Symbol.asyncDispose]())

test('a VM boots, gets its address, and answers this machine', async () => {
  const vm = await lab.createVm({ name: 'one', disks: [{ sizeBytes: 64 * 2 ** 20, datastore: 'shared' }] })
  assert.equal(vm.state, 'running')
  await lab.eventually('the guest answers', () => lab.pings(vm.addresses[0] ?? ''), 120_000)
})

test('the VM moves to the other host and goes on answering', async () => {
  const vm = await lab.vm('one')
  const to = lab.hosts.find((host) => host !== vm.host) ?? ''
  await lab.finish(await lab.client.call('migrateVm', { params: { vm: vm.id }, body: { host: to } }))
  assert.equal((await lab.vm('one')).host, to)
  assert.equal((await lab.qemus(to)).length, 1)
  await lab.eventually('the source has ended', async () => (await lab.qemus(vm.host ?? '')).length === 0)
  assert.ok(await lab.pings(vm.addresses[0] ?? ''))
})

test('VMs run on while the manager is dead, and it finds them again', async () => {
  const vm = await lab.vm('one')
  const before = await lab.qemus(vm.host ?? '')
  await lab.crash('manager')
  assert.ok(await lab.pings(vm.addresses[0] ?? ''))
  await lab.boot('manager')
  await lab.eventually('the manager sees it running', async () => (await lab.vm('one')).state === 'running')
  assert.deepEqual(await lab.qemus(vm.host ?? ''), before)
})

test('VMs run on while their agent is dead, and it finds them again', async () => {
  const vm = await lab.vm('one')
  const host = vm.host ?? ''
  const before = await lab.qemus(host)
  const agents = () => lab.processesOf(host, /cli\/main\.ts agent run/)
  const old = await agents()
  assert.equal(old.length, 1)
  await lab.kill(host, old)
  const killed = lab.ports.clock.now()
  assert.ok(await lab.pings(vm.addresses[0] ?? ''))
  await lab.eventually('a new agent runs', async () => (await agents()).some((pid) => !old.includes(pid)))
  await lab.eventually('it reports the VM', async () => {
    const seen = (await lab.client.call('listHosts')).items.find(({ name }) => name === host)
    return Date.parse(seen?.lastSeen ?? '') > killed + 1500 && (await lab.vm('one')).state === 'running'
  })
  assert.deepEqual(await lab.qemus(host), before)
})

test('a host that is cut off is told from one that works, and its VM runs on', async () => {
  const vm = await lab.vm('one')
  const host = vm.host ?? ''
  await lab.partition({ hosts: [host], from: ['manager'], network: 'management', isOneWay: false })
  const seen = async () => (await lab.client.call('listHosts')).items.find(({ name }) => name === host)?.state
  await lab.eventually('the manager misses it', async () => (await seen()) === 'unreachable')
  assert.ok(await lab.pings(vm.addresses[0] ?? ''))
  const status = await labStatus(lab.lab)
  assert.ok(status.cuts.some((cut) => cut.from === host && cut.to === 'manager'))
  await lab.heal()
  await lab.eventually('the manager sees it', async () => (await seen()) === 'connected')
})

test('a host that crashed boots, and its VM runs again', async () => {
  const vm = await lab.vm('one')
  const host = vm.host ?? ''
  await lab.crash(host)
  assert.deepEqual(await lab.qemus(host), [])
  await lab.boot(host)
  await lab.eventually('the VM runs', async () => (await lab.vm('one')).state === 'running', 90_000)
  await lab.eventually('the guest answers', () => lab.pings(vm.addresses[0] ?? ''), 120_000)
})

test('a lab whose outside was killed in the middle of things goes away whole', async () => {
  for (const pid of await lab.lab.machines.cgroups.processes('outside')) process.kill(pid, 'SIGKILL')
  await lab[Symbol.asyncDispose]()
  assert.deepEqual(await leftovers(lab.lab), [])
})
