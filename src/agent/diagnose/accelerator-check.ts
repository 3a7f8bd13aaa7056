/** Whether guests run by the processor (KVM) or are translated (TCG), by the same probe that an agent trusts. */
import type { DiagnosePorts, DiagnoseSettings } from './diagnose.ts'
import { fine, warning, wrong, type Check } from './finding.ts'

export interface AcceleratorFacts {
  readonly version: string
  readonly accelerator: { readonly kind: 'kvm' | 'tcg'; readonly reason: string }
}

export function acceleratorCheck({ files }: DiagnosePorts, settings: DiagnoseSettings): Check {
  return {
    id: 'kvm',
    name: 'QEMU and KVM',
    async look() {
      let facts: AcceleratorFacts
      try {
        facts = await settings.accelerator()
      } catch (thrown) {
        const why = thrown instanceof Error ? thrown.message : String(thrown)
        return wrong(`QEMU does not answer: ${why}`, 'Install qemu-system-x86 (see the packages above).')
      }
      const { version, accelerator } = facts
      if (accelerator.kind === 'kvm') return fine(`QEMU ${version} with KVM: ${accelerator.reason}`)
      const words = `QEMU ${version}; KVM is not used: ${accelerator.reason}`
      const hasDevice = (await files.stat('/dev/kvm')) !== undefined
      return warning(
        `${words}. Guests run translated (TCG), several times slower`,
        hasDevice
          ? '/dev/kvm is there but cannot run a guest: look at the nested virtualization of the machine below.'
          : 'Switch virtualization (VT-x, AMD-V) on in the firmware, and load kvm_intel or kvm_amd.',
      )
    },
  }
}
