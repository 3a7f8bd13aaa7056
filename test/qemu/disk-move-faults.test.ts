/**
 * The agent or QEMU is killed while a running VM's disk moves to another datastore: as the guest stands still for the
 * switch, as it goes on, and at other instants. The guest finds every block, one file is the VM's, by the manager's word
 * and by QEMU's own, and nothing is left of the other.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { after, before, test, type TestContext } from 'node:test'
import type { Task, Vm } from '../../src/contracts/inventory.ts'
import { nodeFolders, storageFolders } from '../../src/lab/names.ts'
import { GuestLine } from '../support/guest-line.ts'
import { TestLab } from '../support/lab.ts'
import { RunWitness } from '../support/run-witness.ts'

type Place = 'local' | 'shared'
/** The guest stands still for the switch, goes on after it, or so many milliseconds have gone since the request. */
type Instant = 'STOP' | 'RESUME' | number

const host = 'host1'
const name = 'mover'
const patienceMs = 120_000
let lab: TestLab

before(async () => {
  lab = await TestLab.open({ name: `mk${process.pid % 100_000}`, hosts: 1, diskGiB: 1 })
  await lab.createVm({ name, disks: [{ sizeBytes: 48 * 2 ** 20, datastore: 'shared' }] })
})
after(() => lab?.[Symbol.asyncDispose]())

/** Files of disks on a datastore. */
function filesOn(place: Place): string[] {
  const folder = `${storageFolders(lab.lab.folder, host)[place]}/disks`
  return readdirSync(folder).filter((file) => /^disk-\d+\.(qcow2|raw)/.test(file))
}

async function placeOf(vm: Vm): Promise<Place> {
  const stores = (await lab.client.call('listDatastores')).items
  const found = stores.find(({ id }) => id === vm.spec.disks[0]?.datastore)
  return found?.name === 'shared' ? 'shared' : 'local'
}

/** The files of disks that QEMU itself has open. */
function filesInUse(vm: Vm): string[] {
  const folder = `/proc/${qemuPid(vm)}/fd`
  const open = readdirSync(folder).flatMap((fd) => {
    try {
      return [readlinkSync(`${folder}/${fd}`)]
    } catch {
      return []
    }
  })
  return [...new Set(open.filter((file) => /\/disk-\d+\.qcow2/.test(file)))]
}

function qemuPid(vm: Vm): number {
  const file = `${nodeFolders(lab.lab.folder, host).run}/vms/${vm.id}/machine.json`
  return (JSON.parse(readFileSync(file, 'utf8')) as { process: { pid: number } }).process.pid
}

/** Moves the disk to where it is not, and kills `pids` at that instant. Resolves with the task's end. */
async function moveAndKill(vm: Vm, at: Instant, pids: number[], witness: RunWitness): Promise<Task> {
  let isOver = false
  const strike = (): void => {
    if (!isOver) for (const pid of pids) process.kill(pid, 'SIGKILL')
    isOver = true
  }
  using _ = witness.on((_host, moment) => {
    if (moment === at) strike()
  })
  const to = (await placeOf(vm)) === 'shared' ? `local-${host}` : 'shared'
  const task = await lab.client.call('migrateVm', { params: { vm: vm.id }, body: { datastore: to } })
  if (typeof at === 'number') {
    await lab.ports.clock.sleep(at)
    strike()
  }
  const end = await lab.eventually(
    `the end of ${task.id}`,
    async () => {
      const now = await lab.client.call('getTask', { params: { task: task.id }, query: { waitSeconds: 2 } })
      return !['running', 'undoing', 'stuck'].includes(now.state) && now
    },
    patienceMs,
  )
  assert.ok(isOver, 'nothing was killed')
  return end
}

/** One file is the VM's, by every account, and the other is gone. */
async function assertOneFile(context: TestContext, end: Task): Promise<Vm> {
  const vm = await lab.eventually(
    'it runs',
    async () => {
      const now = await lab.vm(name)
      return now.state === 'running' && now.operation === null && now
    },
    patienceMs,
  )
  const [place, open] = [await placeOf(vm), filesInUse(vm)]
  assert.deepEqual(
    open.map((file) => (file.includes('/shared/') ? 'shared' : 'local')),
    [place],
    `QEMU is on ${open.join(', ')}`,
  )
  const other = place === 'shared' ? 'local' : 'shared'
  await lab.eventually('the other copy is gone', async () => filesOn(other).length === 0, patienceMs)
  assert.equal(filesOn(place).length, 1)
  context.diagnostic(`${end.state}${end.problem === null ? '' : ` (${end.problem.detail})`}; the disk is on ${place}`)
  return vm
}

async function agents(): Promise<number[]> {
  const pids = await lab.eventually('one agent', async () => {
    const found = await lab.processesOf(host, /cli\/main\.ts agent run/)
    return found.length === 1 && found
  })
  await lab.eventually('it is connected', async () => {
    const known = (await lab.client.call('listHosts')).items[0]
    return known?.state === 'connected'
  })
  return pids
}

test('the agent is killed at any instant: the guest works on and finds every block', async (context) => {
  let vm = await lab.vm(name)
  {
    using line = await GuestLine.open(lab, vm.id)
    await line.run('{ disk churn /dev/vda 32 >/tmp/churn 2>&1 & }')
  }
  await using witness = new RunWitness(lab, vm.id)
  let stood = 0
  for (const at of ['STOP', 'RESUME', 40, 'STOP', 200] as const) {
    const pids = await agents()
    await lab.eventually('QEMU answers', async () => witness.running.length === 1)
    const before = witness.spans.length
    const end = await moveAndKill(vm, at, pids, witness)
    vm = await assertOneFile(context, end)
    const [last, next] = witness.spans.slice(before - 1, before + 1)
    // The agent died before its note was durable when the guest stood until another came.
    if (at === 'STOP' && next !== undefined && next.from - (last?.until ?? next.from) > 300) stood++
    using line = await GuestLine.open(lab, vm.id)
    const count = async (): Promise<number> => Number(await line.run('grep -c good /tmp/churn'))
    const good = await count()
    await lab.eventually('the guest works on', async () => (await count()) > good)
    assert.equal(await line.run('grep BAD /tmp/churn'), '')
  }
  context.diagnostic(`the agent died between the switch and its note ${stood} times`)
  assert.ok(stood > 0, 'the agent never died between the switch and its note')
  using line = await GuestLine.open(lab, vm.id)
  await line.run('kill $!; wait', patienceMs)
})

for (const at of ['STOP', 'RESUME'] as const) {
  const when = at === 'STOP' ? 'as the guest stands still for the switch' : 'as the guest goes on after the switch'
  test(`QEMU is killed ${when}: started again, the guest finds every block`, async (context) => {
    const before = await lab.vm(name)
    {
      using line = await GuestLine.open(lab, before.id)
      await line.writeDisk(7, '/dev/vda', 64)
    }
    await using witness = new RunWitness(lab, before.id)
    await lab.eventually('QEMU answers', async () => witness.running.length === 1)
    const end = await moveAndKill(before, at, [qemuPid(before)], witness)
    const vm = await assertOneFile(context, end)
    using line = await GuestLine.open(lab, vm.id)
    await line.verifyDisk(7, '/dev/vda', 64)
  })
}
