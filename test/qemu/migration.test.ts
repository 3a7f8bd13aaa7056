/** Moving VMs, as a user and the user's clients see it: real manager, agents and guests, in one lab of two hosts. */
import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { HoldfastError } from '../../src/base/errors.ts'
import type { Task, Vm } from '../../src/contracts/inventory.ts'
import type { MigrateVm } from '../../src/contracts/vm-requests.ts'
import { nodeFolders, storageFolders } from '../../src/lab/names.ts'
import { GuestLine } from '../support/guest-line.ts'
import { TestLab } from '../support/lab.ts'
import { RunWitness } from '../support/run-witness.ts'
import { TickStream } from '../support/tick-stream.ts'

let lab: TestLab
const mebibyte = 2 ** 20

before(async () => {
  lab = await TestLab.open({ name: `mt${process.pid % 100_000}`, hosts: 2, diskGiB: 2 })
})
after(() => lab?.[Symbol.asyncDispose]())

const other = (vm: Vm): string => lab.hosts.find((host) => host !== vm.host) ?? ''

async function begin(vm: Vm, body: MigrateVm): Promise<Task> {
  return await lab.client.call('migrateVm', { params: { vm: vm.id }, body })
}

/** Waits for a task's end, whatever it is. */
async function ended(task: Task): Promise<Task> {
  return await lab.eventually(`the end of ${task.id}`, async () => {
    const now = await lab.client.call('getTask', { params: { task: task.id }, query: { waitSeconds: 5 } })
    return now.state !== 'running' && now.state !== 'undoing' && now
  })
}

/** Waits until a task's memory stream flows. */
async function flowing(task: Task, fraction = 0.1): Promise<Task> {
  return await lab.eventually('memory flows', async () => {
    const now = await lab.client.call('getTask', { params: { task: task.id }, query: {} })
    assert.equal(now.state, 'running', JSON.stringify(now.problem))
    return now.detail?.['phase'] === 'memory' && now.progress > fraction && now
  })
}

/** What a host still has of a VM: processes, taps, its run folder. */
async function leftOn(host: string, vm: Vm): Promise<string[]> {
  const left = (await lab.processesOf(host, new RegExp(`qemu-system-x86_64 .*${vm.uuid}`))).map((pid) => `pid ${pid}`)
  const links = (await lab.run(host, ['ip', '-o', 'link'])).stdout
  if (new RegExp(`hft${vm.id.slice(3)}-`).test(links)) left.push(`a tap: ${links}`)
  if (existsSync(`${nodeFolders(lab.lab.folder, host).run}/vms/${vm.id}`)) left.push('its run folder')
  return left
}

async function nothingOn(host: string, vm: Vm): Promise<void> {
  await lab.eventually(`${host} has nothing of ${vm.name}`, async () => (await leftOn(host, vm)).length === 0, 15_000)
}

/** Files of disks on a host's local datastore. */
function localDisks(host: string): string[] {
  const { local } = storageFolders(lab.lab.folder, host)
  return readdirSync(local, { recursive: true, encoding: 'utf8' }).filter((name) => /disk-\d+\.(qcow2|raw)/.test(name))
}

test('a VM on shared storage moves, and a client that is connected misses nothing', async () => {
  let vm = await lab.createVm({ name: 'one', disks: [{ sizeBytes: 32 * mebibyte, datastore: 'shared' }] })
  assert.equal(vm.state, 'running')
  assert.ok(lab.hosts.includes(vm.host ?? ''))
  assert.equal(vm.addresses.length, 1)
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  await using witness = new RunWitness(lab, vm.id)
  await lab.eventually('QEMU answers', async () => witness.running.length === 1)
  for (let move = 0; move < 2; move++) {
    const from = vm.host ?? ''
    const to = other(vm)
    ticks.forget()
    const task = await lab.finish(await begin(vm, { host: to }))
    assert.equal(task.result?.['host'] !== undefined, true)
    await ticks.assertWhole(lab)
    vm = await lab.vm('one')
    assert.equal(vm.host, to)
    assert.equal(vm.state, 'running')
    assert.equal(vm.operation, null)
    await nothingOn(from, vm)
    assert.deepEqual(await lab.eventually('one runs', async () => witness.running.length === 1 && witness.running), [
      to,
    ])
  }
  witness.assertNeverTwo()
})

test('another operation meanwhile is refused, with the task that holds the VM; a cancel leaves it where it was', async () => {
  const vm = await lab.vm('one')
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  const task = await begin(vm, { host: other(vm), maxBandwidth: 2 * mebibyte })
  const seen = await flowing(task)
  assert.ok(seen.isCancellable)
  assert.ok(Number(seen.detail?.['totalBytes']) > 100 * mebibyte, JSON.stringify(seen.detail))
  assert.equal((await lab.vm('one')).state, 'migrating')
  const refused = await lab.client
    .call('stopVm', { params: { vm: vm.id }, body: {} })
    .catch((thrown: unknown) => thrown)
  assert.ok(refused instanceof HoldfastError)
  assert.equal(refused.code, 'operation-in-progress')
  assert.equal(refused.details['task'], task.id)
  await lab.client.call('cancelTask', { params: { task: task.id }, body: {} })
  assert.equal((await ended(task)).state, 'cancelled')
  await ticks.assertWhole(lab)
  await nothingOn(other(vm), vm)
  const now = await lab.vm('one')
  assert.deepEqual([now.host, now.state, now.operation], [vm.host, 'running', null])
})

