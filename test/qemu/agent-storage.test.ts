import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { VmId } from '../../src/base/ids.ts'
import type { MigrateOutcome, MovingDisk, VmDeployment } from '../../src/contracts/agent-api.ts'
import { AgentCluster, eventually, guestFolder, job, serial, type TestAgent } from './agent-cluster.ts'
import { deploymentOf } from './agent-deployment.ts'

const vm = 'vm-8' as VmId
const sizeBytes = 64 * 2 ** 20
let cluster: AgentCluster
let a: TestAgent
let b: TestAgent
let small: string

/** The guest's one disk, on this datastore. */
function deployed(datastore: string, generation: number): VmDeployment {
  const deployment = deploymentOf(vm, 8, generation, { networks: [], leases: [] })
  const disks = deployment.spec.disks.map((disk) => ({ ...disk, datastore: datastore as never }))
  return { ...deployment, spec: { ...deployment.spec, disks, nics: [], memoryMiB: 128 } }
}

const moving = (from: string, to: string): MovingDisk => ({
  ...{ disk: 'disk-8' as never, key: 1, from: from as never, to: to as never, format: 'qcow2', sizeBytes },
})

const diskFile = (folder: string): string => join(cluster.folder, folder, 'disks/disk-8.qcow2')

before(async () => {
  cluster = await AgentCluster.open()
  ;[a, b] = cluster.agents
  small = join(cluster.folder, 'small')
  mkdirSync(small, { mode: 0o711 })
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=48m,mode=711', 'hfa-small', small])
  for (const agent of cluster.agents) agent.start('--allow-import', guestFolder(), cluster.folder)
  cluster.configure([], [], ['shared', 'other', 'small'])
  await eventually('the datastores', () => {
    const reports = [...cluster.reports.values()]
    const areUsable = reports.every(({ datastores }) => datastores.filter((one) => one.isUsable).length === 3)
    return reports.length === 2 && areUsable
  })
  for (const [image, name] of [
    ['img-1', 'vmlinuz'],
    ['img-2', 'initrd.gz'],
  ] as const) {
    const source = { kind: 'path' as const, path: join(guestFolder(), name) }
    const work = { kind: 'import-image', image, datastore: 'ds-1', source, sha256: null, expectFormat: 'raw' }
    assert.equal((await job(a.api, `import/${image}`, work as never)).state, 'done')
  }
  const work = { kind: 'create-disk', disk: 'disk-8', datastore: 'ds-1', format: 'qcow2', sizeBytes, image: null, vm }
  assert.equal((await job(a.api, 'disk/8', work as never)).state, 'done')
  cluster.records.create(vm)
  await a.api.start(deployed('ds-1', 1))
})

after(async () => {
  if (process.env['HOLDFAST_TEST_LOGS'] !== undefined)
    for (const agent of cluster.agents) console.log(await agent.log())
  for (const agent of cluster.agents) await agent.stop()
  await cluster.endAll()
  execFileSync('umount', ['-l', small])
  await cluster[Symbol.asyncDispose]()
})

test('an import that does not fit says so and leaves nothing', async () => {
  const path = join(cluster.folder, 'large.raw')
  execFileSync('dd', ['if=/dev/urandom', `of=${path}`, 'bs=1M', 'count=60', 'status=none'])
  const source = { kind: 'path', path }
  const work = { kind: 'import-image', image: 'img-5', datastore: 'ds-3', source, sha256: null, expectFormat: 'raw' }
  const status = await job(a.api, 'import/5', work as never)
  assert.equal(status.problem?.code, 'no-space', JSON.stringify(status))
  assert.deepEqual(readdirSync(join(small, 'images')), [])
})

