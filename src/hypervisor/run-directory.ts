/**
 * A machine's run folder. What QEMU makes is in `q/`, which belongs to QEMU's user; what the agent trusts (which process
 * it is, what it was started as) is beside it, where a QEMU that was taken over by its guest cannot write.
 */
import { join } from 'node:path'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { ProcessId } from '../base/processes.ts'
import type { IncomingOptions, MachineConfig } from './hypervisor.ts'

export interface RunPaths {
  /** Folder that QEMU may write to. */
  readonly own: string
  readonly qmp: string
  /** A second control socket, for a watchdog or a person. */
  readonly qmpSpare: string
  /** A third, for the program that holds the guest in step with another host. */
  readonly qmpPump: string
  readonly serial: string
  readonly serialLog: string
  readonly vnc: string
  readonly guestAgent: string
  /** What QEMU prints. */
  readonly log: string
  readonly record: string
  readonly incoming: string
  /** Beginning of the names of permits to start (launch.ts). */
  readonly permit: string
}

/** Room in sockaddr_un, with the closing zero. */
const longestSocketPath = 107

export function runPaths(runDirectory: string): RunPaths {
  const own = join(runDirectory, 'q')
  return {
    own,
    qmp: join(own, 'qmp'),
    qmpSpare: join(own, 'qmp2'),
    qmpPump: join(own, 'qmp3'),
    serial: join(own, 'serial'),
    serialLog: join(own, 'serial.log'),
    vnc: join(own, 'vnc'),
    guestAgent: join(own, 'agent'),
    log: join(runDirectory, 'qemu.log'),
    record: join(runDirectory, 'machine.json'),
    incoming: join(runDirectory, 'incoming.json'),
    permit: join(runDirectory, 'permit-'),
  }
}

export function checkSocketPaths(paths: RunPaths): void {
  for (const path of [paths.qmp, paths.qmpSpare, paths.qmpPump, paths.serial, paths.vnc, paths.guestAgent]) {
    if (Buffer.byteLength(path) > longestSocketPath) {
      throw new HoldfastError('refused', `${path} is too long for a socket`, { mend: 'Choose a shorter data folder.' })
    }
  }
}

/** What is known of a started QEMU, for whoever adopts it. */
export interface MachineRecord {
  readonly process: ProcessId
  readonly config: MachineConfig
}

/** Written before a QEMU is started, and replaced by its record as soon as it is known which process it is. */
export interface LaunchIntent {
  readonly process: null
  /** File without which the started program does not become QEMU. */
  readonly permit: string
}

/** What an incoming machine was told; gone once the guest was let go. */
export interface IncomingRecord {
  readonly options: IncomingOptions
}

export async function readRecord<T>(files: Files, path: string): Promise<T | undefined> {
  if ((await files.stat(path)) === undefined) return undefined
  return JSON.parse(await files.readText(path)) as T
}
