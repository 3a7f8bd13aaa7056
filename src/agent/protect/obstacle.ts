/** Why a host cannot hold a VM in step with another, in words; null: it can. Pure. */
export interface ProtectionGround {
  /** `uname -r` */
  readonly kernel: string
  /** major.minor.micro of QEMU. */
  readonly qemu: string
  readonly accelerator: 'kvm' | 'tcg'
}

export function protectionObstacle({ kernel, qemu, accelerator }: ProtectionGround): string | null {
  if (accelerator === 'kvm') return 'it uses KVM, on which holding a VM in step is untried'
  if (!isAtLeast(qemu, 8, 1))
    return `its QEMU ${qemu} does not say where the memory of a guest is: 8.1 or newer is needed`
  if (!isAtLeast(kernel, 6, 7))
    return `its kernel ${kernel} cannot tell from outside which pages a guest writes: Linux 6.7 or newer is needed`
  return null
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [haveMajor = 0, haveMinor = 0] = version.split('.').map((part) => Number.parseInt(part, 10))
  return haveMajor > major || (haveMajor === major && haveMinor >= minor)
}
