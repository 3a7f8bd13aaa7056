/** Lost hosts of a real lab: real agents and guests, the lab's fence agent as a real program, its power switch. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Event, Host, Vm } from '../../src/contracts/inventory.ts'
import { TestLab } from '../support/lab.ts'

let lab: TestLab

before(async () => {
  lab = await TestLab.open({ name: 'fnc', hosts: 3, hasFence: true })
})
after(async () => {
  await lab[Symbol.asyncDispose]()
})

async function hostOf(name: string): Promise<Host> {
  const host = (await lab.client.call('listHosts')).items.find((each) => each.name === name)
  assert.ok(host, `there is no ${name}`)
  return host
}

async function eventsAfter(revision: number): Promise<readonly Event[]> {
  return (await lab.client.call('listEvents', { query: { afterRevision: revision } })).items
}

const now = async (): Promise<number> => (await lab.client.call('getCluster')).revision

async function allConnected(): Promise<void> {
  await lab.eventually('every host is connected', async () =>
    (await lab.client.call('listHosts')).items.every(({ state }) => state === 'connected'),
  )
}

/** A VM that answers, on a host of its own choice. */
async function answeringVm(name: string): Promise<Vm & { host: string; address: string }> {
  await allConnected()
  const vm = await lab.createVm({
    name,
    disks: [{ sizeBytes: 2 ** 30, datastore: 'shared' }],
    nics: [{ network: 'default' }],
  })
  const [address] = vm.addresses
  assert.ok(address !== undefined && vm.host !== null)
  await lab.eventually(`${name} answers`, () => lab.pings(address))
  return { ...vm, host: vm.host, address }
}

async function runsElsewhere(vm: { name: string; host: string }): Promise<Vm> {
  return await lab.eventually(
    `${vm.name} runs on another host than ${vm.host}`,
    async () => {
      const seen = await lab.vm(vm.name)
      return seen.state === 'running' && seen.host !== vm.host && seen
    },
    30_000,
  )
}

/** Also of a guest that had moved: the lab has room for few. */
async function remove(name: string): Promise<void> {
  await allConnected()
  const { id } = await lab.vm(name)
  await lab.finish(await lab.client.call('stopVm', { params: { vm: id }, body: {} }))
  await lab.finish(await lab.client.call('deleteVm', { params: { vm: id } }))
}

test('a host that crashes is fenced by itself: its VM answers from another, and it comes back', async () => {
  const vm = await answeringVm('crashed')
  const from = await now()
  const at = Date.now()
  await lab.crash(vm.host)
  await runsElsewhere(vm)
  const tookMs = Date.now() - at
  await lab.eventually('it answers', () => lab.pings(vm.address))
  await allConnected()
  const events = await eventsAfter(from)
  const terms = events.filter(({ type, subject }) => subject?.name === vm.host || /^vm\.|task\./.test(type))
  for (const { time, type, message } of terms) console.log(`${Date.parse(time) - at} ms  ${type}: ${message}`)
  console.log(`from the crash to running elsewhere: ${tookMs} ms`)
  const types = events.filter(({ subject }) => subject?.name === vm.host).map(({ type }) => type)
  for (const type of ['host.fenced', 'host.switched-on', 'host.back']) assert.ok(types.includes(type), types.join())
  await remove(vm.name)
})

test('a host that is frozen is really off before its VM runs elsewhere', async () => {
  const vm = await answeringVm('frozen')
  const [qemu] = await lab.qemus(vm.host)
  assert.ok(qemu !== undefined)
  const before = await lab.ports.processes.identify(qemu)
  assert.ok(before)
  await lab.freeze(vm.host)
  await runsElsewhere(vm)
  assert.equal(await lab.ports.processes.isAlive(before), false)
  await lab.eventually('it answers', () => lab.pings(vm.address))
  await remove(vm.name)
})

test('while the device fails nothing is started, and it goes on when the device is mended', async () => {
  const vm = await answeringVm('unfenced')
  // However this test ends, the next ones get a switch that works.
  await using cleanup = new AsyncDisposableStack()
  cleanup.defer(() => lab.fenceFault(vm.host, undefined))
  const from = await now()
  await lab.fenceFault(vm.host, 'fail')
  await lab.crash(vm.host)
  const failed = await lab.eventually('people are told', async () =>
    (await eventsAfter(from)).find(({ type }) => type === 'host.fence-failed'),
  )
  assert.match(failed.message, /cannot be fenced: .*the power switch has a fault/)
  // A host counts as connected for longer than it takes to fence it.
  await lab.eventually('its VM is in doubt', async () => (await lab.vm(vm.name)).state === 'unknown')
  assert.ok(!(await eventsAfter(from)).some(({ type }) => type === 'vm.started'))
  await lab.fenceFault(vm.host, undefined)
  await runsElsewhere(vm)
  await remove(vm.name)
})

test('a wrong password is refused when it is set and found by a test, and no secret is ever shown', async () => {
  await allConnected()
  const { id } = await hostOf('host1')
  const set = (password: string, untested?: boolean) =>
    lab.client.call('setHostFence', {
      params: { host: id },
      body: {
        ...{ agent: 'fence_holdfast_lab', options: { plug: 'host1' }, secrets: { password } },
        ...(untested === undefined ? {} : { untested }),
      },
    })
  await assert.rejects(set('sesame street'), (thrown: Error) => {
    assert.match(thrown.message, /does not know this password/)
    assert.doesNotMatch(thrown.message, /sesame/)
    return true
  })
  assert.equal((await hostOf('host1')).fence?.state, 'ok', 'the one before is still there')
  await set('sesame street', true)
  const shown = await hostOf('host1')
  assert.equal(shown.fence?.state, 'failing')
  assert.deepEqual(shown.fence.levels[0]?.[0]?.secrets, ['password'])
  const all = [shown, await eventsAfter(0), await lab.client.call('listTasks')]
  assert.doesNotMatch(JSON.stringify(all), /sesame/)
  const log = await lab.ports.files.readText(`${lab.lab.folder}/hosts/manager/data/init/manager.log`)
  assert.doesNotMatch(log, /sesame/)
  const inventory = Buffer.from(await lab.ports.files.read(`${lab.lab.folder}/hosts/manager/data/manager/inventory.db`))
  assert.equal(inventory.includes('sesame'), false)
  const { fencePassword = '' } = await lab.lab.existing()
  await set(fencePassword)
  assert.equal((await hostOf('host1')).fence?.state, 'ok')
})

test('a person switches a connected host off by force, and its agent knows its options', async () => {
  await allConnected()
  const { id } = await hostOf('host3')
  const body = { agent: 'fence_holdfast_lab', options: { plug: 'host3', ipaddr: '10.0.0.1' } }
  await assert.rejects(lab.client.call('setHostFence', { params: { host: id }, body }), /ipaddr is unknown/)
  await assert.rejects(lab.client.call('fenceHost', { params: { host: id }, body: {} }), /is connected/)
  const done = await lab.finish(await lab.client.call('fenceHost', { params: { host: id }, body: { force: true } }))
  assert.equal(done.result?.['outcome'], 'off')
  assert.equal((await hostOf('host3')).state, 'confirmed-off')
  assert.equal((await lab.lab.power('host3', 'status')).power, 'off')
  await lab.boot('host3')
  await allConnected()
})
