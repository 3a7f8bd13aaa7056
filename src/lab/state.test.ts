import assert from 'node:assert/strict'
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import { lockLab, readState } from './state.ts'

const ports = {
  clock: nodeClock(),
  files: nodeFiles(),
  network: nodeNetwork(),
  processes: nodeProcesses(),
  random: nodeRandom(),
}
let folder: string
before(async () => void (folder = await mkdtemp(join(tmpdir(), 'hf-lab-'))))
after(() => rm(folder, { recursive: true }))

test('a second verb waits for the first, and says so when it takes too long', async () => {
  const path = join(folder, 'a.lock')
  const first = await lockLab(ports, path, 0)
  await assert.rejects(lockLab(ports, path, 60), { code: 'operation-in-progress' })
  const second = lockLab(ports, path, 5000)
  await first[Symbol.asyncDispose]()
  await (await second)[Symbol.asyncDispose]()
  await assert.rejects(stat(path), { code: 'ENOENT' })
})

test('the lock of a process that is gone is taken over, by one alone', async () => {
  const path = join(folder, 'b.lock')
  const ended = await ports.processes.run('sh', ['-c', 'echo $$'])
  await writeFile(path, JSON.stringify({ pid: Number(ended.stdout), startTicks: 1 }))
  const tries = await Promise.allSettled([1, 2, 3].map(() => lockLab(ports, path, 300)))
  assert.equal(tries.filter(({ status }) => status === 'fulfilled').length, 1)
})

test('half a state file is told from none', async () => {
  assert.equal(await readState(ports.files, folder), undefined)
  await writeFile(join(folder, 'lab.json'), '{"version":')
  await assert.rejects(readState(ports.files, folder), { code: 'wrong-state' })
})
