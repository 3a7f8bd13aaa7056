import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HoldfastError } from '../base/errors.ts'
import { routePaths } from '../contracts/paths.ts'
import type { RouteName } from '../contracts/routes.ts'
import { fakeTerminal, fakeWorld, type FakeWorld } from './testing/fake-surroundings.ts'
import { kindManager } from './testing/kind-manager.ts'
import { memoryFiles } from './testing/memory-files.ts'
import { page, sampleTask, sampleVm } from './testing/samples.ts'

/** For each route a command line that leads to it. */
const wayTo: Record<RouteName, string[] | 'browsers only'> = {
  getCluster: ['cluster', 'show'],
  changeCluster: ['cluster', 'change', '--admission', 'hosts', '--host-failures', '1'],
  getAdmission: ['cluster', 'admission'],
  upgradeCluster: ['cluster', 'upgrade'],
  listRules: ['rule', 'list'],
  createRule: ['rule', 'add', 'web-apart', 'apart', '--vm', 'web', 'db'],
  removeRule: ['rule', 'remove', 'web-apart', '--yes'],
  listHosts: ['host', 'list'],
  getHost: ['host', 'show', 'host1'],
  enterMaintenance: ['host', 'maintenance', 'host1'],
  leaveMaintenance: ['host', 'maintenance', 'host1', '--leave'],
  confirmHostOff: ['host', 'confirm-off', 'host1', '--yes'],
  setHostFence: ['host', 'set-fence', 'host1', '--agent', 'fence_ipmilan', '--option', 'ip=10.0.0.9'],
  removeHostFence: ['host', 'remove-fence', 'host1', '--yes'],
  fenceHost: ['host', 'fence', 'host1', '--yes'],
  testHostFence: ['host', 'fence-test', 'host1'],
  cycleHostFence: ['host', 'fence-test', 'host1', '--cycle', '--yes'],
  getFencing: ['cluster', 'fencing'],
  changeFencing: ['cluster', 'fencing', '--after', '10'],
  removeHost: ['host', 'remove', 'host1', '--yes'],
  createJoinToken: ['host', 'join-token'],
  listVms: ['vm', 'list'],
  createVm: ['vm', 'create', 'web', '--image', 'debian', '--memory', '256M'],
  getVm: ['vm', 'show', 'web'],
  changeVm: ['vm', 'rename', 'web', 'site'],
  deleteVm: ['vm', 'delete', 'web', '--yes'],
  startVm: ['vm', 'start', 'web'],
  shutdownVm: ['vm', 'shutdown', 'web'],
  stopVm: ['vm', 'stop', 'web'],
  resetVm: ['vm', 'reset', 'web'],
  pauseVm: ['vm', 'pause', 'web'],
  resumeVm: ['vm', 'resume', 'web'],
  migrateVm: ['vm', 'migrate', 'web', '--to', 'host2'],
  precheckMigrate: ['vm', 'migrate', 'web', '--to', 'host2', '--check'],
  protectVm: ['vm', 'protect', 'web'],
  precheckProtect: ['vm', 'protect', 'web', '--check'],
  unprotectVm: ['vm', 'unprotect', 'web'],
  settleVm: ['vm', 'settle', 'web', '--yes'],
  createTicket: ['vm', 'console', 'web'],
  listEvidence: ['vm', 'evidence', 'web'],
  screenshotVm: ['vm', 'screenshot', 'web', 'out.png'],
  listDatastores: ['datastore', 'list'],
  createDatastore: ['datastore', 'create', 'fast', '--path', '/srv/fast'],
  removeDatastore: ['datastore', 'remove', 'shared', '--yes'],
  listImages: ['image', 'list'],
  importImage: ['image', 'import', 'debian', '--path', '/srv/images/debian.qcow2', '--host', 'host1'],
  deleteImage: ['image', 'delete', 'debian', '--yes'],
  createUpload: ['image', 'import', 'debian', '--file', 'disk.img'],
  getUpload: ['image', 'import', 'debian', '--file', 'disk.img'],
  appendUpload: ['image', 'import', 'debian', '--file', 'disk.img'],
  listNetworks: ['network', 'list'],
  createNetwork: ['network', 'create', 'dmz', '--cidr', '10.9.0.0/24'],
  removeNetwork: ['network', 'remove', 'guests', '--yes'],
  listTasks: ['task', 'list'],
  getTask: ['task', 'show', 'task-12'],
  cancelTask: ['task', 'cancel', 'task-12'],
  listEvents: ['event', 'list'],
  listTokens: ['token', 'list'],
  createToken: ['token', 'create', 'ci', '--role', 'reader'],
  revokeToken: ['token', 'revoke', 'ci', '--yes'],
  listManagers: ['manager', 'list'],
  removeManager: ['manager', 'remove', 'one', '--yes'],
  createManagerToken: ['manager', 'join-token'],
  createSignInCode: ['login', '--browser'],
  listAlarms: ['alarm', 'list'],
  getAlarm: ['alarm', 'show', 'alarm-7'],
  acknowledgeAlarm: ['alarm', 'acknowledge', 'alarm-7'],
  clearAlarm: ['alarm', 'clear', 'alarm-7'],
  getAlarmSettings: ['alarm', 'settings'],
  setAlarmSettings: ['alarm', 'settings', '--defaults'],
  changeAlarmSettings: ['alarm', 'settings', '--disable', 'host-version'],
  listNotificationTargets: ['notification', 'list'],
  createNotificationTarget: ['notification', 'add-webhook', 'pager', 'https://pager.example/hook'],
  getNotificationTarget: ['notification', 'show', 'pager'],
  removeNotificationTarget: ['notification', 'remove', 'pager', '--yes'],
  testNotificationTarget: ['notification', 'test', 'pager'],
  // A session cookie is a browser's; the command line has a token.
  signIn: 'browsers only',
  signOut: 'browsers only',
}

