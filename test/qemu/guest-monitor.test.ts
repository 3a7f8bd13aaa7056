/** VM monitoring with real guests: one panics, one hangs, and one that is busy has lost its agent alone. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { join, resolve } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import type { Event, Vm } from '../../src/contracts/inventory.ts'
import type { Evidence } from '../../src/contracts/monitoring.ts'
import type { CreateVm } from '../../src/contracts/vm-requests.ts'
import { importFile, made } from '../../src/lab/cluster.ts'
import { insideHost, nodeFolders } from '../../src/lab/names.ts'
import { Cli } from '../support/cli.ts'
import { GuestLine } from '../support/guest-line.ts'
import { TestLab } from '../support/lab.ts'

const run = promisify(execFile)
let lab: TestLab
let cli: Cli
let folder: string

before(async () => {
  folder = mkdtempSync('/var/tmp/hfm')
  lab = await TestLab.open({
    name: process.env['HOLDFAST_LAB_NAME'] ?? `gm${process.pid % 100_000}`,
    hosts: 1,
    diskGiB: 1,
  })
  cli = new Cli(lab, folder)
  const { stdout } = await run(resolve(import.meta.dirname, '../../dev/guests/build'), ['busybox-agent'])
  const path = join(stdout.trim().split('\n').at(-1) ?? '', 'initrd.gz')
  await importFile(lab.lab, lab.client, { name: 'agent-initrd', path, datastore: 'shared' }, () => undefined)
})
after(async () => {
  await lab?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

const hangAfterMs = 8000
/** A boot on a crowded machine. */
const patienceMs = 120_000
const monitoring = { reset: 'on-panic-or-hang', hangAfterMs, startupGraceMs: 0 } as const

/** A guest with an agent in it that has answered. */
async function guestWithAgent(name: string, more: Partial<CreateVm> = {}): Promise<Vm> {
  const kernel = { kernel: made.kernel, initrd: 'agent-initrd', cmdline: lab.guest?.cmdline ?? '' }
  await lab.createVm({ name, kernel, memoryMiB: 160, nics: [], policies: { monitoring }, ...more })
  return await agentAnswers(name)
}

/** With `unlike`: after another start or reset than that one. */
function agentAnswers(name: string, unlike?: string): Promise<Vm> {
  return lab.eventually(
    `the agent in ${name}`,
    async () => {
      const vm = await lab.vm(name)
      return vm.guest?.agent === 'answering' && vm.guest.boot !== unlike && vm
    },
    patienceMs,
  )
}

async function eventsOf(vm: Vm): Promise<Event[]> {
  const { items } = await lab.client.call('listEvents', { query: { limit: 1000 } })
  const isOfMonitoring = (type: string): boolean =>
    type.startsWith('vm.reset-after') || type === 'vm.monitoring-gave-up'
  return items.filter(({ subject, type }) => subject?.id === vm.id && isOfMonitoring(type))
}

const waitForReset = (vm: Vm, why: 'hang' | 'panic'): Promise<Event> =>
  lab.eventually(`${vm.name} is reset`, async () =>
    (await eventsOf(vm)).find(({ type }) => type === `vm.reset-after-${why}`),
  )

/** Types what need not come to an end. */
async function type(vm: Vm, command: string): Promise<void> {
  using line = await GuestLine.open(lab, vm.id)
  await line.run(`(sleep 1; ${command}) & echo`)
}

/** Writes to the port of QEMU's pvpanic device, as the guest's driver does: this guest's kernel has none. */
async function panic(vm: Vm): Promise<void> {
  const socket = connect(join(nodeFolders(lab.lab.folder, 'host1').run, 'vms', vm.id, 'q/qmp2'))
  const argument = { 'command-line': 'o/b 0x505 1' }
  socket.write('{"execute":"qmp_capabilities"}\n')
  socket.write(`${JSON.stringify({ execute: 'human-monitor-command', arguments: argument })}\n`)
  let said = ''
  for await (const data of socket) {
    said += String(data)
    if (said.includes('GUEST_PANICKED')) return
  }
  assert.fail(`QEMU did not take it for a panic: ${said}`)
}

/** The QEMU guest agent stands still as if it were stuck, and nothing else does. */
const stopAgent = 'killall -STOP qemu-ga'

test('a guest that panics is reset with evidence; one that hangs once; one that is busy without its agent not at all', async (t) => {
  const panics = await guestWithAgent('panics', { video: 'std' })
  await type(panics, 'echo last words >/dev/ttyS0')
  await lab.eventually('its last words', async () => {
    const { stdout } = await lab.run('host1', ['cat', join(insideHost.run, 'vms', panics.id, 'q/serial.log')])
    return stdout.includes('last words')
  })
  await panic(panics)
  const event = await waitForReset(panics, 'panic')
  const again = await agentAnswers('panics', panics.guest?.boot)
  assert.equal(again.state, 'running')
  const saved = join(folder, 'kept')
  const [evidence] = await cli.json<Evidence[]>('vm', 'evidence', 'panics')
  assert.deepEqual([evidence?.why, evidence?.task, evidence?.missing], ['panic', event.task, null])
  await cli.json('vm', 'evidence', 'panics', '--save', saved)
  assert.deepEqual(readdirSync(saved).sort(), [`${event.task}-panic.png`, `${event.task}-panic.txt`])
  assert.equal(
    readFileSync(join(saved, `${event.task}-panic.png`))
      .subarray(1, 4)
      .toString(),
    'PNG',
  )
  assert.match(readFileSync(join(saved, `${event.task}-panic.txt`), 'utf8'), /last words/)
  await cli.json('vm', 'stop', 'panics')

  const disks = [{ sizeBytes: 16 * 1024 * 1024, datastore: 'shared' }]
  const busy = await guestWithAgent('busy', { video: 'none', disks })
  await type(
    busy,
    `${stopAgent}; while :; do dd if=/dev/zero of=/dev/vda bs=4k count=1 conv=fsync; sleep 1; done >/dev/null 2>&1`,
  )
  const hangs = await guestWithAgent('hangs', { video: 'none' })
  // Its kernel panics in earnest, and has no driver to say so: it stands in a loop for good.
  await type(hangs, 'echo c >/proc/sysrq-trigger')
  const hung = await waitForReset(hangs, 'hang')
  t.diagnostic(hung.message)
  await agentAnswers('hangs', hangs.guest?.boot)
  assert.equal((await eventsOf(hangs)).length, 1)
  const [seen] = await cli.json<Evidence[]>('vm', 'evidence', 'hangs')
  assert.deepEqual([seen?.why, seen?.screen], ['hang', null])
  await cli.json('vm', 'evidence', 'hangs', '--save', saved)
  assert.match(readFileSync(join(saved, `${hung.task}-hang.txt`), 'utf8'), /Kernel panic/)

  const silent = await lab.eventually('the agent of the busy guest has long been silent', async () => {
    const { guest } = await lab.vm('busy')
    return guest?.agent === 'silent' && guest.silentMs > 2 * hangAfterMs && guest
  })
  assert.ok(silent.idleMs < hangAfterMs)
  assert.deepEqual(await eventsOf(busy), [])
  assert.equal(silent.boot, busy.guest?.boot)
})
