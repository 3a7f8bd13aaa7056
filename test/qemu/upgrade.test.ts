/** A roll over the hosts of a lab with real guests: each host's own program renews it, and a client of the guest loses nothing. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Event, Host, Task } from '../../src/contracts/inventory.ts'
import { nodeFolders } from '../../src/lab/names.ts'
import { Cli } from '../support/cli.ts'
import { TestLab } from '../support/lab.ts'
import { TickStream } from '../support/tick-stream.ts'

let lab: TestLab
let cli: Cli
let folder: string

before(async () => {
  folder = mkdtempSync('/var/tmp/hfr')
  lab = await TestLab.open({ name: `up${process.pid % 100_000}`, hosts: 2, diskGiB: 1 })
  cli = new Cli(lab, folder)
})
after(async () => {
  await lab?.[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** What the administrator of a host has put there: it ends the agent, which the host's init starts anew. */
function giveProgram(host: string, lines: string): void {
  const path = join(nodeFolders(lab.lab.folder, host).etc, 'upgrade')
  writeFileSync(path, `#!/bin/sh\n${lines}\n`)
  chmodSync(path, 0o755)
}

/** The agent is found by its lock, and ended as `systemctl restart` would end it. */
const renewal = `echo renewing
kill -TERM "$(sed 's/.*"pid":\\([0-9]*\\).*/\\1/' /var/lib/holdfast/agent/agent.lock)"
sleep 2`

const agentsOf = (host: string): Promise<number[]> => lab.processesOf(host, /cli\/main\.ts agent run/)

test('VMs move away and back while each host is renewed by its own program, and no tick is lost', async (t) => {
  const vm = await lab.createVm({ name: 'ticker' })
  const home = vm.host ?? ''
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  for (const host of lab.hosts) giveProgram(host, renewal)
  const agents = new Map(await Promise.all(lab.hosts.map(async (host) => [host, await agentsOf(host)] as const)))
  const task = await cli.json<Task>('cluster', 'upgrade')
  t.diagnostic(JSON.stringify(task.result))
  assert.equal(task.state, 'done')
  for (const host of lab.hosts) {
    assert.notDeepEqual(await agentsOf(host), agents.get(host), `the agent of ${host} is another`)
    const { data } = nodeFolders(lab.lab.folder, host)
    assert.equal(readFileSync(join(data, 'agent/upgrade.log'), 'utf8'), 'renewing\n')
  }
  assert.equal((await lab.vm('ticker')).host, home)
  assert.equal((await lab.vm('ticker')).spec.uuid, vm.spec.uuid)
  await ticks.assertWhole(lab)
  t.diagnostic(`longest silence ${Math.round(ticks.longestSilence)} ms`)
  const events = await cli.json<Event[]>('event', 'list')
  assert.equal(events.filter(({ type }) => type === 'host.upgraded').length, 2)
  const shown = await cli.json<Host>('host', 'show', home)
  assert.equal(shown.maintenance, 'off')
  assert.ok(shown.upgraded)
})

test('a program that fails leaves its host empty and in maintenance, and says its last words', async () => {
  const [first = '', second = ''] = lab.hosts
  giveProgram(first, 'echo "E: the mirror is out of reach" >&2; exit 100')
  giveProgram(second, 'touch /var/lib/holdfast/agent/touched')
  const problem = await cli.problem('cluster', 'upgrade', '--host', first, second)
  assert.match(problem.detail, /failed \(exit code 100\)\. Its last words:\nE: the mirror is out of reach/)
  const hosts = (await lab.client.call('listHosts')).items
  const states = new Map(hosts.map(({ name, maintenance }) => [name, maintenance]))
  assert.deepEqual([states.get(first), states.get(second)], ['on', 'off'])
  assert.equal((await lab.vm('ticker')).host, second)
  assert.equal(existsSync(join(nodeFolders(lab.lab.folder, second).data, 'agent/touched')), false)
  await cli.json('host', 'maintenance', first, '--leave')
})

test('a protected VM goes on through a roll, and is in step again before each next host', async (t) => {
  for (const host of lab.hosts) giveProgram(host, renewal)
  const vm = await lab.createVm({ name: 'guarded', memoryMiB: 96 })
  await cli.json('vm', 'protect', 'guarded')
  using ticks = await TickStream.open(lab, vm.addresses[0] ?? '')
  const task = await cli.json<Task>('cluster', 'upgrade')
  t.diagnostic(JSON.stringify(task.result))
  assert.equal(task.state, 'done')
  assert.equal((await lab.vm('guarded')).protection.state, 'protected')
  await ticks.assertWhole(lab)
  t.diagnostic(`longest silence ${Math.round(ticks.longestSilence)} ms`)
})
