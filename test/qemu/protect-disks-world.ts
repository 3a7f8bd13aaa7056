/** What the tests of protected disks share: a real QEMU whose writes are mirrored to a journal server, and its second copy. */
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { NbdClient } from '../../src/agent/protect/disks/nbd-client.ts'
import { JournalServer } from '../../src/agent/protect/disks/nbd-journal-server.ts'
import type { SessionEnd } from '../../src/agent/protect/disks/nbd-session.ts'
import { nodeClock, nodeNetwork } from '../../src/base/node/index.ts'
import { openQmp, type Qmp } from '../../src/hypervisor/qmp.ts'
import { eventually } from './hypervisor-guest.ts'

export const run = promisify(execFile)
export const clock = nodeClock()
export const MiB = 1024 * 1024

export interface Disk {
  readonly key: number
  readonly format: 'qcow2' | 'raw'
  readonly sizeBytes: number
}

/** A program with QMP. Disposing ends it. */
export async function start(socket: string, command: string, args: readonly string[]): Promise<Qmp & AsyncDisposable> {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (text: Buffer) => (said += text.toString()))
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL')
    await gone
  }
  const stream = await eventually(
    () => `${command} listens: ${said}`,
    () => connectTo(socket),
    20_000,
  ).catch(async (thrown: unknown) => {
    await kill()
    throw thrown
  })
  const qmp = await openQmp(stream, clock)
  return Object.assign(qmp, {
    [Symbol.asyncDispose]: async () => {
      qmp.close()
      await kill()
    },
  })
}

function connectTo(path: string): Promise<Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(socket))
    socket.once('error', () => resolve(undefined))
  })
}

export class ProtectedDisks implements AsyncDisposable {
  readonly folder: string
  readonly disks: readonly Disk[]
  readonly server: JournalServer
  readonly ends: SessionEnd[] = []
  readonly #listener: Server
  readonly #stack = new AsyncDisposableStack()

  private constructor(folder: string, disks: readonly Disk[], limitBytes: number) {
    this.folder = folder
    this.disks = disks
    const exports = disks.map(({ key, sizeBytes }) => ({ name: `disk-${key}`, disk: key, sizeBytes }))
    this.server = new JournalServer({ exports, limitBytes, onHalfFull: () => undefined })
    this.#listener = createServer((socket) => void this.server.serve(socket).then((end) => this.ends.push(end)))
    this.#stack.defer(() => rm(folder, { recursive: true, force: true }))
    this.#stack.defer(() => {
      this.server[Symbol.dispose]()
      this.#listener.close()
    })
  }

  static async open(disks: readonly Disk[], limitBytes = 64 * MiB): Promise<ProtectedDisks> {
    const world = new ProtectedDisks(await mkdtemp(join(tmpdir(), 'hf-protect-')), disks, limitBytes)
    world.#listener.listen(world.#at('journal.sock'))
    for (const disk of disks)
      for (const side of ['primary', 'second'] as const)
        await run('qemu-img', ['create', '-q', '-f', disk.format, world.image(side, disk), String(disk.sizeBytes)])
    return world
  }

  image(side: 'primary' | 'second', { key, format }: Disk): string {
    return this.#at(`${side}-${key}.${format}`)
  }

  #at(name: string): string {
    return join(this.folder, name)
  }

  #blockdev(side: 'primary' | 'second', disk: Disk): Record<string, unknown> {
    const file = { driver: 'file', filename: this.image(side, disk), discard: 'unmap' }
    return { driver: disk.format, 'node-name': `disk-${disk.key}`, discard: 'unmap', file }
  }

  /** QEMU with the primary's disks; its writes are mirrored to the server, and also come in by NBD at `primary.sock`. */
  async startPrimary(machine: readonly string[] = ['-machine', 'none'], onTargetError = 'report'): Promise<Qmp> {
    const socket = this.#at('primary-qmp.sock')
    const disks = this.disks.flatMap((disk) => ['-blockdev', JSON.stringify(this.#blockdev('primary', disk))])
    const args = ['-nodefaults', '-display', 'none', '-qmp', `unix:${socket},server=on,wait=off`, ...disks, ...machine]
    const qmp = this.#stack.use(await start(socket, 'qemu-system-x86_64', args))
    await serve(qmp, this.#at('primary.sock'), this.disks)
    for (const { key } of this.disks) {
      await qmp.execute('blockdev-add', {
        driver: 'nbd',
        'node-name': `journal-${key}`,
        export: `disk-${key}`,
        server: { type: 'unix', path: this.#at('journal.sock') },
        discard: 'unmap',
      })
      await qmp.execute('blockdev-mirror', {
        'job-id': `mirror-${key}`,
        device: `disk-${key}`,
        target: `journal-${key}`,
        sync: 'none',
        'copy-mode': 'write-blocking',
        'on-target-error': onTargetError,
      })
    }
    await eventually('the mirrors are in step', async () => {
      const jobs = await qmp.execute<readonly { ready: boolean }[]>('query-block-jobs')
      return (jobs.length === this.disks.length && jobs.every(({ ready }) => ready)) || undefined
    })
    return qmp
  }

  /** Who writes to the second's images: they come in by NBD. To be disposed of by the caller. */
  async startSecond(): Promise<AsyncDisposable> {
    const socket = this.#at('second-qmp.sock')
    const disks = this.disks.flatMap((disk) => ['--blockdev', JSON.stringify(this.#blockdev('second', disk))])
    const qmp = await start(socket, 'qemu-storage-daemon', [
      ...['--chardev', `socket,id=qmp,path=${socket},server=on,wait=off`, '--monitor', 'chardev=qmp'],
      ...disks,
    ])
    await serve(qmp, this.#at('second.sock'), this.disks)
    return qmp
  }

  async client(side: 'primary' | 'second', key: number): Promise<NbdClient> {
    const stream = await nodeNetwork().connectUnix(this.#at(`${side}.sock`))
    return await NbdClient.open(stream, `disk-${key}`, { clock, timeoutMs: 30_000 })
  }

  async clients(side: 'primary' | 'second', stack: AsyncDisposableStack): Promise<Map<number, NbdClient>> {
    const found = new Map<number, NbdClient>()
    for (const { key } of this.disks) found.set(key, stack.use(await this.client(side, key)))
    return found
  }

  /** Carries out commands of qemu-io on a disk of the primary. */
  async io(key: number, ...commands: string[]): Promise<string> {
    const all = commands.flatMap((command) => ['-c', command])
    const uri = `nbd+unix:///disk-${key}?socket=${this.#at('primary.sock')}`
    return (await run('qemu-io', ['-f', 'raw', '-d', 'unmap', ...all, uri])).stdout
  }

  /** Throws when any byte of the two sides' images differs. */
  async compare(): Promise<void> {
    for (const disk of this.disks) {
      const images = [this.image('primary', disk), this.image('second', disk)]
      await run('qemu-img', ['compare', '-U', '-f', disk.format, '-F', disk.format, ...images])
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

async function serve(qmp: Qmp, path: string, disks: readonly Disk[]): Promise<void> {
  await qmp.execute('nbd-server-start', { addr: { type: 'unix', data: { path } } })
  for (const { key } of disks) {
    const name = `disk-${key}`
    await qmp.execute('block-export-add', { type: 'nbd', id: `by-nbd-${key}`, 'node-name': name, name, writable: true })
  }
}
