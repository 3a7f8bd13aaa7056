/** The lab's power switch through its fence agent: a real socket, and the agent as a real program. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname } from 'node:path'
import { after, before, test } from 'node:test'
import { nodeFiles, nodeProcesses } from '../base/node/index.ts'
import { FenceSwitch } from './fence-switch.ts'
import { serveLines } from './lines.ts'

const agent = `${import.meta.dirname}/../../libexec/fence/fence_holdfast_lab`
const processes = nodeProcesses()
const off = new Set<string>()
const power = {
  on: async (host: string) => void off.delete(host),
  off: async (host: string) => void off.add(host),
  isOff: async (host: string) => off.has(host),
}
const fences = new FenceSwitch(power, ['host1', 'host2'], 'open sesame')
const made = new AsyncDisposableStack()
let socket = ''

before(async () => {
  const folder = await mkdtemp(`${tmpdir()}/fsw`)
  made.defer(() => rm(folder, { recursive: true, force: true }))
  socket = `${folder}/power.sock`
  made.use(await serveLines({ files: nodeFiles() }, socket, (message) => fences.handle(message)))
})
after(() => made.disposeAsync())

/** Exit code and what the agent said. */
async function ask(action: string, plug = 'host1', password = 'open sesame'): Promise<[number, string]> {
  const input = `action=${action}\nplug=${plug}\npassword=${password}\nsocket=${socket}\n`
  const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` }
  const { code, stderr } = await processes.run(agent, [], { input, env, signal: AbortSignal.timeout(20_000) })
  return [code, stderr]
}

test('the agent switches off and on, and says how it stands', async () => {
  assert.deepEqual(await ask('status'), [0, ''])
  assert.deepEqual(await ask('off'), [0, ''])
  assert.deepEqual(await ask('status'), [2, ''])
  assert.deepEqual(await ask('status', 'host2'), [0, ''], 'the other one is on')
  assert.deepEqual(await ask('monitor'), [0, ''])
  assert.deepEqual(await ask('on'), [0, ''])
  assert.deepEqual(await ask('reboot'), [0, ''])
  assert.deepEqual(await ask('status'), [0, ''])
})

test('a wrong password, an unknown outlet and an unknown action are failures', async () => {
  assert.deepEqual(await ask('off', 'host1', 'wrong'), [1, 'ERROR: the power switch does not know this password\n'])
  assert.match((await ask('off', 'host9')).join(), /^1,ERROR: the power switch has no outlet "host9"/)
  assert.match((await ask('explode')).join(), /^1,ERROR: unknown action explode/)
  assert.equal(off.size, 0)
})

test('each fault does what it is for', async () => {
  fences.fault('host1', 'fail')
  assert.equal((await ask('off'))[0], 1)
  fences.fault('host1', 'ignore')
  assert.deepEqual(
    [await ask('off'), await ask('status')],
    [
      [0, ''],
      [0, ''],
    ],
  )
  fences.fault('host1', 'lie')
  assert.equal((await ask('status'))[0], 0, 'it lies only of what it was told to do')
  assert.deepEqual(
    [await ask('off'), await ask('status')],
    [
      [0, ''],
      [2, ''],
    ],
  )
  assert.equal(off.size, 0, 'nothing was switched')
  fences.fault('host1', undefined)
  assert.equal((await ask('status'))[0], 0)
})

test('a switch that hangs gives no answer', async () => {
  fences.fault('host1', 'hang')
  const input = `action=status\nplug=host1\npassword=open sesame\nsocket=${socket}\n`
  const signal = AbortSignal.timeout(1500)
  const env = { PATH: `${dirname(process.execPath)}:/usr/bin:/bin` }
  await assert.rejects(processes.run(agent, [], { input, env, signal }))
  fences.fault('host1', undefined)
})
