/** Why a host cannot hold a VM in step with another, in words; null: it can. Pure. */
import type { TrackerChoice } from './tracker-choice.ts'

export interface ProtectionGround {
  /** major.minor.micro of QEMU. */
  readonly qemu: string
  readonly accelerator: 'kvm' | 'tcg'
  readonly tracker: TrackerChoice
  /** Why the self-test's proof does not count for this host; null: it does. */
  readonly unproved: string | null
}

export function protectionObstacle({ qemu, accelerator, tracker, unproved }: ProtectionGround): string | null {
  if (!isAtLeast(qemu, 8, 1))
    return `its QEMU ${qemu} does not say where the memory of a guest is: 8.1 or newer is needed`
  if (tracker.kind === null) return `it cannot be told from outside which pages a guest writes: ${tracker.reason}`
  if (accelerator === 'kvm' && unproved !== null)
    return `it uses KVM, and each such host has to prove itself first (${unproved}): run \`holdfast ft selftest\` on it`
  return null
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [haveMajor = 0, haveMinor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  return haveMajor > major || (haveMajor === major && haveMinor >= minor)
}