/** Routes that are reached in tests of their own: an upload that goes on, and a console. */
const reachedElsewhere: RouteName[] = ['getUpload', 'appendUpload', 'createTicket']

for (const route of Object.keys(routePaths) as RouteName[]) {
  const argv = wayTo[route]
  if (argv === 'browsers only' || reachedElsewhere.includes(route)) continue
  test(`\`holdfast ${argv.join(' ')}\` calls ${route}`, async () => {
    const world = fakeWorld(kindManager(), { files: memoryFiles({ '/home/ada/disk.img': 'bytes' }) })
    assert.equal(await world.run(...argv), 0, world.terminal.written.err)
    assert.ok(
      world.manager.calls.some((call) => call.route === route),
      world.manager.calls.map((call) => call.route).join(', '),
    )
  })
}

function bodyOf(world: FakeWorld, route: RouteName): unknown {
  return world.manager.calls.find((call) => call.route === route)?.input.body
}

test('every list is an array of objects with id and name in JSON', async () => {
  for (const noun of [
    'vm',
    'host',
    'datastore',
    'network',
    'image',
    'rule',
    'task',
    'token',
    'event',
    'alarm',
    'notification',
  ]) {
    const manager = kindManager()
    manager.answers.listEvents = () =>
      page({ revision: 4, sequence: 1, type: 'vm.created', time: '2026-01-02T03:04:05Z', message: 'x', data: {} })
    const world = fakeWorld(manager)
    assert.equal(await world.run(noun, 'list', '--json'), 0)
    const items = JSON.parse(world.terminal.written.out) as { id: unknown; name: unknown }[]
    assert.equal(items.length, 1)
    for (const item of items) assert.deepEqual([typeof item.id, typeof item.name], ['string', 'string'])
  }
})

test('vm show in JSON has the state, the name of the host and the addresses', async () => {
  const world = fakeWorld(kindManager())
  await world.run('--json', 'vm', 'show', 'web')
  const vm = JSON.parse(world.terminal.written.out) as Record<string, unknown>
  assert.deepEqual([vm['state'], vm['host'], vm['addresses']], ['running', 'host1', ['10.66.100.10']])
})

test('a name is looked up, an id is not', async () => {
  const world = fakeWorld(kindManager())
  await world.run('vm', 'stop', 'web')
  assert.deepEqual(world.manager.calls[0]?.input.query, { name: 'web' })
  const other = fakeWorld(kindManager())
  await other.run('vm', 'stop', 'vm-1')
  assert.equal(other.manager.calls[0]?.route, 'stopVm')
})

test('an unknown name is exit code 3 and says where to look', async () => {
  const manager = kindManager()
  manager.answers.listVms = () => page()
  const world = fakeWorld(manager)
  assert.equal(await world.run('vm', 'start', 'nobody'), 3)
  assert.match(world.terminal.written.err, /error \(not-found\): there is no VM nobody\n.*holdfast vm list/)
})

