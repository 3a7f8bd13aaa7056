import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { nodeFiles, nodeProcesses } from '../../src/base/node/index.ts'
import type { Processes } from '../../src/base/processes.ts'
import { applyPlan, confirmPlan, readAndPlan, uplinkBridge } from '../../src/agent/network-plan.ts'
import { eventually } from './agent-cluster.ts'

/** A machine of its own: a namespace with one cable. */
const namespace = `hfu${process.pid % 10_000}`
const real = nodeProcesses()
const inside = (command: string, args: readonly string[]): string[] => ['netns', 'exec', namespace, command, ...args]
const processes: Processes = {
  ...real,
  run: (command, args, options) => real.run('ip', inside(command, args), options),
  startDetached: (command, args, options) => real.startDetached('ip', inside(command, args), options),
}
const ports = { files: nodeFiles(), processes }
const ip = (...args: string[]): string => execFileSync('ip', ['-n', namespace, ...args], { encoding: 'utf8' })
let folder: string

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hfu-'))
  execFileSync('ip', ['netns', 'add', namespace])
  ip('link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'far')
  for (const name of ['eth0', 'far']) ip('link', 'set', name, 'up')
  ip('address', 'add', '192.0.2.5/24', 'dev', 'eth0')
  ip('route', 'add', 'default', 'via', '192.0.2.1')
})

after(async () => {
  execFileSync('ip', ['netns', 'del', namespace])
  await rm(folder, { recursive: true, force: true })
})

const addressOf = (name: string): string => ip('-4', '-o', 'address', 'show', 'dev', name)

test('a change of networks that nobody confirms is taken back', async () => {
  const plan = await readAndPlan(processes, 'eth0')
  await applyPlan(ports, plan, folder, 2)
  assert.match(addressOf(uplinkBridge), /192\.0\.2\.5\/24/)
  assert.match(ip('route', 'show', 'default'), new RegExp(`via 192.0.2.1 dev ${uplinkBridge}`))
  await eventually('the old state', () => (existsSync(join(folder, 'network-change')) ? undefined : true))
  assert.match(addressOf('eth0'), /192\.0\.2\.5\/24/)
  assert.match(ip('route', 'show', 'default'), /via 192\.0\.2\.1 dev eth0/)
  await assert.rejects(confirmPlan(ports, folder), { code: 'wrong-state' })
})

test('a change that fails half-way is taken back at once', async () => {
  const plan = await readAndPlan(processes, 'eth0')
  await assert.rejects(applyPlan(ports, { ...plan, apply: [...plan.apply, 'link set nothing up'] }, folder, 2))
  assert.match(addressOf('eth0'), /192\.0\.2\.5\/24/)
  assert.match(ip('route', 'show', 'default'), /dev eth0/)
  await eventually('the end of the watchdog', () => (existsSync(join(folder, 'network-change')) ? undefined : true))
})

test('a confirmed change stays, and the same plan again is empty', async () => {
  await applyPlan(ports, await readAndPlan(processes, 'eth0'), folder, 2)
  await confirmPlan(ports, folder)
  await eventually('the end of the watchdog', () => (existsSync(join(folder, 'network-change')) ? undefined : true))
  assert.match(addressOf(uplinkBridge), /192\.0\.2\.5\/24/)
  assert.deepEqual((await readAndPlan(processes, 'eth0')).apply, [])
})
