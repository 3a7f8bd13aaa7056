/** Rolls over the hosts, in virtual time: the real manager and agents, simulated programs that renew a host. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Host, Task, Vm } from '../../src/contracts/inventory.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { Faults } from '../../src/sim/cluster/faults.ts'
import { settle } from '../../src/sim/cluster/settled.ts'
import { call, SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'

interface Stage {
  readonly world: SimulatedCluster
  readonly client: Client
  readonly vms: readonly Vm[]
}

async function stage(vmCount = 4): Promise<Stage> {
  const world = await SimulatedCluster.open({ seed: 1, hosts: 3 })
  const client = new Client(world)
  const vms: Vm[] = []
  for (let at = 1; at <= vmCount; at++) {
    const vm = await world.run(client.createRunning({ name: `vm${at}`, datastore: 'shared' }))
    client.names.set(vm.id, vm.name)
    vms.push(vm)
  }
  return { world, client, vms }
}

type Body = Parameters<Stage['world']['manager']['ask']>[0] extends (manager: infer M) => unknown
  ? M extends { api: { upgradeCluster: (asked: infer A, ...rest: never[]) => unknown } }
    ? A extends { body: infer B }
      ? B
      : never
    : never
  : never

const begin = ({ world }: Stage, body: Body = {}): Promise<Task> =>
  world.run(world.ask((manager) => manager.api.upgradeCluster({ params: {}, body }, call)))

async function taskNow({ world }: Stage, task: string): Promise<Task> {
  return await world.run(world.ask((manager) => manager.api.getTask({ params: { task }, query: {} }, call)))
}

/** As it ended. */
async function ended(set: Stage, task: string, withinMs = 3_600_000): Promise<Task> {
  const until = set.world.clock.elapsedMs + withinMs
  for (;;) {
    const now = await taskNow(set, task)
    if (now.ended !== null) return now
    assert.ok(set.world.clock.elapsedMs < until, `it has not ended: ${JSON.stringify(now)}`)
    await set.world.clock.advance(1000)
  }
}

/** Lets time pass until the roll says this of itself. */
async function says(set: Stage, task: string, words: RegExp): Promise<void> {
  for (const until = set.world.clock.elapsedMs + 600_000; set.world.clock.elapsedMs < until;) {
    const { detail, ended: over } = await taskNow(set, task)
    assert.equal(over, null, 'it has ended')
    if (words.test(String(detail?.['phase']))) return
    await set.world.clock.advance(200)
  }
  assert.fail(`it never said ${words.source}`)
}

async function hosts({ world }: Stage): Promise<Host[]> {
  return (await world.run(world.ask((manager) => manager.api.listHosts({ params: {} }, call)))).items
}

/** VM → the host of its record. */
async function places({ client, world }: Stage): Promise<Record<string, string | null>> {
  return Object.fromEntries((await world.run(client.listVms())).map((vm) => [vm.name, vm.host]))
}

async function eventsOf({ world }: Stage, type: string): Promise<string[]> {
  const all = await world.run(world.store.events({ revision: 0, sequence: 0 }, 10_000))
  assert.ok(all !== 'relist')
  return all.filter((event) => event.type === type).map((event) => event.message)
}

/** Nothing is wrong, and no guest has begun anew. */
async function isWhole({ world, client, vms }: Stage): Promise<void> {
  new Faults(world, client).heal()
  assert.deepEqual(await settle(world, client), [], world.trace.lines.join('\n'))
  for (const vm of vms) assert.equal(world.truth.boots.get(vm.spec.uuid)?.size, 1, `${vm.name} has booted once`)
}

const ran = ({ world }: Stage): number[] => world.hosts.map((host) => host.upgrade.ran.length)

test('every host is renewed, those with the fewest VMs first, and each VM is back where it was', async () => {
  const set = await stage()
  const before = await places(set)
  const task = await ended(set, (await begin(set)).id)
  assert.equal(task.state, 'done', JSON.stringify(task.problem))
  assert.deepEqual(ran(set), [1, 1, 1])
  assert.deepEqual(await places(set), before)
  const done = await hosts(set)
  assert.deepEqual(
    done.map(({ maintenance, facts, upgraded }) => [maintenance, facts?.agentVersion, upgraded?.from.agent]),
    done.map(() => ['off', '0.2.0', '0.1.0']),
  )
  const told = await eventsOf(set, 'host.upgraded')
  assert.equal(told.length, 3)
  assert.match(
    told[0] ?? '',
    /^node\d is renewed and takes VMs again: agent 0\.1\.0 → 0\.2\.0, QEMU 10\.0\.2 as before$/,
  )
  await isWhole(set)
})

