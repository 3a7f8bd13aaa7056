/** A VM's QEMU as its pump reaches it: who it is, and a control socket of its own. */
import type { Clock } from '../../../base/clock.ts'
import { HoldfastError } from '../../../base/errors.ts'
import type { Files } from '../../../base/files.ts'
import type { ProcessMemories } from '../../../base/process-memory.ts'
import type { Streams } from '../../../base/streams.ts'
import { openQmp, type Qmp } from '../../../hypervisor/qmp.ts'
import { runPaths, type MachineRecord } from '../../../hypervisor/run-directory.ts'
import { within } from './within.ts'

export interface GuestPorts {
  readonly clock: Clock
  readonly files: Files
  readonly memories: ProcessMemories
  readonly streams: Streams
}

/**
 * Opens the control socket that QEMU has for pumps; one that an older Holdfast started has a spare one instead. Rejects
 * with `unreachable` when QEMU is gone.
 */
export async function openControl(
  ports: Pick<GuestPorts, 'clock' | 'streams' | 'files'>,
  { config, process: id }: MachineRecord,
): Promise<Qmp> {
  const { qmpPump, qmpSpare } = runPaths(config.runDirectory)
  const hasOwn = (await ports.files.stat(qmpPump)) !== undefined
  const { stream } = await ports.streams.connectUnix(hasOwn ? qmpPump : qmpSpare, id.pid)
  return await openQmp(stream, ports.clock)
}

export async function machineRecord(files: Files, runDirectory: string): Promise<MachineRecord> {
  const record = JSON.parse(await files.readText(runPaths(runDirectory).record)) as Partial<MachineRecord>
  if (record.config !== undefined && record.process !== undefined) return record as MachineRecord
  throw new HoldfastError('wrong-state', `no QEMU was started in ${runDirectory}`)
}

const answerMs = 1000

/** Whether QEMU is there: asked, it says something soon. */
export async function doesAnswer(clock: Clock, qmp: Qmp): Promise<boolean> {
  const answer = within(clock, qmp.execute('query-status'), answerMs, 'QEMU does not answer')
  return await answer.then(
    () => true,
    () => false,
  )
}
