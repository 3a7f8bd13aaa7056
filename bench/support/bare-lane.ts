/**
 * The same migration by bare QMP: QEMU with the very command line that Holdfast gave its own guest (read from its
 * process), in the same hosts, on the same bridge, with the same capabilities; nothing of Holdfast takes part. It is kept
 * in the best light: the source's QEMU is ended only when nothing is measured any more.
 */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProcessId } from '../../src/base/processes.ts'
import { dhParameters, dhParametersFile } from '../../src/hypervisor/dh-parameters.ts'
import { makeAuthority, makeHost } from '../../test/qemu/hypervisor-certificates.ts'
import type { BenchLab } from './bench-lab.ts'
import { laneOf, type BenchGuest, type Lane, type Moved } from './lane.ts'
import { BenchQmp } from './qmp.ts'

interface Qemu {
  readonly process: ProcessId
  readonly qmp: BenchQmp
  readonly host: string
  readonly folder: string
}

export interface BareOptions {
  readonly lab: BenchLab
  /** Of a QEMU that Holdfast started, from its first argument on. */
  readonly like: readonly string[]
  readonly folder: string
  /** Added to the guest's kernel command line. */
  readonly cmdline?: string
}

/** The bytes that tell a bare guest from Holdfast's: the ends of its MAC, UUID and address. */
const number = 240
const mac = '52:54:00:be:ac:01'
const tap = 'bare0'

/** A guest under bare QEMU. `lane` gives the ways in which it is moved. */
export class BareGuest implements BenchGuest, AsyncDisposable {
  readonly address: string
  readonly #options: BareOptions
  #at: Qemu | undefined
  #left: Qemu | undefined
  #count = 0

  private constructor(options: BareOptions) {
    this.#options = options
    this.address = options.lab.guestAddress(number).address
  }

  static async open(options: BareOptions, host: string): Promise<BareGuest> {
    const guest = new BareGuest(options)
    await mkdir(options.folder, { recursive: true, mode: 0o755 })
    makeAuthority(options.folder)
    for (const name of ['host1', 'host2']) {
      // As Holdfast has it: without this file QEMU spends up to seconds on making a prime.
      await writeFile(join(makeHost(options.folder, name), dhParametersFile), dhParameters)
    }
    const qemu = await guest.#start(host, [])
    guest.#at = qemu
    await qemu.qmp.execute('cont')
    const { address, prefix, gateway } = options.lab.guestAddress(number)
    await setAddress(`${qemu.folder}/serial`, `${address}/${prefix}`, gateway)
    return guest
  }

  /** Starts one, lets it run and ends it. Milliseconds until it ran. */
  static async startAlone(options: BareOptions, host: string): Promise<number> {
    await mkdir(options.folder, { recursive: true, mode: 0o755 })
    const began = Date.now()
    await using guest = new BareGuest(options)
    const qemu = await guest.#start(host, [])
    guest.#at = qemu
    await qemu.qmp.execute('cont')
    await qemu.qmp.until('RESUME')
    return (qemu.qmp.when('RESUME') ?? Number.NaN) - began
  }

  lane(name: string, tls: boolean, downtimeLimitMs = 300): Lane {
    return laneOf(name, this, () => this.move(tls, downtimeLimitMs))
  }

  get host(): string {
    return this.#at?.host ?? ''
  }

  async move(tls: boolean, downtimeLimitMs: number): Promise<Moved> {
    const { lab } = this.#options
    const source = this.#at
    if (source === undefined) throw new Error('there is no guest')
    const started = performance.now()
    const target = await this.#start(lab.other(source.host), ['-incoming', 'defer'])
    const port = await this.#listen(target, tls, source.host)
    source.qmp.forget()
    await this.#send(source, target, port, { tls, downtimeLimitMs })
    await source.qmp.until('MIGRATION', 'completed')
    await target.qmp.until('RESUME')
    const wholeMs = performance.now() - started
    const status = await source.qmp.execute<{ 'total-time'?: number }>('query-migrate')
    this.#at = target
    this.#left = source
    const stopAt = source.qmp.when('STOP') ?? null
    const resumeAt = target.qmp.when('RESUME') ?? null
    return {
      source: source.host,
      target: target.host,
      wholeMs,
      memoryMs: status['total-time'] ?? null,
      stopAt,
      resumeAt,
    }
  }

