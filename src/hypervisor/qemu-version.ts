/** All that differs between the versions of QEMU that Holdfast runs on (7.2 and newer). */
import { HoldfastError } from '../base/errors.ts'

export interface QemuVersion {
  readonly major: number
  readonly minor: number
  readonly micro: number
  /** With the distribution's package, as `query-version` tells it. */
  readonly text: string
}

/** What `query-version` answers, and the greeting carries. */
export interface QemuVersionReply {
  readonly qemu: { readonly major: number; readonly minor: number; readonly micro: number }
  readonly package: string
}

export function versionOf(reply: QemuVersionReply): QemuVersion {
  const { major, minor, micro } = reply.qemu
  const version = {
    major,
    minor,
    micro,
    text: `${major}.${minor}.${micro}${reply.package === '' ? '' : ` (${reply.package})`}`,
  }
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
