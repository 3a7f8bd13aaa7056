/** All that differs between the versions of QEMU that Holdfast runs on (7.2 and newer). */
import { HoldfastError } from '../base/errors.ts'

export interface QemuVersion {
  readonly major: number
  readonly minor: number
  readonly micro: number
  /** 10.0.2 */
  readonly plain: string
  /** What the distribution adds, as `Debian 1:10.0.2+ds-2`; empty where it adds nothing. */
  readonly package: string
  /** Both. */
  readonly text: string
}

/** What `query-version` answers, and the greeting carries. */
export interface QemuVersionReply {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number }
  readonly package: string
}

export function versionOf(reply: QemuVersionReply): QemuVersion {
  const { major, minor, micro } = reply.qemu
  const plain = `${major}.${minor}.${micro}`
  const text = reply.package === '' ? plain : `${plain} (${reply.package})`
  const version = { major, minor, micro, plain, package: reply.package, text }
  if (!isAtLeast(version, 7, 2)) {
    throw new HoldfastError('hypervisor-error', `QEMU ${version.text} is older than 7.2`, {
      mend: 'Install QEMU 7.2 or newer.',
    })
  }
  return version
}

function isAtLeast(version: QemuVersion, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor)
}

export interface QemuFeatures {
  /** A running mirror changes from background to write-blocking (`block-job-change`, 8.2). */
  readonly mirrorChangesCopyMode: boolean
  /** A failed incoming migration leaves the process alive and says why (`exit-on-error`, 9.1). */
  readonly incomingKeepsProcess: boolean
}

export function featuresOf(version: QemuVersion): QemuFeatures {
  return {
    mirrorChangesCopyMode: isAtLeast(version, 8, 2),
    incomingKeepsProcess: isAtLeast(version, 9, 1),
  }
}
