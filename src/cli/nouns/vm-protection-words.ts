/** How a VM's protection is said to people. */
import { formatSize } from '../../base/units.ts'
import type { GuestClock } from '../../contracts/protection.ts'
import type { Protection } from '../../contracts/vm-protection.ts'

/** One line, or a few; undefined for a VM that nobody wants protected. */
export function protectionWords(protection: Protection): string | undefined {
  switch (protection.state) {
    case 'unprotected':
      return undefined
    case 'unprotected-because':
      return `unprotected: ${protection.reason}`
    case 'syncing': {
      const percent = Math.floor(protection.progress * 100)
      return `being brought in step on ${protection.second}: ${percent} %, ${formatSize(protection.bytesPerSecond)}/s`
    }
    case 'failing-over':
      return `failing over to ${protection.second}`
    case 'protected': {
      const problem = protection.problem === null ? '' : `\n${protection.problem}`
      return `protected by ${protection.second}, ${protection.arbiter} decides${figures(protection)}${problem}`
    }
  }
}

function figures(protection: Extract<Protection, { state: 'protected' }>): string {
  const { lagMs, epochMs, pauseMs, bytesPerSecond, heldBack } = protection
  const ms = (what: string, value: number | null): string[] =>
    value === null ? [] : [`${what} ${value < 10 ? value.toFixed(1) : Math.round(value)} ms`]
  const clock = protection.clock === null ? [] : [clockWords(protection.clock)]
  const rate = bytesPerSecond === null ? [] : [`${formatSize(bytesPerSecond)}/s`]
  const all = [...ms('lag', lagMs), ...ms('epoch', epochMs), ...ms('pause', pauseMs), ...rate, ...clock]
  const percent = Math.round((heldBack ?? 0) * 100)
  const slowed =
    percent === 0 ? '' : `\nheld back ${percent} % of the time: it writes memory faster than the network carries`
  return all.length === 0 ? slowed : `\n${all.join(', ')}${slowed}`
}

/** `clock 12 ms behind`: by the guest's own word, or `about`, as it was counted. */
function clockWords({ lagMs, isMeasured }: GuestClock): string {
  const ms = Math.round(Math.abs(lagMs))
  const length = ms < 10_000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`
  return `clock ${isMeasured ? '' : 'about '}${length} ${lagMs < 0 ? 'ahead' : 'behind'}`
}

/** A word for a narrow column. */
export function protectionWord(protection: Protection): string {
  switch (protection.state) {
    case 'unprotected':
      return '-'
    case 'unprotected-because':
      return 'no'
    case 'failing-over':
      return 'takeover'
    default:
      return protection.state
  }
}
