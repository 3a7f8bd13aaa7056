/**
 * The proof that a host's own machine, kernel and QEMU hold a VM in step: DATA/ft-selftest.json, left by a `holdfast ft
 * selftest` that has passed. It counts only for what it was made with.
 */
import { join } from 'node:path'
import Value from 'typebox/value'
import type { Files } from '../../../base/files.ts'
import { trackerKinds, type TrackerKind } from '../../../base/process-memory.ts'
import { Count, OneOf, Open, Time, Type, type Static } from '../../../contracts/schema.ts'
import type { HypervisorFacts } from '../../../hypervisor/hypervisor.ts'
import { enoughTakeovers } from '../../defaults.ts'

export const SelftestGround = Open({
  accelerator: OneOf(['kvm', 'tcg']),
  /** With the distribution's build. */
  qemu: Type.String(),
  kernel: Type.String(),
  cpu: Type.String(),
  tracker: OneOf(trackerKinds),
})
export type SelftestGround = Static<typeof SelftestGround>

export const SelftestProof = Open({
  v: Type.Literal(1),
  ground: SelftestGround,
  takeovers: Count,
  epochs: Count,
  passedAt: Time,
})
export type SelftestProof = Static<typeof SelftestProof>

/** What is tested, as the agent of this host sees it too. */
export async function groundOf(
  files: Files,
  { accelerator, version, package: build }: HypervisorFacts,
  tracker: TrackerKind,
): Promise<SelftestGround> {
  const [kernel, cpuinfo] = [await files.readText('/proc/sys/kernel/osrelease'), await files.readText('/proc/cpuinfo')]
  return {
    accelerator: accelerator.kind,
    qemu: build === undefined || build === '' ? version : `${version} (${build})`,
    kernel: kernel.trim(),
    cpu: /^model name\s*:\s*(.*)$/m.exec(cpuinfo)?.[1] ?? 'unknown',
    tracker,
  }
}

export function proofPath(dataDirectory: string): string {
  return join(dataDirectory, 'ft-selftest.json')
}

/** Undefined where there is none, or none that can be read: the test is run again then. */
export async function readProof(files: Files, dataDirectory: string): Promise<SelftestProof | undefined> {
  try {
    const proof: unknown = JSON.parse(await files.readText(proofPath(dataDirectory)))
    return Value.Check(SelftestProof, proof) ? proof : undefined
  } catch {
    return undefined
  }
}

/** Why it does not count for a host as it is now, in words; null: it does. */
export function proofProblem(proof: SelftestProof | undefined, ground: SelftestGround): string | null {
  if (proof === undefined) return 'it has not been proved here yet'
  if (proof.takeovers < enoughTakeovers) return `only ${proof.takeovers} takeovers were proved`
  const others = (Object.keys(ground) as (keyof SelftestGround)[]).filter((name) => proof.ground[name] !== ground[name])
  if (others.length === 0) return null
  return `it was proved with ${others.map((name) => `${name} ${proof.ground[name]} (now ${ground[name]})`).join(', ')}`
}
