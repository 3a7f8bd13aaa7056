/**
 * Two real agents in network namespaces of their own, each a program that was joined by its command line, and in this
 * process a manager that is no more than run records: for the agent's tests with real QEMU.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { openSync, closeSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { createServer, type Server } from 'node:https'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { TLSSocket } from 'node:tls'
import { HoldfastError, toHoldfastError } from '../../src/base/errors.ts'
import type { HostId, VmId } from '../../src/base/ids.ts'
import { nodeClock, nodeFiles, nodeNetwork, nodeProcesses, nodeRandom } from '../../src/base/node/index.ts'
import type {
  AgentApi,
  HostConfiguration,
  JobRequest,
  JobStatus,
  NetworkConfig,
} from '../../src/contracts/agent-api.ts'
import { formatJoinToken } from '../../src/contracts/join-token.ts'
import type { HostReport } from '../../src/contracts/host.ts'
import type { JoinRequest } from '../../src/contracts/manager-api.ts'
import { problemMediaType, toProblem } from '../../src/contracts/problem.ts'
import { digestOf } from '../../src/contracts/digest.ts'
import { Authority } from '../../src/manager/app/authority.ts'
import { httpAgent } from '../../src/server/agents/http-agent.ts'
import { FakeManager } from '../../src/sim/fake-manager.ts'

const cli = join(import.meta.dirname, '../../src/cli/main.ts')
export const clock = nodeClock()
const files = nodeFiles()
const processes = nodeProcesses()
const network = nodeNetwork()
const ip = (...args: string[]): string => execFileSync('ip', args, { encoding: 'utf8' })

/** Waits until `look` gives something; fails after a minute. */
export async function eventually<T>(what: string, look: () => T | undefined | Promise<T | undefined>): Promise<T> {
  const until = clock.monotonic() + 60_000
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (clock.monotonic() > until) throw new Error(`${what}: not within 60 s`)
    await clock.sleep(30)
  }
}

export class TestAgent {
  readonly name: string
  readonly namespace: string
  readonly address: string
  readonly folder: string
  host: HostId | undefined
  api!: AgentApi
  #process: ChildProcess | undefined

  constructor(name: string, namespace: string, address: string, folder: string) {
    this.name = name
    this.namespace = namespace
    this.address = address
    this.folder = folder
  }

  get run(): string {
    return join(this.folder, 'run')
  }

  command(...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.namespace, ...args], { encoding: 'utf8', stdio: 'pipe' })
  }

  start(...more: string[]): void {
    const log = openSync(join(this.folder, 'agent.log'), 'a')
    const places = ['--data', join(this.folder, 'data'), '--run', this.run]
    const args = ['netns', 'exec', this.namespace, process.execPath, cli, 'agent', 'run', ...places, ...more]
    this.#process = spawn('ip', args, { stdio: ['ignore', log, log] })
    closeSync(log)
  }

  /** SIGKILL, or a clean end. */
  async stop(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
    const child = this.#process
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill(signal)
    await gone
  }

  log(): Promise<string> {
    return readFile(join(this.folder, 'agent.log'), 'utf8').catch(() => '')
  }
}

/** Records, joins and reports; what a host must have is what the test says. */
export class AgentCluster implements AsyncDisposable {
  readonly folder: string
  readonly agents: readonly [TestAgent, TestAgent]
  readonly records = new FakeManager(clock)
  readonly reports = new Map<HostId, HostReport>()
  configuration: HostConfiguration | undefined
  readonly #tag: string
  readonly #subnet: string
  readonly #authority: Authority
  #server!: Server

  private constructor(folder: string, tag: string, subnet: string, authority: Authority) {
    this.folder = folder
    this.#tag = tag
    this.#subnet = subnet
    this.#authority = authority
    const agent = (name: string, last: number): TestAgent =>
      new TestAgent(name, `${tag}${name}`, `${subnet}.${last}`, join(folder, name))
    this.agents = [agent('a', 1), agent('b', 2)]
  }

  static async open(): Promise<AgentCluster> {
    const folder = await mkdtemp('/tmp/hfa-')
    execFileSync('chmod', ['711', folder])
    const authority = await Authority.create(join(folder, 'ca'), 'test', {
      clock,
      files,
      processes,
      random: nodeRandom(),
    })
    const number = process.pid % 200
    const cluster = new AgentCluster(folder, `hfa${number}`, `10.98.${number}`, authority)
    try {
      await cluster.#wire()
      await cluster.#listen()
      for (const agent of cluster.agents) await cluster.#join(agent)
    } catch (thrown) {
      await cluster[Symbol.asyncDispose]()
      throw thrown
    }
    return cluster
  }