test('errors in JSON are problem documents on standard error', async () => {
  const manager = kindManager()
  manager.answers.startVm = () => {
    throw new HoldfastError('operation-in-progress', 'web is being moved', { task: 'task-3', mend: 'Wait.' })
  }
  const world = fakeWorld(manager)
  assert.equal(await world.run('vm', 'start', 'web', '--json'), 4)
  assert.equal(world.terminal.written.out, '')
  const problem = JSON.parse(world.terminal.written.err) as Record<string, unknown>
  assert.deepEqual([problem['code'], problem['status'], problem['mend']], ['operation-in-progress', 409, 'Wait.'])
})

test('a change is sent again with the same key when no answer came, three times in all', async () => {
  const manager = kindManager()
  manager.answers.startVm = () => {
    throw new HoldfastError('unreachable', 'manager:7443 did not answer')
  }
  const world = fakeWorld(manager)
  assert.equal(await world.run('vm', 'start', 'vm-1'), 5)
  const keys = manager.calls.map((call) => call.idempotencyKey)
  assert.deepEqual(keys, ['key-1', 'key-1', 'key-1'])
})

test('without a person to ask, deleting needs --yes', async () => {
  const world = fakeWorld(kindManager())
  assert.equal(await world.run('vm', 'delete', 'web'), 2)
  assert.match(world.terminal.written.err, /--yes/)
  assert.ok(!world.manager.calls.some((call) => call.route === 'deleteVm'))
})

test('a person who says no changes nothing', async () => {
  const terminal = fakeTerminal({ isTty: true, said: ['n'] })
  const world = fakeWorld(kindManager(), { terminal })
  assert.equal(await world.run('vm', 'delete', 'web'), 4)
  assert.ok(!world.manager.calls.some((call) => call.route === 'deleteVm'))
})

test('wrong usage is exit code 2 and names the help', async () => {
  for (const argv of [
    ['vm', 'list', '--colour'],
    ['vm', 'show'],
    ['vm', 'fly'],
    ['nonsense'],
    ['vm', 'create', 'x', '--memory', 'much'],
  ]) {
    const world = fakeWorld(kindManager())
    assert.equal(await world.run(...argv), 2, argv.join(' '))
    assert.match(world.terminal.written.err, /^error \(invalid-request\): .*\n`holdfast.* --help` shows/)
    assert.equal(world.manager.calls.length, 0)
  }
})

test('a noun without a verb shows its help and is exit code 2', async () => {
  const world = fakeWorld(kindManager())
  assert.equal(await world.run('vm'), 2)
  assert.match(world.terminal.written.err, /migrate/)
})

test('no words at all show the help', async () => {
  const world = fakeWorld(kindManager())
  assert.equal(await world.run(), 0)
  assert.match(world.terminal.written.out, /Usage: holdfast/)
})

test('--no-wait gives the task back at once', async () => {
  const manager = kindManager()
  manager.answers.migrateVm = () => sampleTask({ state: 'running', ended: null })
  const world = fakeWorld(manager)
  assert.equal(await world.run('vm', 'migrate', 'web', '--to', 'host2', '--no-wait', '--json'), 0)
  assert.equal((JSON.parse(world.terminal.written.out) as { id: string }).id, 'task-12')
  assert.ok(!manager.calls.some((call) => call.route === 'getTask'))
})

test('options of a migration reach the request, and nothing else does', async () => {
  const world = fakeWorld(kindManager())
  const flags = ['--datastore', 'fast', '--max-bandwidth', '50M', '--allow-post-copy', '--no-tls', '--multifd', '2']
  await world.run('vm', 'migrate', 'web', '--to', 'host2', ...flags)
  assert.deepEqual(bodyOf(world, 'migrateVm'), {
    host: 'host2',
    datastore: 'fast',
    maxBandwidth: 50 * 2 ** 20,
    allowPostCopy: true,
    multifdChannels: 2,
    tls: false,
  })
  const plain = fakeWorld(kindManager())
  await plain.run('vm', 'migrate', 'web')
  assert.deepEqual(bodyOf(plain, 'migrateVm'), {})
})

