/**
 * CPU models that a cluster can name as its baseline, expanded to what QEMU is told. The `x86-64-*` ones are QEMU's
 * vendor-neutral `qemu64` with the features of the psABI level, so that Intel and AMD hosts of a cluster can run the
 * same guest. `svm` is taken away because a guest must not see it come and go with nesting. All of them start without a
 * warning under `-cpu …,enforce` with TCG of QEMU 7.2 and 10.0.
 */
import type { CpuModel } from '../../contracts/machine-spec.ts'

const level2 = ['-svm', '+cx16', '+lahf_lm', '+popcnt', '+ssse3', '+sse4.1', '+sse4.2']

const baselines: Readonly<Record<string, CpuModel>> = {
  'x86-64-v1': { model: 'qemu64', features: ['-svm'] },
  'x86-64-v2': { model: 'qemu64', features: level2 },
  'x86-64-v2-aes': { model: 'qemu64', features: [...level2, '+aes'] },
}

/** What a new cluster gets. */
export const defaultCpuBaseline = 'x86-64-v2-aes'

/** A baseline's or a QEMU model's name, expanded. */
export function expandCpuModel(name: string): CpuModel {
  return baselines[name] ?? { model: name, features: [] }
}

/** Features that TCG gives to a guest on any host. */
const tcgFeatures = new Set([
  'cx16',
  'lahf_lm',
  'popcnt',
  'ssse3',
  'sse4.1',
  'sse4.2',
  'aes',
  'pclmulqdq',
  'avx',
  'avx2',
])

export interface CpuOffer {
  readonly accelerator: 'kvm' | 'tcg'
  /** Named models that QEMU runs there. */
  readonly models: readonly string[]
  /** Flags as in /proc/cpuinfo. */
  readonly flags: readonly string[]
}

/** Why a host cannot run this CPU model, in words; undefined when it can. */
export function cpuProblem(cpu: CpuModel, offer: CpuOffer): string | undefined {
  if (cpu.model === 'host' || cpu.model === 'max') return `the CPU model ${cpu.model} differs from host to host`
  if (!offer.models.includes(cpu.model)) return `it does not offer the CPU model ${cpu.model}`
  const offered = offer.accelerator === 'tcg' ? tcgFeatures : new Set(offer.flags)
  const wanted = cpu.features.filter((feature) => feature.startsWith('+')).map((feature) => feature.slice(1))
  const missing = wanted.filter((feature) => !offered.has(feature) && !offered.has(flagName(feature)))
  return missing.length === 0 ? undefined : `its CPU lacks ${missing.join(', ')}`
}

/** The kernel writes sse4_1 where QEMU writes sse4.1. */
function flagName(feature: string): string {
  return feature.replaceAll(/[.-]/g, '_')
}