  agentOf(host: HostId): TestAgent | undefined {
    return this.agents.find((agent) => agent.host === host)
  }

  /** What both hosts are to have: `ds-1`, `ds-2`, … are folders that both see, by these names. */
  configure(networks: NetworkConfig[], leases: HostConfiguration['leases'], folders = ['shared']): void {
    const datastores = folders.map((name, index) => ({
      ...{ datastore: `ds-${index + 1}` as never, name, path: join(this.folder, name), isShared: name === 'shared' },
    }))
    const rest = { datastores, networks, leases }
    this.configuration = { ...rest, digest: digestOf(rest) }
  }

  token(): string {
    return formatJoinToken({ secret: 'a-secret-of-the-test-cluster', ca: this.#authority.ca })
  }

  get url(): string {
    return `https://${this.#subnet}.254:${(this.#server.address() as AddressInfo).port}`
  }

  addressIn(last: number): string {
    return `${this.#subnet}.${last}`
  }

  record(vm: VmId): ReturnType<FakeManager['record']> {
    return this.records.record(vm)
  }

  /** What agents leave running: their guests and DHCP servers. */
  async endAll(): Promise<void> {
    for (const agent of this.agents) this.#endAll(agent)
    await eventually('all processes gone', () =>
      this.agents.every((agent) => tryIp('netns', 'pids', agent.namespace).trim() === '') ? true : undefined,
    )
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.agents) await agent.stop()
    await this.endAll()
    this.#server?.close()
    this.#server?.closeAllConnections()
    for (const one of [this.#tag]) tryIp('link', 'del', one)
    for (const agent of this.agents) {
      tryIp('link', 'del', `${this.#tag}${agent.name}0`)
      tryIp('netns', 'del', agent.namespace)
    }
    await rm(this.folder, { recursive: true, force: true })
  }

  /** Exactly the processes of this agent's namespace, which nobody else uses. */
  #endAll(agent: TestAgent): void {
    const pids = tryIp('netns', 'pids', agent.namespace).split('\n').filter(Boolean).map(Number)
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {
        // It has ended by itself.
      }
    }
  }

  async #wire(): Promise<void> {
    ip('link', 'add', this.#tag, 'address', '02:98:00:00:00:01', 'type', 'bridge')
    ip('address', 'add', `${this.#subnet}.254/24`, 'dev', this.#tag)
    ip('link', 'set', this.#tag, 'up')
    for (const agent of this.agents) {
      const near = `${this.#tag}${agent.name}0`
      ip('netns', 'add', agent.namespace)
      ip(
        'link',
        'add',
        near,
        'mtu',
        '1600',
        'master',
        this.#tag,
        'type',
        'veth',
        'peer',
        'name',
        'management',
        'mtu',
        '1600',
        'netns',
        agent.namespace,
      )
      ip('link', 'set', near, 'up')
      for (const words of [
        ['address', 'add', `${agent.address}/24`, 'dev', 'management'],
        ['link', 'set', 'management', 'up'],
        ['link', 'set', 'lo', 'up'],
      ]) {
        ip('-n', agent.namespace, ...words)
      }
      await files.makeDirectory(agent.folder, { mode: 0o711 })
    }
  }

  async #listen(): Promise<void> {
    const pair = await this.#authority.issue({ commonName: 'manager.holdfast', subjects: ['manager.holdfast'] })
    const options = { ...pair, ca: this.#authority.ca, requestCert: true, rejectUnauthorized: false }
    this.#server = createServer(options, (request, response) => {
      void this.#answer(request).then(
        (body) => response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
        (thrown: unknown) => {
          const problem = toProblem(toHoldfastError(thrown))
          response.writeHead(problem.status, { 'content-type': problemMediaType }).end(JSON.stringify(problem))
        },
      )
    })
    await new Promise<void>((resolve) => this.#server.listen(0, `${this.#subnet}.254`, resolve))
    const identity = { ca: this.#authority.ca, ...pair }
    for (const agent of this.agents) {
      const address = {
        addresses: { management: agent.address },
        agentPort: 7444,
        tlsName: `host-${agent.name === 'a' ? 1 : 2}.holdfast`,
      }
      agent.api = httpAgent(address, { network, clock, identity: () => identity })
    }
  }

  async #answer(request: IncomingMessage): Promise<unknown> {
    let text = ''
    for await (const chunk of request) text += String(chunk)
    const body: unknown = JSON.parse(text)
    const call = request.url?.replace('/agent/v1/', '') ?? ''
    if (call === 'join') return this.#takeIn(body as JoinRequest)
    const { socket } = request
    if (!(socket instanceof TLSSocket) || !socket.authorized) throw new HoldfastError('not-allowed', 'who is it?')
    const host = socket.getPeerX509Certificate()?.subject.match(/CN=(host-[0-9]+)\.holdfast/)?.[1] as HostId
    const api = this.records.api(host)
    if (call === 'transition') return api.transition(body as never)
    if (call === 'record') return api.record((body as { vm: VmId }).vm)
    if (call !== 'report') throw new HoldfastError('not-found', `there is no ${call}`)
    const report = body as HostReport
    this.reports.set(host, report)
    const isSame = this.configuration === undefined || report.configurationDigest === this.configuration.digest
    return { ...(await api.report(report)), configuration: isSame ? null : this.configuration }
  }

  async #takeIn(request: JoinRequest): Promise<unknown> {
    if (request.token !== this.token()) throw new HoldfastError('not-allowed', 'the join token is unknown')
    const agent = this.agents.find(({ name }) => name === request.name)
    const host = `host-${request.name === 'a' ? 1 : 2}` as HostId
    if (agent !== undefined) agent.host = host
    const tlsName = `${host}.holdfast`
    const subjects = [tlsName, request.addresses.management]
    const certificate = await this.#authority.sign(request.certificateRequest, { commonName: tlsName, subjects })
    return { host, cluster: '7d0c2a52-5f0e-4b4f-9b53-6c8f2b1d9a11', certificate, ca: this.#authority.ca, tlsName }
  }

  /** As a person does it. The manager answers in this process, so the command must not block it. */
  async #join(agent: TestAgent): Promise<void> {
    const args = ['netns', 'exec', agent.namespace, process.execPath, cli, 'agent', 'join', this.url]
    const { code, stdout, stderr } = await processes.run('ip', [
      ...args,
      ...['--token', this.token(), '--name', agent.name, '--yes', '--data', join(agent.folder, 'data')],
    ])
    if (code !== 0) throw new Error(`join: ${stdout}${stderr}`)
  }
}

