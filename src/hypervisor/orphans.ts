/**
 * The QEMU of a launch that was cut short: the agent died after it had started the program and before it had noted which
 * process that is. Nobody speaks to such a QEMU and no vCPU of it ever ran, so it is ended.
 */
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { ProcessId, Processes } from '../base/processes.ts'
import { deadline, type Clock } from '../base/clock.ts'
import { controlChardev } from './command-line.ts'
import { runPaths, type LaunchIntent } from './run-directory.ts'

export interface OrphanPorts {
  readonly files: Files
  readonly processes: Processes
  readonly clock: Clock
}

const killedMs = 15_000
const betweenLooksMs = 25

/**
 * Takes the launch's permit away, then ends all that has passed it: what comes later does not become QEMU. The intent is
 * forgotten when nothing is left. Rejects with `timeout` when a process cannot be reaped.
 */
export async function endOrphans(ports: OrphanPorts, runDirectory: string, intent: LaunchIntent): Promise<void> {
  await ports.files.remove(intent.permit)
  // Twice: a program that changes into the next one has no command line for an instant.
  for (let clean = 0; clean < 2; clean++) {
    for (const id of await processesOf(ports, runDirectory)) await end(ports, id)
    await ports.clock.sleep(betweenLooksMs)
  }
  await ports.files.remove(runPaths(runDirectory).record)
}

async function end({ processes, clock }: OrphanPorts, id: ProcessId): Promise<void> {
  await processes.signal(id, 'SIGKILL')
  const stuck = new HoldfastError('timeout', `QEMU process ${id.pid} cannot be ended: it is stuck in the kernel`, {
    mend: 'Its storage does not answer. Bring the storage back, or reset the host.',
  })
  using limit = deadline(clock, killedMs, stuck)
  await processes.waitGone(id, limit.signal)
}

/** The programs that were started for this folder's machine, whether they have become QEMU yet or not. */
async function processesOf({ files, processes }: OrphanPorts, runDirectory: string): Promise<ProcessId[]> {
  const mark = controlChardev(runDirectory)
  const found: ProcessId[] = []
  for (const name of await files.list('/proc')) {
    if (!/^[0-9]+$/.test(name)) continue
    // Who it is comes first: another process with its number later is then not taken for it.
    const id = await processes.identify(Number(name))
    const text = await files.readText(`/proc/${name}/cmdline`).catch(() => '')
    if (id !== undefined && text.split('\0').includes(mark)) found.push(id)
  }
  return found
}
