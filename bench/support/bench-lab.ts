/** A lab with two hosts and the small guest, and what the contenders that are not Holdfast use of it. */
import { connect, type Socket } from 'node:net'
import { spawn, type ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { addressOf, guestNetwork } from '../../src/lab/address-plan.ts'
import { namespaceOf, nodeFolders, outsideLinks, type LabNetwork } from '../../src/lab/names.ts'
import type { LabState } from '../../src/lab/state.ts'
import { TestLab } from '../../test/support/lab.ts'

export class BenchLab implements AsyncDisposable {
  readonly lab: TestLab
  readonly #state: LabState

  private constructor(lab: TestLab, state: LabState) {
    this.lab = lab
    this.#state = state
  }

  static async open(name: string, hosts = 2): Promise<BenchLab> {
    const lab = await TestLab.open({ name, hosts })
    return new BenchLab(lab, await lab.lab.existing())
  }

  /** Where clients stand: this machine's own end of the guests' network. */
  get clientDevice(): string {
    return outsideLinks(this.lab.lab.name).gateway
  }

  /** The bridge of the guests' network and its way to other hosts, the same on every host. */
  readonly bridge = 'hfbr1'
  readonly uplink = 'hfvx1'

  other(host: string): string {
    return host === 'host1' ? 'host2' : 'host1'
  }

  address(host: string, network: LabNetwork): string {
    return addressOf(this.#state.plan, host, network)
  }

  /** An address of the guests' network that Holdfast gives to nobody in so short a time. */
  guestAddress(last: number): { address: string; prefix: number; gateway: string } {
    const { cidr, prefix, gateway } = guestNetwork(this.#state.plan)
    return { address: cidr.replace(/\.0\/.*$/, `.${last}`), prefix, gateway }
  }

  /** Enters a host's network alone: programs of the bench itself. */
  netPrefix(host: string): string[] {
    return ['nsenter', `--net=/run/netns/${namespaceOf(this.lab.lab.name, host)}`]
  }

  /** The host's /run/holdfast as this machine sees it. */
  runFolder(host: string): string {
    return nodeFolders(this.lab.lab.folder, host).run
  }

  /** Runs a command in a host to its end; throws when it fails. */
  async inside(host: string, argv: readonly string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await this.lab.run(host, argv, input === undefined ? {} : { input })
    if (code !== 0) throw new Error(`${argv.join(' ')} on ${host}: ${stderr}`)
    return stdout
  }

  /** Bytes that a host has sent on a network. */
  async sentBytes(host: string, network: LabNetwork): Promise<number> {
    const text = await this.inside(host, ['cat', '/proc/net/dev'])
    const line = text.split('\n').find((one) => one.trim().startsWith(`${network}:`)) ?? ''
    return Number(line.split(':')[1]?.trim().split(/\s+/)[8])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.lab[Symbol.asyncDispose]()
  }
}

/** A client of a guest: reads the ticking stream of port 7001, and pings every 5 ms. */
export class GuestClient implements AsyncDisposable {
  readonly #socket: Socket
  readonly #ping: ChildProcess | undefined
  /** Why the stream ended; undefined while it is there. */
  lost: string | undefined

  private constructor(socket: Socket, ping: ChildProcess | undefined) {
    this.#socket = socket
    this.#ping = ping
    socket.on('data', () => undefined)
    socket.on('error', (error) => (this.lost ??= error.message))
    socket.on('close', () => (this.lost ??= 'closed'))
  }

  static async open(address: string, pings = true): Promise<GuestClient> {
    const socket = connect({ host: address, port: 7001, noDelay: true })
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject))
    const ping = pings ? spawn('ping', ['-i', '0.005', '-q', '-n', address], { stdio: 'ignore' }) : undefined
    return new GuestClient(socket, ping)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.destroy()
    const { exitCode } = this.#ping ?? { exitCode: 0 }
    if (exitCode !== null || this.#ping === undefined) return
    const ended = new Promise((resolve) => this.#ping?.once('exit', resolve))
    this.#ping.kill('SIGINT')
    await ended
  }
}

/** Waits until a guest answers on port 7001. */
export async function answers(address: string, timeoutMs = 90_000): Promise<void> {
  const until = performance.now() + timeoutMs
  for (;;) {
    const limit = AbortSignal.timeout(1000)
    const isThere = await new Promise<boolean>((resolve) => {
      const socket = connect({ host: address, port: 7001, signal: limit })
      socket.once('data', () => (socket.destroy(), resolve(true)))
      socket.once('error', () => resolve(false))
      socket.once('close', () => resolve(false))
    })
    if (isThere) return
    if (performance.now() > until) throw new Error(`${address} does not answer within ${timeoutMs} ms`)
    await sleep(100)
  }
}
