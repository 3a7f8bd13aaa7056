/** The state of a guest's devices and CPUs, saved while it stands still, and brought into a QEMU that waits. */
import type { Clock } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Streams } from '../../base/streams.ts'
import type { MigrateStatus } from '../machine-state.ts'
import type { Qmp } from '../qmp.ts'
import { runPaths } from '../run-directory.ts'
import { restoreStream, type SavedState } from './restore-stream.ts'

/** How long a state of some 100 KB may take to be loaded. */
const loadMs = 30_000
const mostDeviceBytes = 16 * 2 ** 20

/** The versioned machine type, as QEMU itself calls it. */
export async function machineTypeOf(qmp: Qmp): Promise<string> {
  return (await qmp.execute<string>('qom-get', { path: '/machine', property: 'type' })).replace(/-machine$/, '')
}

/**
 * Some 50 to 110 KB, which QEMU writes into its own folder: /run, so to memory. The guest must stand still, and does
 * afterwards.
 */
export async function saveDevices(qmp: Qmp, runDirectory: string): Promise<void> {
  await qmp.execute('xen-save-devices-state', { filename: devicesPath(runDirectory), live: false })
}

/** What was saved last; the guest may run meanwhile. The folder is QEMU's own, so what is in it is not trusted. */
export async function readDevices(files: Files, runDirectory: string): Promise<Uint8Array> {
  await using file = await files.open(devicesPath(runDirectory), 'read-untrusted')
  const bytes = await file.read(0, mostDeviceBytes)
  if (bytes.length < mostDeviceBytes) return bytes
  throw new HoldfastError('hypervisor-error', `the saved state of the devices has ${mostDeviceBytes} bytes or more`)
}

function devicesPath(runDirectory: string): string {
  return `${runPaths(runDirectory).own}/devices`
}

/**
 * Brings the state into a QEMU that was started to wait, and whose memory is filled. The guest runs when it resolves, or
 * stands still where `isPaused`. Rejects with `hypervisor-error` when QEMU does not take it.
 */
export async function loadState(
  deps: {
    readonly qmp: Qmp
    readonly streams: Streams
    readonly clock: Clock
    readonly runDirectory: string
    readonly pid: number
  },
  state: SavedState & { readonly isPaused: boolean },
): Promise<void> {
  const { qmp, streams, clock, runDirectory, pid } = deps
  const path = `${runPaths(runDirectory).own}/state`
  // In this state it only says what is to come.
  await qmp.execute(state.isPaused ? 'stop' : 'cont')
  await qmp.execute('migrate-incoming', { uri: `unix:${path}` })
  const { stream } = await streams.connectUnix(path, pid)
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
