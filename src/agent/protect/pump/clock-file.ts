/**
 * What a guest's clock had lost when it was taken over, from the pump that took it over to the next one on this host:
 * RUN/guest-clock.json, for the QEMU that it names and for no other.
 */
import { join } from 'node:path'
import Value from 'typebox/value'
import type { Files } from '../../../base/files.ts'
import type { ProcessId } from '../../../base/processes.ts'
import type { MachineRecord } from '../../../hypervisor/run-directory.ts'
import { ClockBase } from './clock-lag.ts'

type Whose = Pick<MachineRecord, 'process'> & { readonly config: Pick<MachineRecord['config'], 'runDirectory'> }

export async function writeClockFile(files: Files, { config, process }: Whose, base: ClockBase): Promise<void> {
  await files.write(pathOf(config.runDirectory), JSON.stringify({ process, base }), { mode: 0o600 })
}

/** Undefined where nothing was left, or it is of another QEMU, or broken. It is read once. */
export async function takeClockFile(files: Files, { config, process }: Whose): Promise<ClockBase | undefined> {
  const path = pathOf(config.runDirectory)
  if ((await files.stat(path)) === undefined) return undefined
  const found = parse(await files.readText(path))
  await files.remove(path)
  const isOfThis = found?.process?.pid === process.pid && found.process.startTicks === process.startTicks
  return isOfThis && Value.Check(ClockBase, found.base) ? found.base : undefined
}

function parse(text: string): { readonly process?: Partial<ProcessId>; readonly base?: unknown } | undefined {
  try {
    const found: unknown = JSON.parse(text)
    return typeof found === 'object' && found !== null ? found : undefined
  } catch {
    return undefined
  }
}

function pathOf(runDirectory: string): string {
  return join(runDirectory, 'guest-clock.json')
}
