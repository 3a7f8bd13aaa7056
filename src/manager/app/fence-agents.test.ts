/** Fence agents as real programs: scripts in a folder of their own. */
import assert from 'node:assert/strict'
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { after, before, test } from 'node:test'
import { nodeClock, nodeFiles, nodeProcesses } from '../../base/node/index.ts'
import { HoldfastError } from '../../base/errors.ts'
import { processFencer, type AgentOrder, type Fencer } from './fence-agents.ts'

let folder = ''
let fencer: Fencer
const processes = nodeProcesses()
const [clock, files] = [nodeClock(), nodeFiles()]
const path = '/usr/sbin:/usr/bin:/sbin:/bin'

before(async () => {
  folder = await mkdtemp(`${tmpdir()}/fence-`)
  fencer = processFencer({ clock, files, processes }, [folder], path)
})
after(() => rm(folder, { recursive: true, force: true }))

async function agent(name: string, body: string): Promise<void> {
  await writeFile(`${folder}/${name}`, `#!/bin/sh\n${body}\n`)
  await chmod(`${folder}/${name}`, 0o755)
}

const order = (name: string, change: Partial<AgentOrder> = {}): AgentOrder => ({
  ...{ agent: name, action: 'off', options: { ip: '10.0.0.9' }, secrets: { password: 'hunter2' }, timeoutMs: 10_000 },
  ...change,
})

test('an agent gets its options on standard input, and nothing in its arguments', async () => {
  await agent('fence_note', `cat > ${folder}/input; tr '\\0' ' ' < /proc/$$/cmdline > ${folder}/arguments`)
  assert.equal(await fencer.run(order('fence_note')), null)
  assert.equal(await readFile(`${folder}/input`, 'utf8'), 'action=off\nip=10.0.0.9\npassword=hunter2\n')
  assert.doesNotMatch(await readFile(`${folder}/arguments`, 'utf8'), /hunter2|10\.0\.0\.9/)
})

test('status says on by 0, off by 2, and anything else is a failure with what the agent said', async () => {
  await agent('fence_state', 'exit $(sed -n s/^ip=//p)')
  const status = (ip: string) => fencer.run(order('fence_state', { action: 'status', options: { ip } }))
  assert.equal(await status('0'), 'on')
  assert.equal(await status('2'), 'off')
  await assert.rejects(status('1'), { code: 'host-error', message: /status failed \(exit code 1\): it says nothing/ })
  await assert.rejects(fencer.run(order('fence_state', { options: { ip: '2' } })), { code: 'host-error' })
})

test('what a failing agent says is told without the password', async () => {
  await agent('fence_loud', 'echo "login as root with hunter2 failed" >&2; echo hunter2; exit 1')
  await assert.rejects(fencer.run(order('fence_loud')), (thrown: HoldfastError) => {
    assert.match(thrown.message, /login as root with \*\*\* failed/)
    assert.doesNotMatch(JSON.stringify([thrown.message, thrown.details, String(thrown.cause)]), /hunter2/)
    return true
  })
})

test('an agent that hangs is ended with all that it started', async () => {
  await agent('fence_hang', `sleep 600 & echo $! > ${folder}/pid; wait`)
  await assert.rejects(fencer.run(order('fence_hang', { timeoutMs: 300 })), {
    code: 'timeout',
    message: /within 0\.3 s/,
  })
  const id = await processes.identify(Number(await readFile(`${folder}/pid`, 'utf8')))
  if (id !== undefined) await processes.waitGone(id, AbortSignal.timeout(5000))
})

test('an agent that no signal ends in time is not waited for', async () => {
  await agent('fence_deaf', `trap '' TERM; setsid sleep 60 & echo $! > ${folder}/deaf; sleep 60`)
  const began = performance.now()
  await assert.rejects(fencer.run(order('fence_deaf', { timeoutMs: 200 })), { code: 'timeout' })
  assert.ok(performance.now() - began < 10_000)
  // It left the group, as programs may: nobody but this test ends it.
  process.kill(Number(await readFile(`${folder}/deaf`, 'utf8')), 'SIGKILL')
})

test('a flood of output is bounded', async () => {
  await agent('fence_flood', 'head -c 5000000 /dev/zero | tr "\\0" x >&2; exit 1')
  await assert.rejects(fencer.run(order('fence_flood')), (thrown: HoldfastError) => thrown.message.length < 500)
})

test('only names of fence agents are run, and only from their folders', async () => {
  for (const name of ['sh', '../fence_note', 'fence_a/b', 'fence_', 'fence_x y', 'fence_x;reboot']) {
    await assert.rejects(fencer.run(order(name)), { code: 'invalid-request' }, name)
  }
  await assert.rejects(fencer.metadata('fence_not_here'), { code: 'not-found', message: /there is no fence_not_here/ })
})

test('the agent of the lab describes itself, and says why it cannot do its work', async () => {
  const own = processFencer(
    { clock, files, processes },
    [`${import.meta.dirname}/../../../libexec/fence`],
    `${path}:${process.execPath.replace(/\/node$/, '')}`,
  )
  const metadata = await own.metadata('fence_holdfast_lab')
  assert.deepEqual(metadata.parameters, ['action', 'plug', 'password', 'socket'])
  const nowhere = order('fence_holdfast_lab', {
    action: 'status',
    options: { plug: 'host1', socket: `${folder}/none` },
  })
  await assert.rejects(own.run(nowhere), { code: 'host-error', message: /does not answer/ })
})
