/** How a VM is held in step: what a mode means, and settings of one's own. Pure. */
import { HoldfastError } from '../../base/errors.ts'
import { defaultProtectionSettings, type ProtectionSettings } from '../../contracts/protection.ts'
import type { protectionModes, ProtectVm } from '../../contracts/vm-protection.ts'

type Mode = (typeof protectionModes)[number]

/** `throughput`: fewer, larger epochs cost the guest less, and its answers wait longer. */
const modes: Record<Mode, ProtectionSettings> = {
  latency: defaultProtectionSettings,
  throughput: { silenceMs: 1000, beatMs: 100, shortestEpochMs: 100, longestEpochMs: 1000, clockLimitMs: 1000 },
}

/** Words of life that fit into the silence after which a side is given up: fewer, and a lost one is a takeover. */
const beatsInSilence = 3

/** The settings that a request asks for, over those that were; null: none are asked for. Throws `invalid-request`. */
export function settingsFor(
  request: Pick<ProtectVm, 'mode' | 'settings'>,
  before: ProtectionSettings = defaultProtectionSettings,
): ProtectionSettings | null {
  const { mode, settings } = request
  if (mode === undefined && settings === undefined) return null
  const next: ProtectionSettings = { ...(mode === undefined ? before : modes[mode]), ...settings }
  const refuse = (message: string): HoldfastError =>
    new HoldfastError('invalid-request', message, { field: 'settings' })
  if (next.shortestEpochMs > next.longestEpochMs) {
    throw refuse(
      `the shortest epoch (${next.shortestEpochMs} ms) is longer than the longest (${next.longestEpochMs} ms)`,
    )
  }
  if (next.beatMs * beatsInSilence > next.silenceMs) {
    throw refuse(`a silence of ${next.silenceMs} ms must have room for ${beatsInSilence} beats of ${next.beatMs} ms`)
  }
  if (next.longestEpochMs > next.silenceMs) {
    throw refuse(`the longest epoch (${next.longestEpochMs} ms) is longer than the silence (${next.silenceMs} ms)`)
  }
  return next
}
