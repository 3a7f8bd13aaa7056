import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { WebSocket } from 'ws'
import { nodeClock, nodeFiles, nodeProcesses, nodeRandom } from '../../base/node/index.ts'
import type { HostId, TaskId, VmId } from '../../base/ids.ts'
import { consoleCloseCodes } from '../../contracts/console-codes.ts'
import { stepRunRecord, type RunTransition } from '../../contracts/run-record.ts'
import { MemoryStore } from '../../manager/store/memory/memory-store.ts'
import { TestManager } from '../testing/test-manager.ts'

const ports = { clock: nodeClock(), files: nodeFiles(), processes: nodeProcesses(), random: nodeRandom() }
const store = new MemoryStore(ports.clock)
let world: TestManager
let url = ''

before(async () => {
  world = await TestManager.open(ports, store)
  await world.addHost(store, 'one')
  await world.addHost(store, 'two')
  await world.server.listen({ host: '127.0.0.1', port: 0 })
  const address = world.server.server.address()
  url = `ws://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
})
after(async () => {
  await world[Symbol.asyncDispose]()
  await store[Symbol.asyncDispose]()
})

async function open(vm: string, kind: 'serial' | 'vnc') {
  const ticket = await world.manager.api.createTicket({ params: { vm }, body: { kind } }, world.context)
  const socket = new WebSocket(url + ticket.url, 'binary')
  const heard = { text: '' }
  const hearing = new Set<() => void>()
  socket.on('message', (data: Buffer) => {
    heard.text += data.toString()
    for (const look of hearing) look()
  })
  const hears = async (pattern: RegExp): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<undefined>()
    const look = (): void => (pattern.test(heard.text) ? resolve(undefined) : undefined)
    hearing.add(look)
    look()
    await promise
    hearing.delete(look)
  }
  await once(socket, 'open')
  return { socket, hears, heard }
}

/** Moves the record as the agents of a migration would. */
async function move(vm: VmId, transitions: readonly RunTransition[]): Promise<void> {
  for (const transition of transitions) {
    const stored = await store.get('run', vm)
    assert.ok(stored !== undefined)
    const next = stepRunRecord(stored.value.run, transition, '2026-01-01T00:00:00Z')
    assert.ok(next.ok)
    const value = { ...stored.value, run: next.record }
    await store.commit({ changes: [{ do: 'update', kind: 'run', value, expected: stored.revision }], events: [] })
  }
}

function otherThan(host: HostId | null): HostId {
  const other = [...world.hosts.keys()].find((each) => each !== host)
  assert.ok(other !== undefined)
  return other
}

test('a serial console stays open while the VM moves, and goes on with the new host', { timeout: 20_000 }, async () => {
  const vm = await world.addVm('serial')
  const to = otherThan(vm.hostId)
  const { socket, hears } = await open(vm.id, 'serial')
  await hears(new RegExp(`${vm.hostId ?? ''}:${vm.id}> `))
  await move(vm.id, [
    { event: 'move', target: to, task: 'task-99' as TaskId },
    { event: 'arrived', by: to },
  ])
  await hears(new RegExp(`${to}:${vm.id}> `))
  socket.send(Buffer.from('still me'))
  await hears(/still me/)
  assert.equal(socket.readyState, WebSocket.OPEN)
  const closed = once(socket, 'close')
  await move(vm.id, [{ event: 'stopped', by: to, cause: 'asked' }])
  // The guest's line ends with its QEMU.
  for (const host of world.hosts.values()) host.hangUp()
  assert.equal((await closed)[0], consoleCloseCodes.ended)
})

test('a screen is closed with `moved` when the VM moves: its client connects again', { timeout: 20_000 }, async () => {
  const vm = await world.addVm('screen')
  const to = otherThan(vm.hostId)
  const { socket } = await open(vm.id, 'vnc')
  const closed = once(socket, 'close')
  await move(vm.id, [
    { event: 'move', target: to, task: 'task-98' as TaskId },
    { event: 'arrived', by: to },
  ])
  assert.equal((await closed)[0], consoleCloseCodes.moved)
})

test('a wrong path or ticket gets a refusal, not a socket', { timeout: 20_000 }, async () => {
  for (const [path, status] of [
    ['/v1/consoles?ticket=wrong', 401],
    ['/v1/consoles', 401],
    ['/v1/elsewhere', 404],
  ] as const) {
    const [, response] = (await once(new WebSocket(url + path), 'unexpected-response')) as [
      unknown,
      { statusCode: number },
    ]
    assert.equal(response.statusCode, status)
  }
})
