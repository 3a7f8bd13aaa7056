/**
 * Requests per second and the slowest hundredth, for listing 1,000 VMs and for reading one, against a manager with 1,000
 * VM records in its SQLite store, over loopback. Beside it in the same run: a bare Fastify route that answers the very
 * same bytes over the same TLS, which is what HTTP itself costs here.
 *
 *   ./dev/bench api --seconds 4 --rounds 3 --connections 8
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { Agent, request } from 'node:https'
import { createServer } from 'node:net'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { silentLogger } from '../src/base/log.ts'
import { nodeClock } from '../src/base/node/index.ts'
import type { FolderId, PoolId, ProjectId, VmId } from '../src/base/ids.ts'
import { aRun, aSpec } from '../src/manager/domain/cluster-fixture.ts'
import { openSqliteStore } from '../src/manager/store/sqlite/sqlite-store.ts'
import type { Change } from '../src/manager/store/store.ts'
import { cpuSeconds } from './support/process-usage.ts'
import { numberOptions, quantile, Report, type Row } from './support/report.ts'

const { seconds, rounds, connections, vms } = numberOptions({ seconds: 4, rounds: 3, connections: 8, vms: 1000 })
const cli = resolve(import.meta.dirname, '../src/cli/main.ts')
const folder = await mkdtemp('/var/tmp/hfapi')
await using stack = new AsyncDisposableStack()
stack.defer(() => rm(folder, { recursive: true, force: true }))
const report = new Report('api', { seconds, rounds, connections, vms })

const ports = { manager: await freePort(), bare: await freePort() }
const data = `${folder}/manager`
const listen = ['--data', data, '--listen', `127.0.0.1:${ports.manager}`]
await once(start([cli, 'manager', 'init', ...listen, '--address', '127.0.0.1']), 'exit')
await fill()
const client = JSON.parse(await readFile(`${data}/client.json`, 'utf8')) as { token: string; ca: string }
const agent = new Agent({ keepAlive: true, maxSockets: connections, ca: client.ca, servername: 'manager.holdfast' })
stack.defer(() => agent.destroy())
const manager = await serve([cli, 'manager', 'run', ...listen], ports.manager)
stack.use(manager)

const pages = { list: '/v1/vms?limit=1000', one: '/v1/vms/vm-500' }
const bodies = Object.fromEntries(
  await Promise.all(Object.values(pages).map(async (path) => [path, (await get(ports.manager, path)).text])),
) as Record<string, string>
const listed = (JSON.parse(bodies[pages.list] ?? '{}') as { items: unknown[] }).items.length
report.fact('VMs in the list', listed)
report.fact('bytes of the list', bodies[pages.list]?.length ?? 0)
await writeFile(`${folder}/bodies.json`, JSON.stringify(bodies))
const bareServer = resolve(import.meta.dirname, 'support/bare-server.ts')
const bare = await serve([bareServer, `${folder}/bodies.json`, `${data}/server`, String(ports.bare)], ports.bare)
stack.use(bare)
const pids = { manager: manager.pid, bare: bare.pid }

for (const [what, path] of Object.entries(pages)) await compare(what, path)
await report.write()

async function compare(what: string, path: string): Promise<void> {
  const perSecond = { manager: [] as number[], bare: [] as number[] }
  const slowest = { manager: [] as number[], bare: [] as number[] }
  const cpu = { manager: [] as number[], bare: [] as number[] }
  for (let round = 0; round <= rounds; round++) {
    for (const who of ['manager', 'bare'] as const) {
      const before = await cpuSeconds(pids[who])
      const times = await load(ports[who], path, round === 0 ? 1 : seconds)
      // The first round warms both up.
      if (round === 0) continue
      perSecond[who].push(times.length / seconds)
      slowest[who].push(quantile(times, 0.99))
      cpu[who].push((((await cpuSeconds(pids[who])) - before) / times.length) * 1000)
    }
  }
  const rows = (of: typeof perSecond): Row[] => [
    { name: 'manager', values: of.manager },
    { name: 'bare Fastify, same bytes', values: of.bare },
  ]
  const base = 'bare Fastify, same bytes'
  report.add({ title: `${what}: requests`, unit: '1/s', base, rows: rows(perSecond) })
  report.add({ title: `${what}: 99th percentile`, unit: 'ms', base, rows: rows(slowest) })
  report.add({ title: `${what}: CPU of the server for a request`, unit: 'ms', base, rows: rows(cpu) })
}

/** Milliseconds of each request that all connections together made, one after the other on each. */
async function load(port: number, path: string, forSeconds: number): Promise<number[]> {
  const times: number[] = []
  const end = performance.now() + forSeconds * 1000
  const one = async (): Promise<void> => {
    while (performance.now() < end) {
      const started = performance.now()
      const { status } = await get(port, path)
      if (status !== 200) throw new Error(`${path} answered ${status}`)
      times.push(performance.now() - started)
    }
  }
  await Promise.all(Array.from({ length: connections }, one))
  return times
}

async function get(port: number, path: string): Promise<{ status: number; text: string }> {
  return new Promise((done, reject) => {
    const headers = { authorization: `Bearer ${client.token}`, accept: 'application/json' }
    const asked = request({ host: '127.0.0.1', port, path, agent, headers }, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.on('error', reject)
      response.on('end', () => done({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }))
    })
    asked.on('error', reject)
    asked.end()
  })
}

/** 1,000 stopped VMs as the manager itself would write them, two records each. */
async function fill(): Promise<void> {
  await using store = await openSqliteStore({
    path: `${data}/inventory.db`,
    clock: nodeClock(),
    logger: silentLogger,
  })
  const place = { project: 'project-1' as ProjectId, pool: 'pool-1' as PoolId, folder: 'folder-1' as FolderId }
  for (let at = 1; at <= vms; at += 50) {
    const changes: Change[] = []
    for (let number = at; number < Math.min(at + 50, vms + 1); number++) {
      const id = (await store.nextId('vm')) as VmId
      const uuid = `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`
      const value = {
        ...{ id, uuid, name: `machine-${number}`, created: '2030-01-01T00:00:00.000Z', v: 1 as const, ...place },
        ...{ description: '', power: 'off' as const, spec: aSpec({ uuid }), operation: null },
        policies: { allowPostCopy: false, autoConverge: true, restart: 'on-failure' as const },
      }
      const run = { id, v: 1 as const, run: aRun({ vm: id }), lastAttempt: null }
      changes.push({ do: 'create', kind: 'vm', value }, { do: 'create', kind: 'run', value: run })
    }
    const result = await store.commit({ changes, events: [] })
    if (!result.ok) throw new Error(`the records could not be written: ${result.reason}`)
  }
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit'] })
}

/** Starts a server; resolves when it answers. Disposing of it ends it. */
async function serve(args: readonly string[], port: number): Promise<AsyncDisposable & { readonly pid: number }> {
  const child = start(args)
  const end = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGTERM')
    await ended
  }
  for (let tries = 0; ; tries++) {
    const isUp = await get(port, '/v1/vms/vm-500').then(
      () => true,
      () => false,
    )
    if (isUp) return { pid: child.pid ?? 0, [Symbol.asyncDispose]: end }
    if (tries > 300 || child.exitCode !== null) {
      await end()
      throw new Error(`${args.join(' ')} does not answer`)
    }
    await sleep(100)
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  server.close()
  await once(server, 'close')
  return port
}
