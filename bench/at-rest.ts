/**
 * What manager and agents take while nothing happens: resident memory, and CPU over a while, with three hosts and two
 * running VMs. Beside them in the same run: a bare Node process with Fastify and SQLite loaded, which is the least that a
 * program of this kind takes here.
 *
 *   ./dev/bench at-rest --seconds 60
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { managerName } from '../src/lab/names.ts'
import { BenchLab } from './support/bench-lab.ts'
import { cpuSeconds, residentMiB } from './support/process-usage.ts'
import { numberOptions, Report } from './support/report.ts'

const { seconds } = numberOptions({ seconds: 60 })
/** Start-up is over by then. */
const settleMs = 15_000

await using lab = await BenchLab.open('rest', 3)
const report = new Report('at-rest', { seconds, hosts: 3, vms: 2 })
for (const name of ['one', 'two']) await lab.lab.createVm({ name, nics: [{ network: 'default' }] })

const bare = spawn(process.execPath, [resolve(import.meta.dirname, 'support/bare-process.ts')], { stdio: 'ignore' })
await using _bare = {
  [Symbol.asyncDispose]: async () => {
    const ended = once(bare, 'exit')
    bare.kill('SIGTERM')
    await ended
  },
}
const [manager = 0] = await lab.lab.processesOf(managerName, / manager run/)
const agents = await Promise.all(lab.lab.hosts.map((host) => lab.lab.processesOf(host, / agent run/)))
const programs = { 'bare Node, Fastify, SQLite': [bare.pid ?? 0], manager: [manager], 'each agent': agents.flat() }

await sleep(settleMs)
const all = Object.values(programs).flat()
const before = new Map(await Promise.all(all.map(async (pid) => [pid, await cpuSeconds(pid)] as const)))
await sleep(seconds * 1000)

const memory = new Map(await Promise.all(all.map(async (pid) => [pid, await residentMiB(pid)] as const)))
const after = new Map(await Promise.all(all.map(async (pid) => [pid, await cpuSeconds(pid)] as const)))
const rows = (value: (pid: number) => number) =>
  Object.entries(programs).map(([name, pids]) => ({ name, values: pids.map(value) }))
const base = 'bare Node, Fastify, SQLite'
report.add({ title: 'resident memory', unit: 'MiB', base, rows: rows((pid) => memory.get(pid) ?? Number.NaN) })
const used = (pid: number): number => (after.get(pid) ?? 0) - (before.get(pid) ?? 0)
report.add({ title: 'CPU', unit: '% of a core', base, rows: rows((pid) => (used(pid) / seconds) * 100) })
await report.write()
