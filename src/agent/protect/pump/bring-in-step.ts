/** Brings a second host in step while the guest runs on: all but its first epoch. */
import type { Clock } from '../../../base/clock.ts'
import type { ArbiterApi, ProtectionConfig } from '../../../contracts/protection.ts'
import { copyMemory } from './first-copy.ts'
import type { DiskCopy } from './primary-disks.ts'
import type { PrimaryGuest } from './primary-guest.ts'
import type { PrimaryLinks } from './primary-links.ts'

export interface InStepDeps {
  readonly clock: Clock
  readonly config: ProtectionConfig
  readonly arbiter: ArbiterApi
  readonly guest: PrimaryGuest
  readonly disks: DiskCopy
  readonly links: PrimaryLinks
  /** Resolves when the second has said that it can take memory. */
  readonly ready: () => Promise<void>
  readonly onProgress: (progress: number, bytesPerSecond: number) => void
}

/** The disks' share of the progress; memory has the rest. */
const disksShare = 0.5

/** When it resolves the arbiter knows of the pair. Rejects with the signal's reason, or with what went wrong. */
export async function bringInStep(deps: InStepDeps, signal: AbortSignal): Promise<void> {
  const { clock, config, arbiter, guest, disks, links, onProgress } = deps
  // Whoever waits for a link that takes nothing is not called off otherwise.
  signal.addEventListener('abort', () => links[Symbol.dispose](), { once: true })
  await links.open(signal)
  const blocks = guest.blocks.map(({ name, bytes, isRom }) => ({ name, bytes, isRom }))
  links.say({ is: 'memory', machineType: guest.machineType, blocks })
  await deps.ready()
  await disks.copy((done, total) => onProgress((done / Math.max(1, total)) * disksShare, 0), signal)
  await copyMemory(
    { clock, guest },
    (parts) => links.send('pages', parts),
    ({ doneBytes, totalBytes, bytesPerSecond }) => onProgress(doneBytes / totalBytes, bytesPerSecond),
    signal,
  )
  const { life } = await arbiter.arbiterLife()
  await arbiter.arbiterOpen({ config, life })
  signal.throwIfAborted()
}
