/**
 * Two pumps and two real QEMUs on one machine: a guest on host-1, held in step on host-2, with a register that decides and a
 * client that counts the guest's ticks.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { connect, createServer as createTcpServer, type Socket } from 'node:net'
import { join } from 'node:path'
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
import type { Moment, MomentFile } from './pump-at-moment.ts'
import { Console, deps, eventually, TestHost } from './hypervisor-guest.ts'

export const vm = 'vm-1' as VmId
const config: ProtectionConfig = {
  vm,
  n: 1,
  primary: 'host-1' as HostId,
  second: 'host-2' as HostId,
  arbiter: 'host-3' as HostId,
}
export const guestAddress = '10.88.77.50'
/** The second NIC of a guest that has two is in a network of its own. */
export const secondAddress = '10.88.78.50'
const networks = [
  { bridge: 'hfpt0', taps: ['hfpta', 'hfptb'], gateway: '10.88.77.1', address: guestAddress, mac: '52:54:00:88:77:50' },
  {
    ...{ bridge: 'hfpt1', taps: ['hfptc', 'hfptd'], gateway: '10.88.78.1' },
    ...{ address: secondAddress, mac: '52:54:00:88:78:50' },
  },
] as const

const sh = (line: string): void => void execFileSync('sh', ['-c', line], { stdio: 'pipe' })

function makeNetworks(): Disposable {
  const devices = networks.flatMap(({ bridge, taps }) => [...taps, bridge])
  const remove = (): void => sh(`for i in ${devices.join(' ')}; do ip link del $i 2>/dev/null || true; done`)
  remove()
  for (const { bridge, taps, gateway } of networks) {
    const mac = `02:00:00:88:${gateway.split('.')[2] ?? ''}:01`
    sh(
      `ip link add ${bridge} type bridge && ip link set ${bridge} address ${mac} up && ip addr add ${gateway}/24 dev ${bridge}`,
    )
    for (const tap of taps) sh(`ip tuntap add ${tap} mode tap vnet_hdr && ip link set ${tap} master ${bridge} up`)
  }
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
    momentFile: string,
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
      program: [process.execPath, join(import.meta.dirname, 'pump-at-moment.ts'), momentFile],
    })
  }
}

