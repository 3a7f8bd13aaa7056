/** What is written down of a lab (`lab.json`), and the lock that keeps two verbs from running at once. */
import { HoldfastError } from '../base/errors.ts'
import { fileErrorCode, type Files } from '../base/files.ts'
import type { ProcessId } from '../base/processes.ts'
import type { AddressPlan } from './address-plan.ts'
import { managerName, type LabNetwork } from './names.ts'
import type { LabPorts } from './ports.ts'

/** One direction of one network that is cut. */
export interface Cut {
  readonly from: string
  readonly to: string
  readonly network: LabNetwork
}

export interface StorageFault {
  readonly host: string
  readonly kind: 'hang' | 'fail' | 'slow'
  readonly latencyMs: number
  readonly kibPerSecond: number
}

export interface LabState {
  readonly version: 1
  readonly name: string
  readonly hosts: readonly string[]
  /** Absent: the one manager. */
  readonly managers?: readonly string[]
  readonly plan: AddressPlan
  readonly hasShared: boolean
  /** `up` when `lab up` came to its end. */
  readonly phase: 'creating' | 'up'
  readonly cuts: readonly Cut[]
  readonly storage: readonly StorageFault[]
  readonly filled: readonly string[]
  /** Of the power switch, as fence devices have one; a lab of an older version has none. */
  readonly fencePassword?: string
}

export function managersOf(state: Pick<LabState, 'managers'>): readonly string[] {
  return state.managers ?? [managerName]
}

export function stateFile(folder: string): string {
  return `${folder}/lab.json`
}

export async function readState(files: Files, folder: string): Promise<LabState | undefined> {
  try {
    return JSON.parse(await files.readText(stateFile(folder))) as LabState
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT' || fileErrorCode(thrown) === 'ENOTDIR') return undefined
    // Half a file is the mark of a lab too: `lab down` may remove it, nothing else may use it.
    throw new HoldfastError(
      'wrong-state',
      `${stateFile(folder)} cannot be read`,
      { mend: 'Run `holdfast lab down`, then `holdfast lab up`.' },
      { cause: thrown },
    )
  }
}

export async function writeState(files: Files, folder: string, state: LabState): Promise<void> {
  await files.replace(stateFile(folder), `${JSON.stringify(state, null, 2)}\n`)
}

/**
 * Takes the lab's lock for this process; a lock whose holder is gone is taken over. Waits `waitMs` at most.
 * Throws `operation-in-progress`.
 */
export async function lockLab(ports: LabPorts, path: string, waitMs: number): Promise<AsyncDisposable> {
  const until = ports.clock.monotonic() + waitMs
  const own = await ports.processes.identify(process.pid)
  for (;;) {
    if (await tryLock(ports, path, own)) return { [Symbol.asyncDispose]: () => ports.files.remove(path) }
    if (ports.clock.monotonic() >= until) {
      throw new HoldfastError('operation-in-progress', 'another lab command is at work', {
        mend: 'Wait until it has ended, then try again.',
      })
    }
    await ports.clock.sleep(50)
  }
}

async function tryLock(ports: LabPorts, path: string, own: ProcessId | undefined): Promise<boolean> {
  const { files, processes } = ports
  try {
    await using file = await files.open(path, 'create-new')
    await file.write(0, Buffer.from(JSON.stringify(own)))
    return true
  } catch (thrown) {
    if (fileErrorCode(thrown) !== 'EEXIST') throw thrown
  }
  const text = await files.readText(path).catch(() => '')
  const holder = parseHolder(text)
  const stat = await files.stat(path)
  // An empty file is one whose holder is about to write it, or died at that moment.
  const isYoung = stat !== undefined && ports.clock.now() - stat.mtimeMs < 2000
  if (holder === undefined ? isYoung : await processes.isAlive(holder)) return false
  // Of several that find it stale, the rename lets one through; one that took the next holder's lock puts it back.
  const aside = `${path}.${process.pid}.stale`
  await files.rename(path, aside).catch(() => undefined)
  if ((await files.readText(aside).catch(() => text)) === text) await files.remove(aside)
  else await files.rename(aside, path)
  return false
}

function parseHolder(text: string): ProcessId | undefined {
  try {
    return JSON.parse(text) as ProcessId
  } catch {
    return undefined
  }
}