  async #listen(target: Qemu, tls: boolean, peer: string): Promise<number> {
    const { qmp, host } = target
    const parameters: Record<string, unknown> = { 'tls-creds': '', 'tls-authz': '' }
    if (tls) {
      await addTls(qmp, 'tls-server', 'server', `${this.#options.folder}/${host}`)
      const rules = [{ match: `O=Holdfast,CN=${peer}`, policy: 'allow', format: 'exact' }]
      await qmp.execute('object-add', { 'qom-type': 'authz-list', id: 'tls-peer', policy: 'deny', rules })
      Object.assign(parameters, { 'tls-creds': 'tls-server', 'tls-authz': 'tls-peer' })
    }
    await apply(qmp, { events: true, 'validate-uuid': true }, parameters)
    await qmp.execute('cont')
    await qmp.execute('migrate-incoming', { uri: `tcp:${this.#options.lab.address(host, 'storage')}:0` })
    const answer = await qmp.execute<{ 'socket-address'?: { port: string }[] }>('query-migrate')
    return Number(answer['socket-address']?.[0]?.port)
  }

  async #send(source: Qemu, target: Qemu, port: number, how: { tls: boolean; downtimeLimitMs: number }): Promise<void> {
    const { tls, downtimeLimitMs } = how
    const { qmp, host } = source
    if (tls) await addTls(qmp, `tls-client-${this.#count}`, 'client', `${this.#options.folder}/${host}`)
    const capabilities = { events: true, 'validate-uuid': true, 'auto-converge': true }
    await apply(qmp, capabilities, {
      'max-bandwidth': 2 ** 40,
      'downtime-limit': downtimeLimitMs,
      'tls-creds': tls ? `tls-client-${this.#count}` : '',
      'tls-hostname': tls ? target.host : '',
      'tls-authz': '',
    })
    await qmp.execute('migrate', { uri: `tcp:${this.#options.lab.address(target.host, 'storage')}:${port}` })
  }

  async #start(host: string, more: readonly string[]): Promise<Qemu> {
    const { lab } = this.#options
    this.#count++
    const folder = `${this.#options.folder}/${this.#count}`
    await mkdir(folder)
    const link = [`tuntap add dev ${tap} mode tap vnet_hdr`, `link set ${tap} mtu 1500`]
    await lab.inside(host, ['ip', '-batch', '-'], [...link, `link set ${tap} master ${lab.bridge} up`, ''].join('\n'))
    const argv = await lab.lab.lab.inside(host, [...this.#arguments(folder), ...more])
    const [command = '', ...args] = argv
    const { processes } = lab.lab.ports
    const process = await processes.startDetached(command, args, { logFile: `${folder}/log`, cwd: '/' })
    for (let tries = 0; ; tries++) {
      const qmp = await BenchQmp.open(`${folder}/qmp`).catch(() => undefined)
      if (qmp !== undefined) return { process, qmp, host, folder }
      if (tries > 2000 || !(await processes.isAlive(process))) throw new Error(`QEMU did not start: see ${folder}/log`)
      await sleep(4)
    }
  }

  #arguments(folder: string): string[] {
    const { like, cmdline } = this.#options
    return like.map((word, at) => {
      if (like[at - 1] === '-uuid') return '0be0ac01-0000-4000-8000-000000000001'
      if (like[at - 1] === '-name') return 'guest=bare'
      if (like[at - 1] === '-append' && cmdline !== undefined) return `${word} ${cmdline}`
      return word
        .replaceAll(/\/run\/holdfast\/vms\/vm-[0-9]+\/q(?=\/)/g, folder)
        .replace(/tap,id=([^,]+),fd=[0-9]+/, `tap,id=$1,ifname=${tap},script=no,downscript=no`)
        .replace(/mac=[0-9a-f:]+/, `mac=${mac}`)
    })
  }

  get mac(): string {
    return mac
  }

  /** Ends what was moved away from. */
  async tidy(): Promise<void> {
    if (this.#left !== undefined) await this.#end(this.#left)
    this.#left = undefined
  }

  async #end({ qmp, process, host, folder }: Qemu): Promise<void> {
    const { lab } = this.#options
    qmp.execute('quit').catch(() => undefined)
    await lab.lab.ports.processes.waitGone(process, AbortSignal.timeout(20_000))
    qmp[Symbol.dispose]()
    await lab.inside(host, ['ip', 'link', 'del', tap])
    await rm(folder, { recursive: true, force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tidy()
    if (this.#at !== undefined) await this.#end(this.#at)
    this.#at = undefined
    await rm(this.#options.folder, { recursive: true, force: true })
  }
}

async function addTls(qmp: BenchQmp, id: string, endpoint: 'server' | 'client', dir: string): Promise<void> {
  await qmp.execute('object-add', { 'qom-type': 'tls-creds-x509', id, dir, endpoint, 'verify-peer': true })
}

async function apply(
  qmp: BenchQmp,
  capabilities: Readonly<Record<string, boolean>>,
  parameters: Readonly<Record<string, unknown>>,
): Promise<void> {
  const list = Object.entries(capabilities).map(([capability, state]) => ({ capability, state }))
  await qmp.execute('migrate-set-capabilities', { capabilities: list })
  await qmp.execute('migrate-set-parameters', parameters)
}

/** Gives a guest its address by its serial line, since no DHCP server knows it. */
export async function setAddress(socketPath: string, cidr: string, gateway: string): Promise<void> {
  const socket = connect(socketPath)
  let text = ''
  socket.on('data', (data: Buffer) => (text += data.toString('latin1')))
  const until = async (pattern: RegExp): Promise<void> => {
    for (let tries = 0; !pattern.test(text); tries++) {
      if (tries > 900) throw new Error(`the guest does not say ${String(pattern)}: ${text.slice(-300)}`)
      await sleep(100)
    }
  }
  await until(/holdfast-guest: ready/)
  const commands = [
    'killall nic udhcpc',
    'ip link set eth0 up',
    'ip addr flush dev eth0',
    `ip addr add ${cidr} dev eth0`,
    `ip route add default via ${gateway}`,
    // Typed in two pieces, so that the echo of the line is not taken for its output.
    'echo address"-"set',
  ]
  socket.write(`\n${commands.join('; ')}\n`)
  await until(/address-set/)
  socket.destroy()
}
