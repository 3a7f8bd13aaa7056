/** Starting again after the loss of hosts, with the real manager and real agents in virtual time: order, waits, rules, room. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../../src/base/errors.ts'
import type { Vm } from '../../src/contracts/inventory.ts'
import type { CallOf } from '../../src/contracts/routes.ts'
import { restartPriorities, type RestartPriority } from '../../src/contracts/restart-words.ts'
import type { FakeGuestHabits } from '../../src/sim/fake-guest.ts'
import { Client } from '../../src/sim/cluster/client.ts'
import { call, SimulatedCluster } from '../../src/sim/cluster/simulated-cluster.ts'

type Body = Partial<CallOf<'createVm'>['body']> & { readonly on?: string; readonly priority?: RestartPriority }

class Stage {
  readonly world: SimulatedCluster
  readonly client: Client

  private constructor(world: SimulatedCluster) {
    this.world = world
    this.client = new Client(world)
  }

  static async open(habits: Partial<FakeGuestHabits> = {}, seed = 1): Promise<Stage> {
    return new Stage(await SimulatedCluster.open({ seed, habits }))
  }

  /** Makes a VM and starts it on a host. */
  async vm(name: string, { on = 'node1', priority, ...body }: Body = {}): Promise<Vm> {
    const { world } = this
    const policies = priority === undefined ? {} : { restartPriority: priority }
    const disks = [{ sizeBytes: 1024 * 1024, datastore: 'shared' }]
    const full: CallOf<'createVm'>['body'] = { name, memoryMiB: 64, video: 'none', nics: [], disks, policies, ...body }
    const made = await world.run(world.ask((manager) => manager.api.createVm({ params: {}, body: full }, call)))
    const id = made.target?.id ?? ''
    await this.until(`${name} is made`, async () => (await this.task(made.id)).state === 'done')
    if (on !== '') {
      const task = await world.run(
        world.ask((manager) => manager.api.startVm({ params: { vm: id }, body: { host: on } }, call)),
      )
      await this.until(`${name} runs`, async () => (await this.task(task.id)).state === 'done')
    }
    return this.show(id)
  }

  task(id: string) {
    return this.world.run(this.world.ask((manager) => manager.api.getTask({ params: { task: id } }, call)))
  }

  show(vm: string): Promise<Vm> {
    return this.world.run(this.world.ask((manager) => manager.api.getVm({ params: { vm } }, call)))
  }

  async until(what: string, isTrue: () => Promise<boolean>, withinMs = 900_000): Promise<void> {
    const end = this.world.clock.elapsedMs + withinMs
    while (!(await isTrue().catch(() => false))) {
      if (this.world.clock.elapsedMs > end)
        throw new Error(`it never was that ${what}\n${this.world.trace.lines.slice(-60).join('\n')}`)
      await this.world.clock.advance(200)
    }
  }

  allRun(vms: readonly Vm[]): Promise<void> {
    return this.until('all run', async () => {
      const states = await Promise.all(vms.map((vm) => this.world.store.get('run', vm.id)))
      return states.every(
        (stored) => stored?.value.run.phase === 'running' && this.world.host(stored.value.run.host!).isOn,
      )
    })
  }

  /** The power of a host goes, and a person says so. */
  async lose(name: string): Promise<void> {
    const host = this.world.hosts.find((each) => each.name === name)!
    host.crash()
    await this.world.run(this.client.confirmOff(host.id, () => true))
  }

  /** Ids of VMs in the order in which their vCPUs have begun to run since this line of the trace. */
  startsSince(line: number): string[] {
    return this.world.trace.lines.slice(line).flatMap((text) => /vCPUs of (vm-\d+) on \S+ run/.exec(text)?.[1] ?? [])
  }

  sound(): void {
    assert.deepEqual(this.world.truth.violations, [], this.world.trace.lines.slice(-80).join('\n'))
  }
}

const levels = ['critical', 'high', 'medium', 'low'] as const

/** No VM begins to run before all those of higher levels do, and none does twice. */
function assertInOrder(order: readonly string[], vms: ReadonlyMap<string, RestartPriority>): void {
  assert.equal(new Set(order).size, order.length, `${order.join()}: each starts once`)
  const reached = order.map((vm) => restartPriorities.indexOf(vms.get(vm) ?? 'medium'))
  assert.deepEqual(
    reached,
    [...reached].sort((a, b) => b - a),
    order.map((vm) => `${vm} ${vms.get(vm) ?? ''}`).join(),
  )
}