test('a manager that dies again and again does not keep the roll from its end', async () => {
  for (const everyMs of [900, 3700, 11_000]) {
    const set = await stage(3)
    const before = await places(set)
    const { id } = await begin(set)
    for (let deaths = 0; deaths < 12; deaths++) {
      await set.world.clock.advance(everyMs + deaths * 310)
      set.world.manager.kill()
      await set.world.clock.advance(1500)
      await set.world.run(set.world.manager.start())
    }
    const task = await ended(set, id)
    assert.equal(task.state, 'done', JSON.stringify(task.problem))
    assert.deepEqual(ran(set), [1, 1, 1], `every ${everyMs} ms`)
    assert.deepEqual(await places(set), before)
    await isWhole(set)
  }
})

test('a program that fails ends the roll: its host stays in maintenance, the others are not touched', async () => {
  const set = await stage()
  set.world.host(set.world.hosts[1]!.id).upgrade.habit = 'fails'
  const task = await ended(set, (await begin(set, { hosts: ['node1', 'node2', 'node3'] })).id)
  assert.equal(task.state, 'failed')
  assert.match(
    task.problem?.detail ?? '',
    /^node2: the program .* failed \(exit code 3\)\. Its last words:\nE: no such/,
  )
  assert.match(task.problem?.mend ?? '', /host maintenance node2 --leave/)
  assert.deepEqual(ran(set), [1, 1, 0])
  assert.deepEqual(
    (await hosts(set)).map(({ maintenance }) => maintenance),
    ['off', 'on', 'off'],
  )
  await isWhole(set)
})

test('a host without a program takes VMs again, and the roll ends', async () => {
  const set = await stage(3)
  set.world.hosts[0]!.upgrade.habit = 'is-missing'
  const task = await ended(set, (await begin(set, { hosts: ['node1', 'node2'] })).id)
  assert.match(task.problem?.detail ?? '', /^node1: this host has no program that renews it$/)
  assert.deepEqual(ran(set), [0, 0, 0])
  assert.equal((await hosts(set))[0]?.maintenance, 'off')
  await isWhole(set)
})

test('a host whose agent does not begin anew is waited for, and its time is over some day', async () => {
  const set = await stage(2)
  set.world.hosts[0]!.upgrade.habit = 'forgets-the-agent'
  const { id } = await begin(set, { hosts: ['node1', 'node2'], hostTimeoutSeconds: 120 })
  await says(
    set,
    id,
    /^node1 \(1 of 2\): its agent is the one from before: its program has not started the agent anew$/,
  )
  const task = await ended(set, id)
  assert.match(task.problem?.detail ?? '', /^node1: node1 is not back 120 s after it was emptied: its agent is the one/)
  assert.deepEqual(ran(set), [1, 0, 0])
  assert.equal((await hosts(set))[0]?.maintenance, 'on')
  await isWhole(set)
})

test('a host that does not come back ends the roll', async () => {
  const set = await stage(3)
  const [first] = set.world.hosts
  const { id } = await begin(set, { hosts: ['node1', 'node2'], hostTimeoutSeconds: 180 })
  await says(set, id, /its program/)
  first!.crash()
  const task = await ended(set, id)
  assert.match(task.problem?.detail ?? '', /^node1: node1 is not back .*: it does not answer$/)
  assert.deepEqual(ran(set).slice(1), [0, 0])
  await isWhole(set)
})

test('another host that is lost meanwhile holds the roll up, and ends it when it does not come back', async () => {
  const set = await stage(2)
  const { id } = await begin(set, { hosts: ['node1', 'node2'], hostTimeoutSeconds: 120 })
  await says(set, id, /its program/)
  set.world.hosts[2]!.crash()
  await says(set, id, /^node2 \(2 of 2\): not before all is well: node3 is unreachable$/)
  const task = await ended(set, id)
  assert.match(task.problem?.detail ?? '', /^the roll ends before node2: node3 is unreachable$/)
  assert.deepEqual(ran(set), [1, 0, 0])
  assert.equal((await hosts(set))[0]?.maintenance, 'off')
  set.world.hosts[2]!.isOn = true
  await set.world.run(set.world.hosts[2]!.boot())
})

