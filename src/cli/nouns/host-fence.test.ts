import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fakeManager, fakeWorld, type FakeManager } from '../testing/fake-surroundings.ts'
import { memoryFiles } from '../testing/memory-files.ts'
import { page, sampleHost } from '../testing/samples.ts'

const device = { agent: 'fence_ipmilan', options: { ip: '10.0.0.9' }, secrets: ['password'] }
const fence = {
  levels: [[device]],
  then: 'on',
  state: 'failing',
  problem: 'no login',
  testedAt: '2026-01-02T03:04:00.000Z',
}

function manager(answers: FakeManager['answers'] = {}): FakeManager {
  const host = () => sampleHost({ fence })
  return fakeManager({ listHosts: () => page(sampleHost()), getHost: host, setHostFence: host, ...answers })
}

test('set-fence reads secrets from files and sends nothing that was not said', async () => {
  const files = memoryFiles({ '/home/ada/pw': 'hunter2\n', '/home/ada/community': 'private' })
  const world = fakeWorld(manager(), { files })
  const device = ['--agent', 'fence_apc', '--option', 'ip=10.0.0.9', '--option', 'plug=a=b', '--level', '2']
  const secrets = ['--password-file', 'pw', '--secret-file', 'snmp_community=community']
  assert.equal(await world.run('host', 'set-fence', 'host-1', ...device, ...secrets), 0, world.terminal.written.err)
  assert.deepEqual(world.manager.calls[0]?.input.body, {
    agent: 'fence_apc',
    options: { ip: '10.0.0.9', plug: 'a=b' },
    secrets: { password: 'hunter2', snmp_community: 'private' },
    level: 2,
  })
})

test('an option that is no pair and a file that is not there are refused', async () => {
  const agent = ['host', 'set-fence', 'host-1', '--agent', 'fence_apc']
  const world = fakeWorld(manager(), { files: memoryFiles() })
  assert.equal(await world.run(...agent, '--option', 'ip'), 2)
  assert.equal(await fakeWorld(manager(), { files: memoryFiles() }).run(...agent, '--password-file', 'none'), 3)
})

test('an empty file is no password, and a dash is standard input', async () => {
  const agent = ['host', 'set-fence', 'host-1', '--agent', 'fence_apc', '--password-file']
  const world = fakeWorld(manager(), { files: memoryFiles({ '/home/ada/pw': '\n', '/dev/stdin': 'hunter2\n' }) })
  assert.notEqual(await world.run(...agent, 'pw'), 0)
  assert.match(world.terminal.written.err, /pw is empty/)
  assert.equal(await world.run(...agent, '-'), 0, world.terminal.written.err)
  const last = world.manager.calls.findLast(({ input }) => input.body !== undefined)
  assert.deepEqual(last?.input.body, { agent: 'fence_apc', options: {}, secrets: { password: 'hunter2' } })
})

test('host show has the devices and the last test, and names secrets alone', async () => {
  const world = fakeWorld(manager())
  await world.run('host', 'show', 'host-1')
  assert.match(world.terminal.written.out, /level 1 {2}fence_ipmilan ip=10\.0\.0\.9 password=\(kept sealed\)/)
  assert.match(world.terminal.written.out, /no login, tested/)
})

test('fence-test fails where a device does, and says which', async () => {
  const devices = [
    { level: 1, agent: 'fence_ipmilan', power: null, problem: 'status failed: no login' },
    { level: 2, agent: 'fence_apc', power: 'on', problem: null },
  ]
  const world = fakeWorld(manager({ testHostFence: () => ({ state: 'failing', devices }) }))
  assert.equal(await world.run('host', 'fence-test', 'host1'), 1)
  assert.match(
    world.terminal.written.out,
    /level 1 {2}fence_ipmilan: status failed: no login\nlevel 2 {2}fence_apc: works; says on/,
  )
})

test('a host is not switched off without a word of consent', async () => {
  const world = fakeWorld(manager())
  assert.equal(await world.run('host', 'fence', 'host1'), 2)
  assert.match(world.terminal.written.err, /--yes/)
})
