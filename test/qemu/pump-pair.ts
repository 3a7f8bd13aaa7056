/**
 * Two pumps and two real QEMUs on one machine: a guest on host-1, held in step on host-2, with a register that decides and a
 * client that counts the guest's ticks.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { DatastoreId, DiskId, HostId, VmId } from '../../src/base/ids.ts'
import type { ProcessId } from '../../src/base/processes.ts'
import type { Pump } from '../../src/agent/protect/pumps.ts'
import type { Machine, MachineConfig } from '../../src/hypervisor/hypervisor.ts'
import type { CopyDisk } from '../../src/contracts/protection.ts'
import { nodeStreams } from '../../src/base/node/index.ts'
import { NodePumps } from '../../src/agent/protect/pump/node-pumps.ts'
import { claimed, looked, opened } from '../../src/contracts/protection-register.ts'
import {
  defaultProtectionSettings,
  type ArbiterAddress,
  type ProtectionConfig,
  type ProtectionSettings,
  type RegisterRecord,
} from '../../src/contracts/protection.ts'
import type { TrackerKind } from '../../src/base/process-memory.ts'
import { makeAuthority, makeHost } from './hypervisor-certificates.ts'
import { Console, deps, eventually, TestHost } from './hypervisor-guest.ts'

export const vm = 'vm-1' as VmId
const config: ProtectionConfig = {
  vm,
  n: 1,
  primary: 'host-1' as HostId,
  second: 'host-2' as HostId,
  arbiter: 'host-3' as HostId,
}
const bridge = 'hfpt0'
const [gateway, address] = ['10.88.77.1', '10.88.77.50']

const sh = (line: string): void => void execFileSync('sh', ['-c', line], { stdio: 'pipe' })

function makeNetwork(): Disposable {
  const remove = (): void => sh(`for i in hfpta hfptb ${bridge}; do ip link del $i 2>/dev/null || true; done`)
  remove()
  sh(
    `ip link add ${bridge} type bridge && ip link set ${bridge} address 02:00:00:88:77:01 up && ip addr add ${gateway}/24 dev ${bridge}`,
  )
  for (const tap of ['hfpta', 'hfptb'])
    sh(`ip tuntap add ${tap} mode tap vnet_hdr && ip link set ${tap} master ${bridge} up`)
  return { [Symbol.dispose]: remove }
}

/** The arbiter's door, with the real register behind it. */
async function arbiter(folder: string) {
  let record: RegisterRecord | undefined
  const tls = (name: string): Buffer => readFileSync(join(folder, 'host-3.holdfast', name))
  const server = createServer(
    { ca: tls('ca-cert.pem'), cert: tls('server-cert.pem'), key: tls('server-key.pem'), requestCert: true },
    (request, response) => {
      let text = ''
      request.on('data', (chunk: Buffer) => (text += chunk.toString()))
      request.on('end', () => {
        const body = JSON.parse(text) as { config: ProtectionConfig; n: number; side: 'primary' | 'second' }
        const decide = () => {
          switch (request.url) {
            case '/v1/arbiter-life':
              return { life: 'one' }
            case '/v1/arbiter-open':
              record = opened(record, body.config)
              return {}
            case '/v1/arbiter-look':
              return looked(record, body.n, body.side)
            default: {
              const decided = claimed(record, body.n, body.side)
              record = decided.record ?? record
              return decided.answer
            }
          }
        }
        response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(decide()))
      })
    },
  )
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const at: ArbiterAddress = {
    arbiter: 'host-3' as HostId,
    urls: [`https://127.0.0.1:${port}`],
    tlsName: 'host-3.holdfast',
  }
  return {
    at,
    [Symbol.dispose]: (): void => {
      server.close()
      server.closeAllConnections()
    },
  }
}

class Host {
  readonly pumps: NodePumps
  constructor(
    folder: string,
    name: string,
    runDirectory: string,
    { tracker = 'userfaultfd', isVerified = false }: PairOptions,
  ) {
    const dataDirectory = join(folder, `${name}-data`)
    const tls = makeHost(folder, `${name}.holdfast`)
    mkdirSync(dataDirectory, { recursive: true })
    const identity = {
      tlsName: `${name}.holdfast`,
      ca: readFileSync(join(tls, 'ca-cert.pem'), 'utf8'),
      certificate: readFileSync(join(tls, 'server-cert.pem'), 'utf8'),
    }
    writeFileSync(join(dataDirectory, 'identity.json'), JSON.stringify(identity))
    writeFileSync(join(dataDirectory, 'key.pem'), readFileSync(join(tls, 'server-key.pem')))
    this.pumps = new NodePumps({
      ...deps,
      streams: nodeStreams(),
      dataDirectory,
      runDirectory: () => runDirectory,
      listen: { data: '127.0.0.1', beats: '127.0.0.1' },
      obstacle: () => Promise.resolve(undefined),
      tracking: () => Promise.resolve({ tracker: { kind: tracker, reason: 'this test' }, isVerified }),
      program: [process.execPath, fileURLToPath(new URL('../../src/agent/protect/pump/main.ts', import.meta.url))],
    })
  }
}

/** Counts the guest's ticks on one connection. */
export class Ticks implements Disposable {
  readonly #socket = connect({ host: address, port: 7001, noDelay: true })
  readonly problems: string[] = []
  #rest = ''
  #last = 0
  count = 0
  longestSilence = 0
  constructor() {
    this.#socket.on('error', (cause) => this.problems.push(cause.message))
    this.#socket.on('close', () => this.problems.push('closed'))
    this.#socket.on('data', (data) => {
      const now = performance.now()
      if (this.#last > 0) this.longestSilence = Math.max(this.longestSilence, now - this.#last)
      this.#last = now
      const lines = (this.#rest + data.toString()).split('\n')
      this.#rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line !== String(this.count)) this.problems.push(`${line} in place of ${this.count}`)
        this.count = Number(line) + 1
      }
    })
  }
  [Symbol.dispose](): void {
    this.#socket.removeAllListeners()
    this.#socket.destroy()
  }
}