test('the VMs of a lost host start elsewhere by priority, and disabled ones do not', async () => {
  const stage = await Stage.open()
  const priorities = new Map<string, RestartPriority>()
  const vms: Vm[] = []
  for (let at = 0; at < 12; at++) {
    // From the last to the first, so that no other order looks right by chance.
    const priority = restartPriorities[at % restartPriorities.length]!
    const vm = await stage.vm(`v${at}`, { priority })
    priorities.set(vm.id, priority)
    vms.push(vm)
  }
  const line = stage.world.trace.lines.length
  await stage.lose('node1')
  const wanted = vms.filter((vm) => priorities.get(vm.id) !== 'disabled')
  await stage.allRun(wanted)
  const order = stage.startsSince(line)
  assert.equal(order.length, wanted.length)
  assertInOrder(order, priorities)
  const disabled = await stage.show(vms[0]!.id)
  assert.equal(disabled.state, 'stopped')
  assert.match(disabled.problem ?? '', /its host was lost; its restart priority is disabled/)
  stage.sound()
})

test('the order holds, and each starts once, when the manager is killed at any call in the middle', async () => {
  const stage = await Stage.open()
  const priorities = new Map<string, RestartPriority>()
  const vms: Vm[] = []
  for (const [at, priority] of [...levels, ...levels].reverse().entries()) {
    const vm = await stage.vm(`v${at}`, { priority })
    priorities.set(vm.id, priority)
    vms.push(vm)
  }
  const { world } = stage
  for (let calls = 2, round = 0; calls < 140; calls += 6, round++) {
    const lost = world.hosts[round % 3]!
    const line = world.trace.lines.length
    await stage.lose(lost.name)
    world.manager.process!.life.endAfter(calls)
    await world.clock.runUntil(() => world.manager.process?.isAlive !== true, 60_000)
    world.manager.kill()
    await world.run(world.manager.start())
    await stage.allRun(vms)
    assertInOrder(stage.startsSince(line), priorities)
    stage.sound()
    await world.run(lost.boot.call(Object.assign(lost, { isOn: true })))
    await stage.until('it is back', async () => {
      const { items } = await world.run(world.ask((manager) => manager.api.listHosts({ params: {} }, call)))
      return items.every(({ state, datastores }) => state === 'connected' && datastores.every((each) => each.isUsable))
    })
  }
})

test('a VM waits for the agent in the guest of the one it depends on, and no longer than its time limit', async () => {
  const stage = await Stage.open({ agentAfterMs: 20_000 })
  const db = await stage.vm('db', { priority: 'low' })
  const web = await stage.vm('web', { priority: 'critical', dependsOn: [{ vm: 'db', ready: 'guest-agent' }] })
  const late = await stage.vm('late', { dependsOn: [{ vm: 'db', ready: 'port', port: 5432, timeoutSeconds: 90 }] })
  await stage.lose('node1')
  const startedAt = new Map<string, number>()
  await stage.until('all run', async () => {
    for (const vm of [db, web, late]) {
      const run = (await stage.world.store.get('run', vm.id))?.value.run
      const isNew = run?.phase === 'running' && run.host !== 'host-1' && !startedAt.has(vm.id)
      if (isNew) startedAt.set(vm.id, stage.world.clock.elapsedMs)
    }
    return startedAt.size === 3
  })
  const after = (vm: Vm): number => startedAt.get(vm.id)! - startedAt.get(db.id)!
  assert.ok(after(web) >= 20_000 && after(web) < 26_000, `web started ${after(web)} ms after db`)
  assert.ok(after(late) >= 89_000 && after(late) < 95_000, `late started ${after(late)} ms after db`)
  const cycle = stage.world.ask((manager) =>
    manager.api.changeVm({ params: { vm: db.id }, body: { dependsOn: [{ vm: 'web' }] } }, call),
  )
  await assert.rejects(stage.world.run(cycle), /db → web → db/)
  stage.sound()
})

test('a rule that must be kept leaves a VM waiting with its name, until there is a host for it', async () => {
  const stage = await Stage.open()
  const vms = [
    await stage.vm('a', { on: 'node1' }),
    await stage.vm('b', { on: 'node2' }),
    await stage.vm('c', { on: 'node3' }),
  ]
  const { world } = stage
  const add = (name: string, kind: 'apart' | 'together') =>
    world.run(
      world.ask((manager) => manager.api.createRule({ params: {}, body: { name, kind, vms: ['a', 'b', 'c'] } }, call)),
    )
  const rule = await add('spread', 'apart')
  assert.deepEqual([rule.strength, rule.warnings], ['must', []])
  await assert.rejects(add('close', 'together'), /spread keeps a and b apart/)
  const move = (force: boolean) =>
    world.run(
      world.ask((manager) =>
        manager.api.precheckMigrate({ params: { vm: vms[0]!.id }, body: { host: 'node2', force } }, call),
      ),
    )
  assert.match((await move(false)).reasons[0]?.message ?? '', /the rule spread forbids node2: b is there/)
  assert.equal((await move(true)).isPossible, true)
  await stage.lose('node1')
  await stage.until('it says why', async () =>
    /a rule forbids it.*the rule spread/.test((await stage.show(vms[0]!.id)).problem ?? ''),
  )
  const { items } = await world.run(
    world.ask((manager) => manager.api.listEvents({ params: {}, query: { limit: 1000 } }, call)),
  )
  assert.equal(items.filter((event) => event.type === 'vm.restart-waits').length, 1, 'told once')
  const node1 = world.hosts[0]!
  await world.run(node1.boot.call(Object.assign(node1, { isOn: true })))
  await stage.allRun(vms)
  const back = await stage.show(vms[0]!.id)
  assert.deepEqual([back.host, back.problem], ['node1', null])
  stage.sound()
})