function tryIp(...args: string[]): string {
  try {
    return execFileSync('ip', args, { encoding: 'utf8', stdio: 'pipe' })
  } catch {
    return ''
  }
}

/** Runs a job to its end. */
export async function job(api: AgentApi, id: string, work: JobRequest['work']): Promise<JobStatus> {
  await api.startJob({ id, task: null, work })
  return eventually(`job ${id}`, async () => {
    const status = await api.job(id)
    return status.state === 'running' ? undefined : status
  })
}

/** The guest's serial line, with a shell that answers. */
export async function serial(
  agent: TestAgent,
  vm: VmId,
): Promise<{ run: (line: string) => Promise<string>; type: (line: string) => void; end: () => void }> {
  const stream = await agent.api.console(vm, 'serial')
  let text = ''
  stream.on('data', (data: Buffer) => (text += data.toString('latin1')))
  stream.on('error', () => undefined)
  let count = 0
  // What is typed before the guest's shell is there is lost.
  await eventually('a shell', async () => {
    stream.write('\n')
    await clock.sleep(300)
    return /# (\x1b\[6n)?$/.test(text) ? true : undefined
  }).catch((cause: unknown) => {
    throw new Error(`no shell: ${JSON.stringify(text.slice(-300))}`, { cause })
  })
  return {
    async run(line) {
      const mark = `M${process.pid}x${count++}`
      const from = text.length
      stream.write(`echo "<"${mark}; ${line}; echo ">"${mark}\n`)
      const done = new RegExp(`<${mark}\\r?\\n([^]*)>${mark}`)
      return eventually(`the end of ${line}`, () => done.exec(text.slice(from))?.[1]?.trim())
    },
    type: (line) => void stream.write(line),
    end: () => stream.destroy(),
  }
}

/** The folder with the small guest's `vmlinuz` and `initrd.gz`. */
export function guestFolder(): string {
  const build = join(import.meta.dirname, '../../dev/guests/build')
  return execFileSync(build, ['busybox'], { encoding: 'utf8' }).trim().split('\n').at(-1) ?? ''
}
