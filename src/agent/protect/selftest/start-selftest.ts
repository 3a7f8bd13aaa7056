/**
 * `holdfast ft selftest`: looks whether the test can be run here, runs it in namespaces of its own, and keeps the proof when
 * it has passed. Nothing of it is left afterwards, whatever ends it; only the logs of one that has failed.
 */
import { join } from 'node:path'
import { describeError, HoldfastError } from '../../../base/errors.ts'
import { isoTime, type Clock } from '../../../base/clock.ts'
import type { Files } from '../../../base/files.ts'
import type { ProcessMemories, TrackerKind } from '../../../base/process-memory.ts'
import type { Processes } from '../../../base/processes.ts'
import type { Hypervisor, HypervisorFacts } from '../../../hypervisor/hypervisor.ts'
import { enoughTakeovers } from '../../defaults.ts'
import { protectionObstacle } from '../obstacle.ts'
import { chooseTracker } from '../tracker-choice.ts'
import type { SelftestFigures, SelftestLine, SelftestPlan } from './plan.ts'
import { groundOf, proofPath, type SelftestGround, type SelftestProof } from './proof.ts'

export interface SelftestPorts {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
  readonly memories: ProcessMemories
  readonly hypervisor: Hypervisor
}

export interface SelftestOptions {
  readonly isRoot: boolean
  readonly takeovers: number
  readonly tracker: TrackerKind | undefined
  /** DATA of the agent, for the proof. */
  readonly dataDirectory: string
  /** Does not exist yet; short. */
  readonly folder: string
  /** The program to run in the namespaces, and its first arguments. */
  readonly program: readonly [command: string, ...args: string[]]
  readonly onBegin: (ground: SelftestGround) => void
  readonly onProgress: (figures: SelftestFigures) => void
}

export interface SelftestReport {
  readonly ground: SelftestGround
  readonly figures: SelftestFigures
  /** File of the proof; null where there were too few takeovers for one. */
  readonly proof: string | null
}

/** It is killed with this process, and all that is started in its process namespace with it, however it ends. */
const aside = [
  ...['--pdeathsig', 'KILL', '--', 'unshare'],
  ...['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--'],
]

/**
 * Throws `not-allowed` for anybody but root, `refused` where it cannot be run, `host-error` where something is missing, and
 * what the test has found. Aborting ends all of it, and leaves nothing.
 */
export async function startSelftest(
  ports: SelftestPorts,
  options: SelftestOptions,
  signal: AbortSignal,
): Promise<SelftestReport> {
  if (!options.isRoot) {
    throw new HoldfastError('not-allowed', 'only root can run the self-test', {
      mend: 'Run it as root: sudo holdfast ft selftest',
    })
  }
  await mustBeWritable(ports.files, options.dataDirectory)
  const facts = await ports.hypervisor.facts()
  const ground = await lookAtGround(ports, facts, options.tracker)
  options.onBegin(ground)
  const figures = await runAside(ports, options, planOf(facts, ground, options), signal)
  const proof = figures.takeovers < enoughTakeovers ? null : await keepProof(ports, options, ground, figures)
  return { ground, figures, proof }
}

async function lookAtGround(
  { files, memories }: SelftestPorts,
  facts: HypervisorFacts,
  forced: TrackerKind | undefined,
): Promise<SelftestGround> {
  const tracker = chooseTracker(await memories.tryTrackers(), forced)
  const why = protectionObstacle({ qemu: facts.version, accelerator: 'tcg', tracker, unproved: null })
  if (why !== null || tracker.kind === null)
    throw new HoldfastError('refused', `this host cannot hold a VM in step with another: ${why ?? tracker.reason}`)
  return await groundOf(files, facts, tracker.kind)
}

function planOf(facts: HypervisorFacts, ground: SelftestGround, options: SelftestOptions): SelftestPlan {
  const { takeovers, folder } = options
  const { accelerator, tracker } = ground
  const machineType = facts.machineTypes
    .filter((type) => type.startsWith('pc-i440fx-'))
    .toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .at(-1)
  if (machineType !== undefined) return { takeovers, folder, accelerator, tracker, machineType }
  throw new HoldfastError('refused', 'this QEMU has no machine of the type pc-i440fx')
}

/** So that nobody waits for an hour to hear it. */
async function mustBeWritable(files: Files, dataDirectory: string): Promise<void> {
  const trial = `${proofPath(dataDirectory)}.trial`
  try {
    await files.makeDirectory(dataDirectory, { mode: 0o711 })
    await files.replace(trial, '')
    await files.remove(trial)
  } catch (thrown) {
    throw new HoldfastError(
      'host-error',
      `the proof could not be kept: ${dataDirectory} cannot be written`,
      { mend: 'Give the folder of the agent with --data.' },
      { cause: thrown },
    )
  }
}

async function runAside(
  ports: SelftestPorts,
  options: SelftestOptions,
  plan: SelftestPlan,
  signal: AbortSignal,
): Promise<SelftestFigures> {
  const { files } = ports
  const { folder } = options
  await files.makeDirectory(folder, { mode: 0o711 })
  try {
    await files.write(join(folder, 'plan.json'), JSON.stringify(plan))
    const figures = await runInNamespaces(ports, options, signal)
    await files.remove(folder)
    return figures
  } catch (thrown) {
    if (signal.aborted) await files.remove(folder)
    throw thrown
  }
}

async function runInNamespaces(
  { processes }: SelftestPorts,
  { program, folder, onProgress }: SelftestOptions,
  signal: AbortSignal,
): Promise<SelftestFigures> {
  let end: Extract<SelftestLine, { is: 'passed' | 'failed' }> | undefined
  let rest = ''
  const onStdout = (text: string): void => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      const said = JSON.parse(line) as SelftestLine
      if (said.is === 'progress') onProgress(said.figures)
      else end = said
    }
  }
  const args = [...aside, ...program, join(folder, 'plan.json')]
  const { stderr } = await processes.run('setpriv', args, { signal, onStdout })
  if (end?.is === 'passed') return end.figures
  const why = end?.why ?? (stderr.trim() === '' ? 'it ended without a word' : stderr.trim())
  throw new HoldfastError('internal', `the self-test failed after ${end?.takeovers ?? 0} takeovers: ${why}`, {
    mend: `What the pumps and QEMU said is in ${folder}.`,
  })
}

async function keepProof(
  { clock, files }: SelftestPorts,
  { dataDirectory }: SelftestOptions,
  ground: SelftestGround,
  { takeovers, epochs }: SelftestFigures,
): Promise<string> {
  const proof: SelftestProof = { v: 1, ground, takeovers, epochs, passedAt: isoTime(clock.now()) }
  const path = proofPath(dataDirectory)
  try {
    await files.replace(path, JSON.stringify(proof), { mode: 0o644 })
    return path
  } catch (thrown) {
    throw new HoldfastError('host-error', `it passed, and the proof could not be kept: ${describeError(thrown)}`)
  }
}
