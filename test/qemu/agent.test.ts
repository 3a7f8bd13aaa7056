import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { VmId } from '../../src/base/ids.ts'
import type { JobStatus, MigrateOutcome } from '../../src/contracts/agent-api.ts'
import { AgentCluster, eventually, guestFolder, job, serial, type TestAgent } from './agent-cluster.ts'
import { deploymentOf, lease, testNetwork } from './agent-deployment.ts'

const vm = 'vm-7' as VmId
let cluster: AgentCluster
let a: TestAgent
let b: TestAgent
let guest: string

before(async () => {
  guest = guestFolder()
  cluster = await AgentCluster.open()
  ;[a, b] = cluster.agents
  for (const agent of cluster.agents) agent.start('--allow-import', guest, cluster.folder)
})

after(async () => {
  if (process.env['HOLDFAST_TEST_LOGS'] !== undefined)
    for (const agent of cluster.agents) console.log(await agent.log())
  await cluster[Symbol.asyncDispose]()
})

test('a joined agent reports its host, and takes its configuration', async () => {
  for (const agent of cluster.agents) {
    const report = await eventually('a report', () =>
      agent.host === undefined ? undefined : cluster.reports.get(agent.host),
    )
    assert.equal(report.facts.accelerator.kind, 'tcg')
    assert.equal(report.facts.addresses.management, agent.address)
    assert.ok(report.facts.memoryMiB > 0 && report.facts.cpu.cores > 0)
  }
  const peers = cluster.agents.map(({ address }) => address)
  cluster.configure([{ ...testNetwork, peers }], [lease(vm, 7)])
  await eventually('the configuration', () =>
    [...cluster.reports.values()].every(
      (report) => report.networks[0]?.isUp === true && report.datastores[0]?.isUsable === true,
    ),
  )
})

test('images come in by path, and what is no sound image does not', async () => {
  const take = (image: string, path: string, expectFormat: string | null): Promise<JobStatus> =>
    job(a.api, `import/${image}`, {
      ...{ kind: 'import-image', image: image as never, datastore: 'ds-1' as never },
      ...{ source: { kind: 'path', path }, sha256: null, expectFormat },
    })
  for (const [image, name] of [
    ['img-1', 'vmlinuz'],
    ['img-2', 'initrd.gz'],
  ] as const) {
    const status = await take(image, join(guest, name), 'raw')
    assert.equal(status.state, 'done', JSON.stringify(status.problem))
  }
  const at = (name: string): string => join(cluster.folder, name)
  execFileSync('qemu-img', ['create', '-q', '-f', 'raw', at('secret.raw'), '1M'])
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-b', at('secret.raw'), '-F', 'raw', at('backed.qcow2')])
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', at('plain.qcow2'), '16M'])
  execFileSync('qemu-img', ['convert', '-O', 'vmdk', at('plain.qcow2'), at('plain.vmdk')])
  const refused = async (image: string, path: string, format: string | null, code: string): Promise<void> => {
    const status = await take(image, path, format)
    assert.equal(status.problem?.code, code, JSON.stringify(status))
  }
  await refused('img-3', at('backed.qcow2'), null, 'bad-image')
  await refused('img-4', '/etc/hostname', 'raw', 'not-allowed')
  await refused('img-5', join(cluster.folder, '../../etc/hostname'), 'raw', 'not-allowed')
  await refused('img-6', at('plain.qcow2'), 'raw', 'bad-image')
  await refused('img-7', at('secret.raw'), null, 'bad-image')
  const vmdk = await take('img-8', at('plain.vmdk'), 'vmdk')
  assert.equal(vmdk.result?.['format'], 'qcow2', JSON.stringify(vmdk))
  assert.equal(vmdk.result?.['virtualBytes'], 16 * 2 ** 20)
  const left = readdirSync(at('shared/images')).filter((name) => name.includes('partial'))
  assert.deepEqual(left, [])
})

test('an upload goes on where it broke off', async () => {
  const { Readable } = await import('node:stream')
  const whole = readFileSync(join(guest, 'initrd.gz'))
  const first = await a.api.upload('up1', 'ds-1' as never, 0, Readable.from([whole.subarray(0, 1_000_000)]))
  assert.equal(first.offset, 1_000_000)
  await assert.rejects(a.api.upload('up1', 'ds-1' as never, 5, Readable.from(['x'])), { code: 'conflict' })
  const rest = whole.subarray((await a.api.uploadStatus('up1', 'ds-1' as never)).offset)
  await a.api.upload('up1', 'ds-1' as never, 1_000_000, Readable.from([rest]))
  const status = await job(a.api, 'import/upload', {
    ...{ kind: 'import-image', image: 'img-9' as never, datastore: 'ds-1' as never, expectFormat: 'raw' },
    ...{ source: { kind: 'upload', path: 'up1' }, sha256: 'ab'.repeat(32) },
  })
  assert.equal(status.problem?.code, 'checksum-mismatch')
})