test('a disk of a guest that writes moves to another datastore, also when the agent is killed in between', async () => {
  const line = await serial(a, vm)
  assert.match(await line.run('disk write /dev/vda 2000 3'), /wrote 2000/)
  line.end()
  const { generation } = cluster.record(vm)
  const work = { kind: 'move-disk' as const, vm, generation, moving: moving('ds-1', 'ds-2') }
  await a.api.startJob({ id: 'move/1', task: null, work })
  await eventually('the copy', () => existsSync(diskFile('other')))
  await a.stop('SIGKILL')
  a.start()
  await eventually('the agent', () =>
    a.api.observe(vm).then(
      ({ process }) => process === 'running',
      () => undefined,
    ),
  )
  const status = await job(a.api, 'move/1', work)
  assert.equal(status.state, 'done', JSON.stringify(status.problem))
  const again = await serial(a, vm)
  assert.match(await again.run('disk write /dev/vda 100 4; disk verify /dev/vda 100 4 && echo same'), /same/)
  again.end()
  await a.api.deleteDisk('disk-8' as never, 'ds-1' as never)
  assert.equal(existsSync(diskFile('shared')), false)
})

test('a guest without room for its writes waits, and goes on when there is some', async () => {
  const { generation } = cluster.record(vm)
  const status = await job(a.api, 'move/2', {
    ...{ kind: 'move-disk', vm, generation, moving: moving('ds-2', 'ds-3') },
  })
  assert.equal(status.state, 'done', JSON.stringify(status.problem))
  await a.api.deleteDisk('disk-8' as never, 'ds-2' as never)
  const line = await serial(a, vm)
  line.type('dd if=/dev/urandom of=/dev/vda bs=1M count=60 oflag=direct; echo end-of-dd $?\n')
  await eventually('the pause', async () => {
    const { outOfSpace, process } = await a.api.observe(vm)
    return outOfSpace && process === 'paused'
  })
  execFileSync('mount', ['-o', 'remount,size=200m', small])
  await eventually('the guest', async () => (await a.api.observe(vm)).process === 'running')
  assert.match(await line.run('echo alive'), /alive/)
  line.end()
  assert.equal((await a.api.observe(vm)).outOfSpace, false)
})

test('VM and disk move to the other host; killed in the middle, the source keeps both, and the next move succeeds', async () => {
  const line = await serial(a, vm)
  await line.run('disk write /dev/vda 3000 9')
  line.end()
  const begin = async (): Promise<{ generation: number; work: Parameters<typeof job>[2] }> => {
    const { generation } = cluster.records.move(vm, { event: 'move', target: b.host!, task: 'task-1' as never })
    const movingDisks = [moving('ds-3', 'ds-1')]
    const incoming = await b.api.prepareIncoming({
      ...{ deployment: deployed('ds-1', generation), source: a.host!, sourceTlsName: 'host-1.holdfast', movingDisks },
      ...{ allowPostCopy: false, runWhen: 'complete', useTls: true },
    })
    const request = { generation, incoming, movingDisks, runWhen: 'complete', useTls: true }
    const limits = { maxBandwidth: 20_000_000, downtimeLimitMs: 300, autoConverge: true, allowPostCopy: false }
    return {
      generation,
      work: { kind: 'migrate-out', vm, request: { ...request, ...limits, multifdChannels: 0 } } as never,
    }
  }
  const first = await begin()
  await a.api.startJob({ id: 'out/1', task: null, work: first.work })
  await eventually('some progress', async () => (await a.api.job('out/1')).progress.doneBytes > 2_000_000)
  await a.stop('SIGKILL')
  a.start()
  await eventually('the record is back', () => {
    const record = cluster.record(vm)
    return record.phase === 'running' && record.host === a.host
  })
  assert.equal((await a.api.observe(vm)).process, 'running')
  const given = await b.api.discardIncoming(vm, first.generation)
  assert.equal(given.outcome, 'discarded')
  await eventually('nothing is left there', () => !existsSync(diskFile('shared')))
  const second = await begin()
  const status = await job(a.api, 'out/2', second.work)
  assert.equal((status.result as MigrateOutcome | null)?.outcome, 'sent', JSON.stringify(status))
  await eventually('the record', () => cluster.record(vm).host === b.host)
  await a.api.settle(vm, {
    ...{
      generation: second.generation,
      verdict: 'release',
      targetDiscarded: false,
      movedDisks: [moving('ds-3', 'ds-1')],
    },
  })
  assert.equal(existsSync(diskFile('small')), false)
  const there = await serial(b, vm)
  assert.match(await there.run('disk verify /dev/vda 3000 9 && echo same'), /same/)
  there.end()
})
