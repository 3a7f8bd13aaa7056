/**
 * A lab of three managers on etcd and hosts that nothing can switch off: leases, the watchdog's program, and the word of the
 * other hosts, with real guests.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Host, Vm } from '../../src/contracts/inventory.ts'
import { TestLab } from '../support/lab.ts'

let lab: TestLab
const managers = ['manager', 'manager2', 'manager3']

before(async () => {
  lab = await TestLab.open({ name: 'lse', hosts: 3, managers: 3 })
})
after(async () => {
  await lab[Symbol.asyncDispose]()
})

const hosts = async (): Promise<readonly Host[]> => (await lab.client.call('listHosts')).items

async function allHold(): Promise<void> {
  await lab.eventually('every host is connected and holds its lease', async () =>
    (await hosts()).every(({ state, lease }) => state === 'connected' && lease !== null && lease.state !== 'over'),
  )
}

async function isArmed(vm: Vm): Promise<boolean> {
  const host = (await hosts()).find(({ id }) => id === vm.hostId)
  return host?.lease?.state === 'held' && host.lease.armed.includes(vm.id)
}

/** A VM that its host's watchdog stops when the host is cut off, and one that is left running beside it. */
async function pair(name: string): Promise<{ armed: Vm & { host: string }; left: Vm }> {
  await allHold()
  const disks = [{ sizeBytes: 2 ** 28, datastore: 'shared' }]
  const armed = await lab.createVm({ name, memoryMiB: 64, disks, policies: { isolation: 'stop' } })
  assert.ok(armed.host !== null)
  const made = await lab.createVm({ name: `${name}-left`, memoryMiB: 64, disks, start: false })
  const { id } = made
  await lab.finish(await lab.client.call('startVm', { params: { vm: id }, body: { host: armed.host } }))
  await lab.eventually('it is armed', () => isArmed(armed))
  return { armed: { ...armed, host: armed.host }, left: await lab.vm(made.name) }
}

const runsElsewhere = (vm: Vm & { host: string }): Promise<Vm> =>
  lab.eventually(`${vm.name} runs on another host than ${vm.host}`, async () => {
    const seen = await lab.vm(vm.name)
    return seen.state === 'running' && seen.host !== vm.host && seen
  })

async function remove(...names: string[]): Promise<void> {
  await allHold()
  for (const name of names) {
    const vm = await lab.vm(name)
    if (vm.state !== 'stopped') await lab.finish(await lab.client.call('stopVm', { params: { vm: vm.id }, body: {} }))
    await lab.finish(await lab.client.call('deleteVm', { params: { vm: vm.id } }))
  }
}

async function eventTypes(host: string): Promise<string[]> {
  const { items } = await lab.client.call('listEvents', { query: { limit: 1000 } })
  return items.filter(({ subject }) => subject?.name === host).map(({ type }) => type)
}

test('a host that dies: what is armed runs elsewhere by the lease alone, the rest waits for proof', async () => {
  const { armed, left } = await pair('dies')
  const at = Date.now()
  await lab.crash(armed.host)
  await runsElsewhere(armed)
  console.log(`from the crash to running elsewhere, by the lease alone: ${Date.now() - at} ms`)
  assert.equal((await lab.vm(left.name)).state, 'unknown')
  const types = await eventTypes(armed.host)
  assert.ok(types.includes('host.lease-over') && types.includes('host.silent'), types.join())
  await lab.heal()
  await lab.eventually('the rest runs again', async () => (await lab.vm(left.name)).state === 'running')
  await remove(armed.name, left.name)
})

test('a host that is cut off from managers and hosts ends what is armed, and nothing else', async () => {
  const { armed, left } = await pair('cut')
  const qemusBefore = await lab.qemus(armed.host)
  assert.equal(qemusBefore.length, 2)
  await lab.partition({ hosts: [armed.host], network: 'management', isOneWay: false })
  await runsElsewhere(armed)
  const after = await lab.qemus(armed.host)
  assert.equal(after.length, 1, 'one of the two was ended')
  // It shares storage with the others, which see that it lives.
  assert.ok((await eventTypes(armed.host)).includes('host.isolated'))
  const shown = (await hosts()).find(({ name }) => name === armed.host)
  assert.deepEqual([shown?.lease?.state, shown?.seenBy.some(({ storage }) => storage === true)], ['over', true])
  await lab.heal()
  await allHold()
  assert.deepEqual(await lab.qemus(armed.host), after, 'what was left running runs on')
  await remove(armed.name, left.name)
})

test('the loss of all managers ends nothing, and the lease counts again when they are back', async () => {
  const { armed, left } = await pair('alone')
  const before = await lab.qemus(armed.host)
  for (const manager of managers) await lab.crash(manager)
  const agent = `/var/lib/holdfast/agent/lease.json`
  await lab.eventually('every other host has vouched', async () => {
    const { stdout } = await lab.run(armed.host, ['cat', agent])
    return (JSON.parse(stdout) as { isReleased: boolean }).isReleased
  })
  // Well beyond the moment at which it would have been ended.
  await lab.ports.clock.sleep(6000)
  assert.deepEqual(await lab.qemus(armed.host), before)
  for (const manager of managers) await lab.boot(manager)
  await allHold()
  await lab.eventually('it is armed again', () => isArmed(armed))
  assert.deepEqual(await lab.qemus(armed.host), before)
  await remove(armed.name, left.name)
})

test('the leading manager dies: another answers, and hosts keep their leases', async () => {
  const { armed, left } = await pair('lead')
  const before = await lab.qemus(armed.host)
  const { items } = await lab.client.call('listManagers')
  const leader = items.find(({ state }) => state === 'leads')?.name
  assert.ok(leader !== undefined)
  await lab.crash(leader)
  const next = await lab.eventually('another leads', async () => {
    const found = (await lab.client.call('listManagers')).items.find(({ state }) => state === 'leads')
    return found !== undefined && found.name !== leader && found
  })
  await lab.eventually('it is armed still', () => isArmed(armed))
  assert.deepEqual(await lab.qemus(armed.host), before)
  console.log(`${next.name} leads after ${leader}`)
  await lab.heal()
  await remove(armed.name, left.name)
})
