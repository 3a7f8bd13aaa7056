/**
 * `holdfast doctor`: looks at a machine, changes nothing that outlives the look, and says what is wrong and how to mend it.
 * Each check stands alone: one that breaks is a finding, and the others go on.
 */
import type { Clock } from '../../base/clock.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Processes } from '../../base/processes.ts'
import { acceleratorCheck, type AcceleratorFacts } from './accelerator-check.ts'
import type { Check, Finding } from './finding.ts'
import { kernelChecks } from './kernel-checks.ts'
import { neighbourChecks } from './neighbour-checks.ts'
import { packagesCheck, systemChecks } from './system-checks.ts'

export interface DiagnosePorts {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
}

export const diagnosedRoles = ['agent', 'manager', 'lab'] as const
export type DiagnosedRole = (typeof diagnosedRoles)[number]

export interface DiagnoseSettings {
  readonly role: DiagnosedRole
  readonly isRoot: boolean
  /** The folder of the program, with `libexec/` in it. */
  readonly programFolder: string
  /** Where VMs, images or the inventory will lie. */
  readonly dataFolder: string
  /** TCP ports that this role listens on. */
  readonly ports: readonly { readonly port: number; readonly use: string }[]
  /** Asks QEMU and really tries KVM; rejects where QEMU is missing. */
  readonly accelerator: () => Promise<AcceleratorFacts>
}

/** A check that takes longer is reported as such. */
const patienceMs = 60_000

/** Runs the checks one after the other, handing each finding to `onFinding` as it comes. */
export async function diagnose(
  ports: DiagnosePorts,
  settings: DiagnoseSettings,
  onFinding: (finding: Finding) => void = () => undefined,
): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const check of checksFor(ports, settings)) {
    const finding = await lookAt(ports.clock, check)
    findings.push(finding)
    onFinding(finding)
  }
  return findings
}

function checksFor(ports: DiagnosePorts, settings: DiagnoseSettings): Check[] {
  const runsGuests = settings.role !== 'manager'
  return [
    ...systemChecks(ports, settings),
    packagesCheck(ports, settings),
    ...(runsGuests ? [acceleratorCheck(ports, settings), ...kernelChecks(ports, settings)] : []),
    ...neighbourChecks(ports),
  ]
}

async function lookAt(clock: Clock, { id, name, look }: Check): Promise<Finding> {
  const late = new AbortController()
  const tooLate = new Promise<never>((_resolve, reject) => {
    late.signal.addEventListener('abort', () => reject(new HoldfastError('timeout', 'no answer within a minute')))
  })
  using _timer = clock.timer(patienceMs, () => late.abort())
  try {
    return { id, name, ...(await Promise.race([look(), tooLate])) }
  } catch (thrown) {
    return { id, name, verdict: 'warning', detail: `could not be looked at: ${describeError(thrown)}` }
  }
}