test('a move that cannot work is refused with every reason, and changes nothing', async () => {
  const vm = await lab.vm('one')
  const toItself = await lab.client.call('precheckMigrate', { params: { vm: vm.id }, body: { host: vm.host ?? '' } })
  assert.equal(toItself.isPossible, false)
  const local = await lab.createVm({
    name: 'local',
    disks: [{ sizeBytes: 16 * mebibyte, datastore: `local-${vm.host}` }],
  })
  const noStorage = await lab.client.call('precheckMigrate', { params: { vm: local.id }, body: { host: other(local) } })
  assert.equal(noStorage.isPossible, false)
  assert.ok(
    noStorage.reasons.some(({ code }) => code === 'storage'),
    JSON.stringify(noStorage),
  )
  const thrown = await begin(local, { host: other(local) }).then(
    async (task) => await ended(task),
    (error: unknown) => error as HoldfastError,
  )
  const problem = thrown instanceof HoldfastError ? thrown : thrown.problem
  assert.equal(problem?.code, 'refused', JSON.stringify(thrown))
  assert.ok(JSON.stringify(problem.details).includes('storage'))
  assert.equal((await lab.vm('local')).operation, null)
})

test('where nothing is shared the disks move too, and the guest that works on them finds every block', async () => {
  const vm = await lab.vm('local')
  const to = other(vm)
  using line = await GuestLine.open(lab, vm.id)
  await line.run('{ disk churn /dev/vda 48 >/tmp/churn 2>&1 & }')
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  await using witness = new RunWitness(lab, vm.id)
  await lab.finish(await begin(vm, { host: to, datastore: `local-${to}` }))
  await ticks.assertWhole(lab)
  witness.assertNeverTwo()
  const now = await lab.vm('local')
  assert.equal(now.host, to)
  await nothingOn(vm.host ?? '', vm)
  // The line that was open before the move goes on after it.
  const count = async (): Promise<number> => Number(await line.run('grep -c good /tmp/churn'))
  const before = await count()
  await lab.eventually('the guest’s work on its disk goes on', async () => (await count()) > before)
  assert.equal(await line.run('grep BAD /tmp/churn'), '')
  await lab.eventually('the old copy is gone', async () => localDisks(vm.host ?? '').length === 0)
  assert.equal(localDisks(to).length, 1)
})

test('disks alone move under a guest that runs', async () => {
  const vm = await lab.vm('local')
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  await lab.finish(await begin(vm, { datastore: 'shared' }))
  await ticks.assertWhole(lab)
  using line = await GuestLine.open(lab, vm.id)
  assert.equal(await line.run('grep BAD /tmp/churn'), '')
  await line.run('kill %1; wait', 120_000)
  await line.writeDisk(9, '/dev/vda', 64)
  await line.verifyDisk(9, '/dev/vda', 64)
  assert.equal((await lab.vm('local')).host, vm.host)
  assert.deepEqual(localDisks(vm.host ?? ''), [])
})

test('a busy guest arrives by post-copy, although its memory changes faster than the cap', async () => {
  const vm = await lab.vm('one')
  using line = await GuestLine.open(lab, vm.id)
  await line.run('{ dirty 16 >/dev/null 2>&1 & }')
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  await using witness = new RunWitness(lab, vm.id)
  const body = { host: other(vm), maxBandwidth: 8 * mebibyte, autoConverge: false, allowPostCopy: true }
  const task = await lab.finish(await begin(vm, body))
  await ticks.assertWhole(lab)
  witness.assertNeverTwo()
  const events = (await lab.client.call('listEvents', { query: { limit: 1000 } })).items
  assert.ok(
    events.some((event) => event.type === 'vm.post-copy' && event.task === task.id),
    'post-copy was never begun',
  )
  assert.equal((await lab.vm('one')).host, other(vm))
  await nothingOn(vm.host ?? '', vm)
  await line.run('kill %1; wait', 120_000)
})

test('maintenance empties a host, and its VMs go on', async () => {
  const vm = await lab.vm('one')
  const host = vm.host ?? ''
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  const { id } = (await lab.client.call('listHosts')).items.find(({ name }) => name === host) ?? { id: '' }
  await lab.finish(await lab.client.call('enterMaintenance', { params: { host: id }, body: {} }))
  await ticks.assertWhole(lab)
  assert.deepEqual(await lab.qemus(host), [])
  const there = (await lab.client.call('listHosts')).items.find(({ name }) => name === host)
  assert.equal(there?.maintenance, 'on')
  assert.equal(there.vmCount, 0)
  for (const each of (await lab.client.call('listVms')).items) {
    assert.notEqual(each.host, host)
    assert.equal(each.state, 'running')
  }
  await lab.client.call('leaveMaintenance', { params: { host: id } })
})
