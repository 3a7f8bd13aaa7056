/** Test code: real manager processes on one etcd, set up and joined as a person does it, kept running as systemd does. */
import assert from 'node:assert/strict'
import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { openSync, closeSync } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { nodeNetwork } from '../../src/base/node/index.ts'
import { createClient, type Client } from '../../src/contracts/client.ts'
import type { Manager } from '../../src/contracts/inventory.ts'

const main = join(import.meta.dirname, '../../src/cli/main.ts')
const run = promisify(execFile)
const firstPort = 23_850

interface Running {
  child: ChildProcess
  isWanted: boolean
}

export class ManagerProcesses implements AsyncDisposable {
  readonly folder: string
  readonly names: readonly string[]
  /** Codes that processes have ended with by themselves, in order. */
  readonly ends: { readonly name: string; readonly code: number | null }[] = []
  readonly #running = new Map<string, Running>()
  readonly #network = nodeNetwork()
  #known = { token: '', ca: '' }

  private constructor(folder: string, names: readonly string[]) {
    this.folder = folder
    this.names = names
  }

  /** `store`: as `--store` takes it. */
  static async start(count: number, store: string): Promise<ManagerProcesses> {
    const names = Array.from({ length: count }, (_, nth) => `m${nth + 1}`)
    const managers = new ManagerProcesses(await mkdtemp(join(tmpdir(), 'hf-managers-')), names)
    try {
      await managers.#setUp(store)
      return managers
    } catch (thrown) {
      await managers[Symbol.asyncDispose]()
      throw thrown
    }
  }

  async #setUp(store: string): Promise<void> {
    const [first = '', ...others] = this.names
    await this.holdfast('init', ...this.#place(first), '--manager-name', first, '--store', store)
    this.boot(first)
    await this.until(() => this.client().call('getCluster'))
    for (const name of others) {
      const token = (await this.holdfast('token', '--manager', '--data', this.data(first))).trim()
      await this.holdfast('join', this.url(first), '--token', token, ...this.#place(name), '--manager-name', name)
      this.boot(name)
    }
    await this.until(async () => {
      const { items } = await this.client().call('listManagers')
      assert.equal(items.filter(({ state }) => state !== 'silent').length, this.names.length)
    })
  }

  #place(name: string): string[] {
    const listen = ['--address', '127.0.0.1', '--listen', `127.0.0.1:${this.#port(name)}`]
    return ['--data', this.data(name), ...listen]
  }

  data(name: string): string {
    return join(this.folder, name)
  }

  url(name: string): string {
    return `https://127.0.0.1:${this.#port(name)}`
  }

  #port(name: string): number {
    return firstPort + this.names.indexOf(name)
  }

  /** `holdfast manager ARGS`; what it prints. */
  async holdfast(...args: string[]): Promise<string> {
    return (await run(process.execPath, [main, 'manager', ...args], { timeout: 60_000 })).stdout
  }

  /** Starts a manager, and again whenever it ends by itself. */
  boot(name: string): void {
    const log = openSync(join(this.folder, `${name}.log`), 'a')
    const child = spawn(process.execPath, [main, 'manager', 'run', '--data', this.data(name)], {
      stdio: ['ignore', log, log],
    })
    closeSync(log)
    const running: Running = { child, isWanted: true }
    this.#running.set(name, running)
    child.once('exit', (code) => {
      if (!running.isWanted) return
      this.ends.push({ name, code })
      this.boot(name)
    })
  }

  signal(name: string, signal: NodeJS.Signals): void {
    this.#running.get(name)?.child.kill(signal)
  }

  /** Ends a manager, which stays ended. */
  async end(name: string, signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const running = this.#running.get(name)
    if (running === undefined) return
    this.#running.delete(name)
    running.isWanted = false
    running.child.kill('SIGCONT')
    running.child.kill(signal)
    if (running.child.exitCode === null && running.child.signalCode === null) await once(running.child, 'exit')
  }

  /** Of all managers, or of one. */
  client(...names: string[]): Client {
    const urls = (names.length === 0 ? this.names : names).map((name) => this.url(name))
    return createClient(this.#network, { url: urls[0] ?? '', urls, ...this.#known })
  }

  async #readSecrets(): Promise<void> {
    const file = JSON.parse(await readFile(join(this.data(this.names[0] ?? ''), 'client.json'), 'utf8')) as {
      token: string
      ca: string
    }
    this.#known = { token: file.token, ca: file.ca }
  }

  async leader(): Promise<string> {
    const isLeading = ({ state }: Manager): boolean => state === 'leads'
    return await this.until(async () => {
      const found = (await this.client().call('listManagers')).items.find(isLeading)
      assert.ok(found)
      return found.name
    })
  }

  /** Tries until it works, for a minute. */
  async until<T>(attempt: () => Promise<T>): Promise<T> {
    const end = performance.now() + 60_000
    for (;;) {
      try {
        if (this.#known.token === '') await this.#readSecrets()
        return await attempt()
      } catch (thrown) {
        if (performance.now() > end) throw thrown
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#running.keys()].map((name) => this.end(name, 'SIGKILL')))
    this.#network[Symbol.dispose]()
    await rm(this.folder, { recursive: true, force: true })
  }
}
