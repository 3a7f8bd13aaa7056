/** The loss of a host with real guests: its VMs start elsewhere by priority, and after the ones that they depend on. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { CreateVm } from '../../src/contracts/vm-requests.ts'
import { TestLab } from '../support/lab.ts'
import { TickStream } from '../support/tick-stream.ts'

/** The small guest listens there once it is up. */
const port = 7001

test('a VM starts again once the port of its database takes connections, and lower priorities after it', async () => {
  await using lab = await TestLab.open({ name: `rst${process.pid % 10_000}`, hosts: 3, diskGiB: 1 })
  const [, , lost = ''] = lab.hosts
  const make = async (body: Omit<CreateVm, 'memoryMiB'>): Promise<void> => {
    const { id } = await lab.createVm({ ...body, memoryMiB: 96, start: false })
    await lab.finish(await lab.client.call('startVm', { params: { vm: id }, body: { host: lost } }))
  }
  await make({ name: 'rest', policies: { restartPriority: 'low' } })
  await make({ name: 'db', policies: { restartPriority: 'low' } })
  const dependsOn = [{ vm: 'db', ready: 'port' as const, port }]
  await make({ name: 'web', policies: { restartPriority: 'critical' }, dependsOn })

  await lab.crash(lost)
  const host = (await lab.client.call('listHosts', { query: { name: lost } })).items[0]
  assert.ok(host)
  await lab.eventually('a person may say that the host is off', async () =>
    lab.client.call('confirmHostOff', { params: { host: host.id }, body: { iAmSure: true } }),
  )
  await lab.eventually('the database runs elsewhere', async () => (await lab.vm('db')).state === 'running')
  assert.equal((await lab.vm('web')).state, 'stopped', 'its guest is not up yet')
  const web = await lab.eventually('the web server runs', async () => {
    const vm = await lab.vm('web')
    return vm.state === 'running' && vm
  })
  const db = await lab.vm('db')
  {
    // It is there already: otherwise the web server would not be.
    using ticks = await TickStream.open(lab, db.addresses[0] ?? '', 5000)
    assert.ok(ticks.count > 0)
  }
  const rest = await lab.eventually('the rest runs', async () => {
    const vm = await lab.vm('rest')
    return vm.state === 'running' && vm
  })
  for (const vm of [db, web, rest]) assert.notEqual(vm.host, lost)
  const since = [db, web, rest].map((vm) => Date.parse(vm.run.since))
  assert.deepEqual(since, [...since].sort(), 'the database, what needs it, and then the lower priority')
  assert.ok(since[1]! - since[0]! > 500, 'a guest does not boot so fast')
})