/** Counts the guest's ticks on one connection. */
export class Ticks implements Disposable {
  readonly #socket
  readonly problems: string[] = []
  #rest = ''
  #last = 0
  count = 0
  longestSilence = 0
  constructor(host: string = guestAddress) {
    this.#socket = connect({ host, port: 7001, noDelay: true })
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
  readonly bus?: 'virtio' | 'ide'
  /** Of its NICs: one or two. Default: one virtio. */
  readonly nics?: readonly ('virtio' | 'e1000')[]
  readonly more?: Partial<MachineConfig>
  readonly settings?: Partial<ProtectionSettings>
  /** What the link between the two carries, bytes a second; default: all that comes. */
  readonly bytesPerSecond?: number
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
  readonly #momentFile: string

  private constructor(
    stack: AsyncDisposableStack,
    parts: Omit<Pair, 'kill' | 'killAt' | 'untilRunning' | typeof Symbol.asyncDispose> & { momentFile: string },
  ) {
    this.#stack = stack
    this.serial = parts.serial
    this.machine = parts.machine
    this.waiting = parts.waiting
    this.hosts = parts.hosts
    this.pump = parts.pump
    this.secondPump = parts.secondPump
    this.folders = parts.folders
    this.#momentFile = parts.momentFile
  }

  static async open(options: PairOptions = {}): Promise<Pair> {
    const { disk, more = {}, bus = 'virtio', nics = ['virtio'] } = options
    await using stack = new AsyncDisposableStack()
    stack.use(makeNetworks())
    const host = stack.use(await TestHost.open())
    const certificates = join(host.folder, 'tls')
    makeAuthority(certificates)
    makeHost(certificates, 'host-3.holdfast')
    const register = stack.use(await arbiter(certificates))
    const images = ['one', 'two'].map((name) => join(host.folder, name))
    if (disk !== undefined) for (const path of images) sh(`qemu-img create -q -f ${disk} ${path} 64M`)
    const configOf = async (side: 0 | 1): Promise<MachineConfig> => ({
      ...(await host.config(side === 0 ? 'a' : 'b', more)),
      nics: nics.map((model, at) => {
        const { mac, taps } = networks[at] ?? networks[0]
        return { key: at + 1, model, mac, slot: String(at + 5), tap: taps[side] }
      }),
      disks: disk === undefined ? [] : [diskOf(images[side] ?? '', disk, bus)],
    })
    const [a, b] = [await configOf(0), await configOf(1)]
    const hosts = [
      new Host(certificates, 'host-1', a.runDirectory, options, join(certificates, 'no-moment')),
      new Host(certificates, 'host-2', b.runDirectory, options, join(certificates, 'moment')),
    ] as const
    const { machine, serial } = await host.boot(a)
    for (const at of nics.keys()) {
      // Its driver may still be loading; DHCP begins when it is there, and takes away what is set before.
      await serial.command(`until pidof udhcpc >/dev/null && [ -d /run/nic-eth${at} ]; do usleep 100000; done`)
    }
    await serial.command('killall udhcpc')
    for (const [at, nic] of networks.slice(0, nics.length).entries()) {
      await serial.command(`ip link set eth${at} up; ip addr add ${nic.address}/24 dev eth${at}`)
    }
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
    const { bytesPerSecond } = options
    const link =
      bytesPerSecond === undefined ? undefined : stack.use(await slowLink(endpoint.data.port, bytesPerSecond))
    const data = link === undefined ? endpoint.data : { host: '127.0.0.1', port: link.port }
    const second = { ...endpoint, data }
    const pump = await hosts[0].pumps.startPrimary({ ...order, runDirectory: a.runDirectory, second })
    stack.defer(() => kill(a.runDirectory))
    await eventually(
      () => `protected; it is ${JSON.stringify(pump.status)}`,
      () => pump.status.phase === 'protecting' || undefined,
      30_000,
    )
    const folders = [a.runDirectory, b.runDirectory] as const
    return new Pair(stack.move(), {
      serial,
      machine,
      waiting,
      hosts,
      pump,
      secondPump,
      folders,
      momentFile: join(certificates, 'moment'),
    })
  }

  /** The primary's host dies: its QEMU and its pump at once. */
  kill(): void {
    process.kill(this.machine.pid, 'SIGKILL')
    kill(this.folders[0])
  }

  /** The primary's host dies, or the second's, at this moment of the second's work. Resolves when it has. */
  async killAt(moment: Moment, which: 'primary' | 'second'): Promise<void> {
    const side = which === 'primary' ? 0 : 1
    const { pid } = which === 'primary' ? this.machine : this.waiting
    const file: MomentFile = { moment, pids: [pid, pumpOf(this.folders[side]).pid] }
    writeFileSync(`${this.#momentFile}.new`, JSON.stringify(file))
    renameSync(`${this.#momentFile}.new`, this.#momentFile)
    await eventually(`the moment ${moment}`, () => existsSync(`${this.#momentFile}.was`) || undefined)
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

/** A link that carries no more than so much to the second. */
async function slowLink(targetPort: number, bytesPerSecond: number): Promise<{ port: number } & Disposable> {
  const sockets = new Set<Socket>()
  const server = createTcpServer((source) => {
    const target = connect({ host: '127.0.0.1', port: targetPort })
    for (const socket of [source, target]) sockets.add(socket.on('error', () => undefined))
    target.pipe(source)
    void (async () => {
      for await (const chunk of source) {
        target.write(chunk as Buffer)
        await deps.clock.sleep(((chunk as Buffer).length * 1000) / bytesPerSecond)
      }
      target.end()
    })().catch(() => target.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const close = (): void => {
    server.close()
    for (const socket of sockets) socket.destroy()
  }
  return { port, [Symbol.dispose]: close }
}

function diskOf(path: string, format: 'qcow2' | 'raw', bus: 'virtio' | 'ide'): MachineConfig['disks'][number] {
  return { key: 2, path, format, bus, slot: bus === 'virtio' ? '8' : null, cache: 'writeback' }
}

/** Ends the pump of a run folder, if it still runs. */
export function kill(runDirectory: string): void {
  const id = pumpOf(runDirectory)
  const stat = (() => {
    try {
      return readFileSync(`/proc/${id.pid}/stat`, 'utf8')
    } catch {
      return ''
    }
  })()
  if (stat.includes(` ${id.startTicks} `)) process.kill(id.pid, 'SIGKILL')
}

function pumpOf(runDirectory: string): ProcessId {
  const { process: id } = JSON.parse(readFileSync(join(runDirectory, 'pump.json'), 'utf8')) as { process: ProcessId }
  return id
}
