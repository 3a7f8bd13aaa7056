import assert from 'node:assert/strict'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../base/node/index.ts'
import { takeRange } from './address-range.ts'
import { writeState, type LabState } from './state.ts'

const network = nodeNetwork()
const ports = { clock: nodeClock(), files: nodeFiles(), network, processes: nodeProcesses(), random: nodeRandom() }
let folder = ''
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'holdfast-ranges-'))
  await mkdir(join(folder, 'registry'))
})
after(async () => {
  network[Symbol.dispose]()
  await rm(folder, { recursive: true })
})

const routes = async (): Promise<string[]> => ['10.77.0.0/24', '192.0.2.0/24']
const places = () => ({ lock: join(folder, 'ranges.lock'), registry: join(folder, 'registry'), routes })

/** A lab that comes up: in the list, without wires, so that no route tells of it. */
async function take(name: string): Promise<number> {
  const own = join(folder, name)
  await mkdir(own)
  await writeFile(join(folder, 'registry', name), `${own}\n`)
  return await takeRange(ports, places(), async (plan) => {
    const state = { version: 1, name, hosts: [], plan, hasShared: true, phase: 'creating', cuts: [], storage: [] }
    await writeState(ports.files, own, { ...state, filled: [] } as LabState)
    return plan.range
  })
}

test('labs that come up at the same moment take different ranges', async () => {
  const ranges = await Promise.all(['a', 'b', 'c', 'd'].map((name) => take(name)))
  assert.deepEqual(ranges.toSorted(), [78, 79, 80, 81])
})

test('a lock whose holder is gone keeps nobody out', async () => {
  const ended = await ports.processes.run('sh', ['-c', 'echo $$'])
  await writeFile(places().lock, JSON.stringify({ pid: Number(ended.stdout), startTicks: 1 }))
  assert.equal(await take('e'), 82)
})
