/** The state of a guest's devices and CPUs, saved while it stands still, and brought into a QEMU that waits. */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Streams } from '../../base/streams.ts'
import type { MigrateStatus } from '../machine-state.ts'
import type { Qmp } from '../qmp.ts'
import { runPaths, type MachineRecord } from '../run-directory.ts'
import { restoreStream, type SavedState } from './restore-stream.ts'

/** How long a state of some 100 KB may take to be loaded. */
const loadMs = 30_000
/** Every Linux has it, and every user may write there. */
const memoryFolder = '/dev/shm'

/** The versioned machine type, as QEMU itself calls it. */
export async function machineTypeOf(qmp: Qmp): Promise<string> {
  return (await qmp.execute<string>('qom-get', { path: '/machine', property: 'type' })).replace(/-machine$/, '')
}

/**
 * Where QEMU writes the state to: a folder of its own in memory. A file elsewhere would do, but the guest stands still while
 * it is written.
 */
export class DeviceStateFile implements AsyncDisposable {
  readonly #files: Files
  readonly #folder: string

  private constructor(files: Files, folder: string) {
    this.#files = files
    this.#folder = folder
  }

  static async open(files: Files, { config, process }: MachineRecord): Promise<DeviceStateFile> {
    const folder = `${memoryFolder}/holdfast-${process.pid}-${process.startTicks}`
    await files.makeDirectory(folder, { mode: 0o700 })
    if (config.runAs !== null) await files.changeOwner(folder, config.runAs.uid, config.runAs.gid)
    return new DeviceStateFile(files, folder)
  }

  /** Some 50 to 110 KB. The guest must stand still, and does afterwards. */
  async save(qmp: Qmp): Promise<void> {
    await qmp.execute('xen-save-devices-state', { filename: this.#path, live: false })
  }

  /** What was saved last; the guest may run meanwhile. */
  async read(): Promise<Uint8Array> {
    return await this.#files.read(this.#path)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#files.remove(this.#folder)
  }

  get #path(): string {
    return `${this.#folder}/devices`
  }
}

/**
 * Brings the state into a QEMU that was started to wait, and whose memory is filled. The guest runs when it resolves, or
 * stands still where `isPaused`. Rejects with `hypervisor-error` when QEMU does not take it.
 */
export async function loadState(
  deps: { readonly qmp: Qmp; readonly streams: Streams; readonly clock: Clock; readonly runDirectory: string },
  state: SavedState & { readonly isPaused: boolean },
): Promise<void> {
  const { qmp, streams, clock, runDirectory } = deps
  const path = `${runPaths(runDirectory).own}/state`
  // In this state it only says what is to come.
  await qmp.execute(state.isPaused ? 'stop' : 'cont')
  await qmp.execute('migrate-incoming', { uri: `unix:${path}` })
  const { stream } = await streams.connectUnix(path)
  stream.on('error', () => undefined).resume()
  stream.end(restoreStream(state))
  const until = clock.monotonic() + loadMs
  for (;;) {
    const { status } = await qmp.execute<{ status: string }>('query-status')
    if (status === 'running' || (status === 'paused' && state.isPaused)) return
    const migration = await qmp.execute<MigrateStatus>('query-migrate')
    if (migration.status === 'failed')
      throw new HoldfastError(
        'hypervisor-error',
        `QEMU did not take the state: ${migration['error-desc'] ?? 'no reason'}`,
      )
    if (status === 'paused' && migration.status === 'completed') await qmp.execute('cont')
    if (clock.monotonic() > until) throw new HoldfastError('timeout', `the state was not loaded within ${loadMs} ms`)
    await clock.sleep(1)
  }
}