export interface PairOptions {
  readonly disk?: 'qcow2' | 'raw'
  readonly more?: Partial<MachineConfig>
  readonly settings?: Partial<ProtectionSettings>
  readonly tracker?: TrackerKind
  /** Test mode: each epoch is compared with all memory, on both sides. */
  readonly isVerified?: boolean
}

/** A guest on host-1, held in step on host-2. */
export class Pair implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack
  readonly serial: Console
  readonly machine: Machine
  readonly waiting: Machine
  readonly hosts: readonly [Host, Host]
  readonly pump: Pump
  readonly secondPump: Pump
  readonly folders: readonly [string, string]

  private constructor(
    stack: AsyncDisposableStack,
    parts: Omit<Pair, 'kill' | 'untilRunning' | typeof Symbol.asyncDispose>,
  ) {
    this.#stack = stack
    this.serial = parts.serial
    this.machine = parts.machine
    this.waiting = parts.waiting
    this.hosts = parts.hosts
    this.pump = parts.pump
    this.secondPump = parts.secondPump
    this.folders = parts.folders
  }

  static async open(options: PairOptions = {}): Promise<Pair> {
    const { disk, more = {} } = options
    await using stack = new AsyncDisposableStack()
    stack.use(makeNetwork())
    const host = stack.use(await TestHost.open())
    const certificates = join(host.folder, 'tls')
    makeAuthority(certificates)
    makeHost(certificates, 'host-3.holdfast')
    const register = stack.use(await arbiter(certificates))
    const images = ['one', 'two'].map((name) => join(host.folder, name))
    if (disk !== undefined) for (const path of images) sh(`qemu-img create -q -f ${disk} ${path} 64M`)
    const configOf = async (name: string, tap: string, path = ''): Promise<MachineConfig> => ({
      ...(await host.config(name, more)),
      nics: [{ key: 1, model: 'virtio', mac: '52:54:00:88:77:50', slot: '5', tap }],
      disks: disk === undefined ? [] : [{ key: 2, path, format: disk, bus: 'virtio', slot: '6', cache: 'writeback' }],
    })
    const [a, b] = [await configOf('a', 'hfpta', images[0]), await configOf('b', 'hfptb', images[1])]
    const hosts = [
      new Host(certificates, 'host-1', a.runDirectory, options),
      new Host(certificates, 'host-2', b.runDirectory, options),
    ] as const
    const { machine, serial } = await host.boot(a)
    await serial.command(`pkill udhcpc; ip link set eth0 up; ip addr add ${address}/24 dev eth0`)
    const waiting = await host.start(b, 'incoming')
    const copies: CopyDisk[] =
      disk === undefined
        ? []
        : [
            {
              key: 2,
              disk: 'disk-9' as DiskId,
              datastore: 'ds-1' as DatastoreId,
              format: disk,
              sizeBytes: 64 * 2 ** 20,
            },
          ]
    const received = await waiting.receiveCopies({
      listenHost: '127.0.0.1',
      disks: copies.map(({ key }) => key),
      peerTlsName: null,
    })
    // A comparison of all memory on a busy machine is longer than the usual silence.
    const silence = options.isVerified === true ? { silenceMs: 5000 } : {}
    const settings = { ...defaultProtectionSettings, ...silence, ...options.settings }
    const order = { vm, config, arbiter: register.at, copies, settings }
    const nbd = received === null ? null : { host: '127.0.0.1', port: received.port, tlsName: '' }
    const exports = (received?.exports ?? []).map((one) => ({ ...one }))
    const { pump: secondPump, endpoint } = await hosts[1].pumps.startSecond({
      ...{ ...order, runDirectory: b.runDirectory, primaryTlsName: 'host-1.holdfast', nbd, exports },
    })
    stack.defer(() => kill(b.runDirectory))
    const pump = await hosts[0].pumps.startPrimary({ ...order, runDirectory: a.runDirectory, second: endpoint })
    stack.defer(() => kill(a.runDirectory))
    await eventually(
      () => `protected; it is ${JSON.stringify(pump.status)}`,
      () => pump.status.phase === 'protecting' || undefined,
      30_000,
    )
    const folders = [a.runDirectory, b.runDirectory] as const
    return new Pair(stack.move(), { serial, machine, waiting, hosts, pump, secondPump, folders })
  }

  /** The primary's host dies: its QEMU and its pump at once. */
  kill(): void {
    process.kill(this.machine.pid, 'SIGKILL')
    kill(this.folders[0])
  }

  async untilRunning(): Promise<void> {
    await this.secondPump.gone
    const log = readFileSync(join(this.folders[1], 'pump.log'), 'utf8')
    assert.equal((await this.hosts[1].pumps.memory(vm))?.phase, 'running', log)
    assert.equal(await this.waiting.state(), 'running')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pump[Symbol.asyncDispose]()
    await this.secondPump[Symbol.asyncDispose]()
    await this.#stack.disposeAsync()
  }
}

/** Ends the pump of a run folder, if it still runs. */
export function kill(runDirectory: string): void {
  const { process: id } = JSON.parse(readFileSync(join(runDirectory, 'pump.json'), 'utf8')) as { process: ProcessId }
  const stat = (() => {
    try {
      return readFileSync(`/proc/${id.pid}/stat`, 'utf8')
    } catch {
      return ''
    }
  })()
  if (stat.includes(` ${id.startTicks} `)) process.kill(id.pid, 'SIGKILL')
}