test('by hand each host is waited for until its agent has begun anew, however long that takes', async () => {
  const set = await stage(3)
  const before = await places(set)
  const { id } = await begin(set, { hosts: ['node1'], byHand: true, hostTimeoutSeconds: 60 })
  await says(set, id, /^node1 \(1 of 1\): its agent is the one from before: renew it, then start its agent anew$/)
  await set.world.clock.advance(300_000)
  set.world.hosts[0]!.killAgent()
  await set.world.run(set.world.hosts[0]!.boot())
  assert.equal((await ended(set, id)).state, 'done')
  assert.deepEqual(ran(set), [0, 0, 0])
  assert.deepEqual(await places(set), before)
  await isWhole(set)
})

async function allTakeVms(set: Stage): Promise<void> {
  for (const { id, maintenance } of await hosts(set)) {
    if (maintenance !== 'off') await set.world.run(set.client.leaveMaintenance(id))
  }
}

test('cancelled while a person may be working on it, the host stays in maintenance until that person takes it out', async () => {
  const set = await stage(3)
  const { id } = await begin(set, { hosts: ['node1', 'node2'], byHand: true })
  await says(set, id, /renew it, then/)
  const before = await places(set)
  await set.world.run(set.client.cancel(id))
  assert.equal((await ended(set, id)).state, 'cancelled')
  assert.deepEqual(
    (await hosts(set)).map(({ maintenance }) => maintenance),
    ['on', 'off', 'off'],
  )
  assert.deepEqual(await places(set), before)
  await allTakeVms(set)
  await isWhole(set)
})

test('cancelled while the program works, the host stays in maintenance', async () => {
  const set = await stage(3)
  set.world.hosts[0]!.upgrade.habit = 'hangs'
  const { id } = await begin(set, { hosts: ['node1', 'node2'] })
  await says(set, id, /its program runs/)
  await set.world.run(set.client.cancel(id))
  assert.equal((await ended(set, id)).state, 'cancelled')
  const [host] = await hosts(set)
  assert.equal(host?.maintenance, 'on')
  const leaving = set.world.run(
    set.world.ask((manager) => manager.api.leaveMaintenance({ params: { host: host.id } }, call)),
  )
  await assert.rejects(leaving, { code: 'wrong-state', message: /its upgrade program runs/ })
  await isWhole(set)
})

test('what somebody has moved or stopped meanwhile is let be', async () => {
  const set = await stage(6)
  const host = set.world.hosts[0]!
  const here = set.vms.filter((vm) => vm.run.host === host.id)
  assert.equal(here.length, 2)
  const { id } = await begin(set, { hosts: ['node1'], byHand: true })
  await says(set, id, /renew it, then/)
  const [moved, stopped] = here
  const at = (await places(set))[moved!.name]
  const other = at === 'node2' ? 'node3' : 'node2'
  const move = await set.world.run(set.client.migrate(moved!.id, { host: other }))
  await ended(set, move!.id)
  const stop = await set.world.run(
    set.world.ask((manager) => manager.api.stopVm({ params: { vm: stopped!.id }, body: {} }, call)),
  )
  await ended(set, stop.id)
  host.killAgent()
  await set.world.run(host.boot())
  const task = await ended(set, id)
  const [result] = task.result?.['hosts'] as { back: number; stayed: { name: string; reason: string }[] }[]
  assert.equal(result?.back, 0)
  assert.deepEqual(
    result.stayed.map(({ reason }) => reason),
    ['somebody has moved it', 'it is stopped'],
  )
  assert.equal((await places(set))[moved!.name], other)
})

test('two rolls at once, a host in maintenance, and a lost host are refused', async () => {
  const set = await stage(1)
  const { id } = await begin(set, { byHand: true })
  await assert.rejects(begin(set), { code: 'wrong-state', message: `hosts are being rolled over already (${id})` })
  await set.world.run(set.client.cancel(id))
  await ended(set, id)
  await allTakeVms(set)
  const both = await Promise.allSettled([begin(set, { byHand: true }), begin(set, { byHand: true })])
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  const [won] = both.flatMap((each) => (each.status === 'fulfilled' ? [each.value.id] : []))
  await set.world.run(set.client.cancel(won!))
  await ended(set, won!)
  set.world.hosts[2]!.crash()
  await set.world.clock.advance(20_000)
  await assert.rejects(begin(set, { hosts: ['node1'] }), { code: 'wrong-state', message: /node3 is unreachable$/ })
})