test('a VM starts, gets its address, and may send as nobody else', async () => {
  const disk = { kind: 'create-disk', disk: 'disk-7', datastore: 'ds-1', format: 'qcow2', sizeBytes: 64 * 2 ** 20 }
  const made = await job(a.api, 'disk/7', { ...disk, image: null, vm } as never)
  assert.equal(made.state, 'done', JSON.stringify(made.problem))
  cluster.records.create(vm)
  const observation = await a.api.start(deploymentOf(vm, 7, 1))
  assert.equal(observation.process, 'running')
  assert.equal(cluster.record(vm).phase, 'running')
  const pid = Number(a.command('cat', join(a.run, 'vms', vm, 'machine.json')).match(/"pid": ?([0-9]+)/)?.[1])
  assert.match(readFileSync(`/proc/${pid}/status`, 'utf8'), /^Uid:\s+640007/m)
  const line = await serial(a, vm)
  await eventually('an address by DHCP', async () =>
    (await line.run('ip -4 -o addr show eth0')).includes('10.77.0.7/24') ? true : undefined,
  )
  assert.match(await line.run('ping -c 1 -W 2 10.77.0.2'), /1 packets received/)
  await line.run('ip addr add 10.77.0.99/24 dev eth0')
  assert.match(await line.run('ping -c 1 -W 1 -I 10.77.0.99 10.77.0.2'), / 0 packets received/)
  await line.run('ip addr del 10.77.0.99/24 dev eth0')
  await line.run('ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:99; ip link set eth0 up')
  assert.match(await line.run('ping -c 1 -W 1 10.77.0.2'), / 0 packets received/)
  await line.run('ip link set eth0 down; ip link set eth0 address 52:54:00:00:00:07; ip link set eth0 up')
  await eventually('the right MAC passes', async () =>
    (await line.run('ping -c 1 -W 1 10.77.0.2')).includes('1 packets received') ? true : undefined,
  )
  line.end()
  const png = await a.api.screenshot(vm)
  assert.equal(Buffer.from(png.subarray(1, 4)).toString(), 'PNG')
})

test('an agent that is killed and started again finds its VM, which noticed nothing', async () => {
  const before = await serial(a, vm)
  await before.run('echo here >/tmp/mark')
  before.end()
  const session = cluster.reports.get(a.host!)?.session
  await a.stop('SIGKILL')
  a.start('--allow-import', guest, cluster.folder)
  await eventually('a report of the new agent', () => {
    const report = cluster.reports.get(a.host!)
    return report?.session !== session && report?.vms[0]?.process === 'running' ? true : undefined
  })
  const line = await serial(a, vm)
  assert.equal(await line.run('cat /tmp/mark'), 'here')
  line.end()
})

test('the VM moves to the other host over TLS, with its address, and the old one keeps nothing of it', async () => {
  const generation = cluster.records.move(vm, { event: 'move', target: b.host!, task: 'task-1' as never }).generation
  const incoming = await b.api.prepareIncoming({
    deployment: deploymentOf(vm, 7, generation),
    source: a.host!,
    sourceTlsName: 'host-1.holdfast',
    movingDisks: [],
    allowPostCopy: false,
    runWhen: 'complete',
    useTls: true,
  })
  const status = await job(a.api, 'move/1', {
    kind: 'migrate-out',
    vm,
    request: {
      ...{ generation, incoming, movingDisks: [], runWhen: 'complete', useTls: true, maxBandwidth: null },
      ...{ downtimeLimitMs: 300, autoConverge: true, allowPostCopy: false, multifdChannels: 0 },
    },
  })
  const outcome = status.result as MigrateOutcome | null
  assert.equal(outcome?.outcome, 'sent', JSON.stringify(status))
  await eventually('the record', () => (cluster.record(vm).host === b.host ? true : undefined))
  await a.api.settle(vm, { generation, verdict: 'release', targetDiscarded: false, movedDisks: [] })
  const line = await serial(b, vm)
  assert.equal(await line.run('cat /tmp/mark'), 'here')
  assert.match(await line.run('ping -c 1 -W 2 10.77.0.2'), /1 packets received/)
  line.end()
  assert.equal(existsSync(join(a.run, 'vms', vm)), false)
  assert.doesNotMatch(a.command('ip', '-o', 'link'), /hft7-2/)
  assert.equal((await a.api.observe(vm)).process, 'none')
})

test('off leaves no process, tap or folder, and the record says stopped', async () => {
  const { generation } = cluster.record(vm)
  await assert.rejects(b.api.stop(vm, { generation: 1, how: 'off' }), { code: 'stale-generation' })
  await b.api.stop(vm, { generation, how: 'off' })
  assert.equal(cluster.record(vm).cause, 'asked')
  assert.equal(existsSync(join(b.run, 'vms', vm)), false)
  assert.doesNotMatch(b.command('ip', '-o', 'link'), /hft7-2/)
})

test('a second agent on the same data folder is refused, and a malformed command named', async () => {
  await assert.rejects(a.api.observe('../vm' as VmId), { code: 'invalid-request' })
  const first = await a.log()
  assert.match(first, /the agent listens/)
  const args = ['src/cli/main.ts', 'agent', 'run', '--data', join(a.folder, 'data'), '--run', a.run]
  assert.throws(() => a.command(process.execPath, ...args), /works on .* already/)
})