test('a VM whose storage is on the lost host waits, says so, holds up nobody, and starts by itself when it is back', async () => {
  const stage = await Stage.open()
  const disks = [{ sizeBytes: 1024 * 1024, datastore: 'local1' }]
  const local = await stage.vm('local', { priority: 'critical', disks })
  const other = await stage.vm('other', { priority: 'low' })
  await stage.lose('node1')
  await stage.until('the other one runs', async () => (await stage.show(other.id)).state === 'running', 15_000)
  await stage.until('it says why', async () =>
    /its storage is on no connected host: local1/.test((await stage.show(local.id)).problem ?? ''),
  )
  const node1 = stage.world.hosts[0]!
  await stage.world.run(node1.boot.call(Object.assign(node1, { isOn: true })))
  await stage.allRun([local])
  assert.equal((await stage.show(local.id)).problem, null)
  stage.sound()
})

test('admission control refuses a power-on that eats the room for a failure, and never a restart', async () => {
  const stage = await Stage.open()
  const { world } = stage
  const ask = <T>(work: Parameters<typeof world.ask<T>>[0]): Promise<T> => world.run(world.ask(work))
  const info = await ask((manager) =>
    manager.api.changeCluster({ params: {}, body: { admission: { policy: 'hosts', hosts: 1 } } }, call),
  )
  assert.deepEqual(info.admission, { policy: 'hosts', hosts: 1 })
  const big = { memoryMiB: 3584 }
  const vms = [
    await stage.vm('a', { on: 'node1', ...big }),
    await stage.vm('b', { on: 'node2', ...big }),
    await stage.vm('c', { on: 'node3', ...big }),
  ]
  const report = await ask((manager) => manager.api.getAdmission({ params: {} }, call))
  assert.deepEqual([report.isKept, report.survives, report.capacityMiB, report.usedMiB], [true, 1, 21_504, 10_752])
  const d = await stage.vm('d', { on: '', ...big })
  await stage.vm('e', { on: '', ...big })
  const start = await ask((manager) => manager.api.startVm({ params: { vm: d.id }, body: {} }, call))
  await stage.until('it is decided', async () => (await stage.task(start.id)).ended !== null)
  assert.equal((await stage.task(start.id)).state, 'done', 'four on three hosts: any one may fail')
  const e = (await ask((manager) => manager.api.listVms({ params: {}, query: { name: 'e' } }, call))).items[0]!
  const refused = await ask((manager) => manager.api.startVm({ params: { vm: e.id }, body: {} }, call))
  await stage.until('it is decided', async () => (await stage.task(refused.id)).ended !== null)
  const { problem } = await stage.task(refused.id)
  assert.equal(problem?.code, 'no-capacity')
  assert.match(
    problem?.detail ?? '',
    /e needs 3\.5 GiB: room for 1 host failure is to be kept: if node\d failed, VMs with 7 GiB/,
  )
  const maintenance = ask((manager) => manager.api.enterMaintenance({ params: { host: 'host-1' }, body: {} }, call))
  await assert.rejects(
    maintenance,
    (thrown: HoldfastError) => thrown.code === 'no-capacity' && /without node1/.test(thrown.message),
  )
  await stage.lose('node1')
  await stage.allRun([...vms, d])
  stage.sound()
})

test('after a power cut of everything VMs start by priority as the hosts come back', async () => {
  const stage = await Stage.open()
  const priorities = new Map<string, RestartPriority>()
  const vms: Vm[] = []
  for (const [at, priority] of [...levels, ...levels, ...levels].reverse().entries()) {
    const vm = await stage.vm(`v${at}`, { priority, on: `node${(at % 3) + 1}` })
    priorities.set(vm.id, priority)
    vms.push(vm)
  }
  const { world } = stage
  const line = world.trace.lines.length
  world.manager.kill()
  for (const host of world.hosts) host.crash()
  await world.clock.advance(30_000)
  await world.run(world.manager.start())
  for (const host of world.hosts) {
    host.isOn = true
    await world.run(host.boot())
    await world.clock.advance(2500)
  }
  await stage.allRun(vms)
  assertInOrder(stage.startsSince(line), priorities)
  stage.sound()
})