test('options of a protection reach the request, and nothing else does', async () => {
  const world = fakeWorld(kindManager())
  await world.run('vm', 'protect', 'web', '--host', 'host2', '--mode', 'throughput', '--silence', '900')
  assert.deepEqual(bodyOf(world, 'protectVm'), { host: 'host2', mode: 'throughput', settings: { silenceMs: 900 } })
  const plain = fakeWorld(kindManager())
  await plain.run('vm', 'protect', 'web')
  assert.deepEqual(bodyOf(plain, 'protectVm'), {})
  assert.equal(await fakeWorld(kindManager()).run('vm', 'protect', 'web', '--mode', 'fast'), 2)
})

test('vm show says who holds the second copy, who decides, and how far behind it is', async () => {
  const manager = kindManager()
  const pair = { second: 'host2', arbiter: 'host3', n: 2, epoch: 9, problem: null }
  const clock = { lagMs: 12.4, isMeasured: true, isBeyondLimit: false }
  const figures = { lagMs: 24.6, epochMs: 22, pauseMs: 3.14, bytesPerSecond: 2 ** 20, clock }
  manager.answers.getVm = () => sampleVm({ protection: { state: 'protected', ...pair, ...figures } })
  const world = fakeWorld(manager)
  await world.run('vm', 'show', 'web')
  assert.match(world.terminal.written.out, /protected by host2, host3 decides/)
  assert.match(world.terminal.written.out, /lag 25 ms, epoch 22 ms, pause 3.1 ms, 1 MiB\/s, clock 12 ms behind/)
  manager.answers.getVm = () => sampleVm({ protection: { state: 'unprotected-because', reason: 'host2 is off' } })
  const other = fakeWorld(manager)
  await other.run('vm', 'show', 'web')
  assert.match(other.terminal.written.out, /unprotected: host2 is off/)
})

test('a migration that cannot work says every reason', async () => {
  const manager = kindManager()
  manager.answers.precheckMigrate = () => ({
    isPossible: false,
    plan: null,
    reasons: [
      { code: 'memory', message: 'host2 has 100 MiB left' },
      { code: 'network', message: 'host2 lacks guests' },
    ],
  })
  const world = fakeWorld(manager)
  assert.equal(await world.run('vm', 'migrate', 'web', '--to', 'host2', '--check'), 4)
  assert.match(world.terminal.written.err, /- host2 has 100 MiB left\n {2}- host2 lacks guests/)
})

test('a list of several pages is read whole', async () => {
  const manager = kindManager()
  manager.answers.listVms = ({ input }) =>
    input.query?.['after'] === undefined
      ? { items: [sampleVm()], next: 'vm-1', revision: 1 }
      : page(sampleVm({ id: 'vm-2', name: 'db' }))
  const world = fakeWorld(manager)
  await world.run('vm', 'list')
  assert.match(world.terminal.written.out, /^NAME .*\nweb .*\ndb .*\n$/)
})

test('the secret of a new token is alone on standard output', async () => {
  const world = fakeWorld(kindManager())
  await world.run('token', 'create', 'ci', '--role', 'operator', '--valid-days', '30')
  assert.equal(world.terminal.written.out, 'hft.secret\n')
  assert.deepEqual(bodyOf(world, 'createToken'), { name: 'ci', role: 'operator', validDays: 30 })
})

test('evidence is listed, and saved where it was asked for', async () => {
  const files = memoryFiles()
  const world = fakeWorld(kindManager(), { files })
  assert.equal(await world.run('vm', 'evidence', 'web'), 0)
  assert.match(world.terminal.written.out, /panic.*task-9/)
  assert.equal(await world.run('vm', 'evidence', 'web', '--save', 'kept'), 0)
  assert.equal(await files.readText('/home/ada/kept/task-9-panic.txt'), 'Oops')
  assert.deepEqual(
    world.manager.calls.filter(({ route }) => route === 'listEvidence').map(({ input }) => input.query),
    [{ content: false }, { content: true }],
  )
})

test('a screenshot is written where it was asked for, or to standard output', async () => {
  const files = memoryFiles()
  const world = fakeWorld(kindManager(), { files })
  await world.run('vm', 'screenshot', 'web', 'out.png')
  assert.equal(await files.readText('/home/ada/out.png'), 'PNG')
  await world.run('vm', 'screenshot', 'web', '-')
  assert.ok(world.terminal.written.out.endsWith('PNG'))
})
