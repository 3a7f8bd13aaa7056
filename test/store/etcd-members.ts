/** Test code: real members of etcd, each a process of its own on loopback addresses, with its data in a folder. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const [clientPort, peerPort] = [23_790, 23_800]

export class EtcdMembers implements AsyncDisposable {
  readonly #folder: string
  readonly #count: number
  readonly #isQuick: boolean
  readonly #running = new Map<number, ChildProcess>()

  private constructor(folder: string, count: number, isQuick: boolean) {
    this.#isQuick = isQuick
    this.#folder = folder
    this.#count = count
  }

  /** Resolves when they have a leader. `isQuick`: they choose another one as fast as docs/managers.md asks for. */
  static async start(count: number, { isQuick = false } = {}): Promise<EtcdMembers> {
    const members = new EtcdMembers(await mkdtemp(join(tmpdir(), 'hf-etcd-')), count, isQuick)
    for (let member = 0; member < count; member++) members.boot(member)
    await members.untilWell()
    return members
  }

  get endpoints(): string[] {
    return Array.from({ length: this.#count }, (_, member) => this.#url(member))
  }

  boot(member: number): void {
    const peers = Array.from({ length: this.#count }, (_, each) => `m${each}=${peerUrl(each)}`).join()
    const options = {
      name: `m${member}`,
      'data-dir': join(this.#folder, `m${member}`),
      'listen-client-urls': this.#url(member),
      'advertise-client-urls': this.#url(member),
      'listen-peer-urls': peerUrl(member),
      'initial-advertise-peer-urls': peerUrl(member),
      'initial-cluster': peers,
      'log-level': 'error',
      ...(this.#isQuick ? { 'heartbeat-interval': '50', 'election-timeout': '500' } : {}),
    }
    const args = Object.entries(options).map(([name, value]) => `--${name}=${value}`)
    this.#running.set(member, spawn('etcd', args, { stdio: 'ignore' }))
  }

  async kill(member: number): Promise<void> {
    const child = this.#running.get(member)
    assert.ok(child)
    this.#running.delete(member)
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }

  signal(member: number, signal: 'SIGSTOP' | 'SIGCONT'): void {
    this.#running.get(member)?.kill(signal)
  }

  /** Resolves when every member that runs answers with what a majority agrees on. */
  async untilWell(): Promise<void> {
    const until = performance.now() + 30_000
    for (const member of this.#running.keys()) {
      for (;;) {
        const body = JSON.stringify({ key: 'YQ==' })
        const signal = AbortSignal.timeout(1000)
        const answer = await fetch(`${this.#url(member)}/v3/kv/range`, { method: 'POST', body, signal }).catch(
          () => undefined,
        )
        if (answer?.ok === true) break
        assert.ok(performance.now() < until, `member ${member} of etcd does not answer`)
        await new Promise((resolve) => setTimeout(resolve, 50))
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const member of [...this.#running.keys()]) {
      this.signal(member, 'SIGCONT')
      await this.kill(member)
    }
    await rm(this.#folder, { recursive: true, force: true })
  }

  #url(member: number): string {
    return `http://127.0.0.1:${clientPort + member}`
  }
}

function peerUrl(member: number): string {
  return `http://127.0.0.1:${peerPort + member}`
}
