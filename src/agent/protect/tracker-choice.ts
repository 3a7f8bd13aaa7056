/** Which tracker of writes this host uses for the VMs that it holds in step. Pure. */
import { trackerKinds, type TrackerKind, type TrackerTrial } from '../../base/process-memory.ts'

/** `kind` null: none works. `reason`, in words: what was tried, and what came of it. */
export interface TrackerChoice {
  readonly kind: TrackerKind | null
  readonly reason: string
}

/** The first that works; `forced`: that one or none. */
export function chooseTracker(trials: readonly TrackerTrial[], forced?: TrackerKind): TrackerChoice {
  const problemOf = (kind: TrackerKind): string | null => trials.find((one) => one.kind === kind)?.problem ?? null
  if (forced !== undefined) {
    const problem = problemOf(forced)
    if (problem === null) return { kind: forced, reason: 'the agent was told to use it; it was tried here' }
    return { kind: null, reason: `the agent was told to use ${forced}, which does not work here: ${problem}` }
  }
  const kind = trackerKinds.find((one) => trials.some((trial) => trial.kind === one && trial.problem === null)) ?? null
  const better = trackerKinds.slice(0, kind === null ? undefined : trackerKinds.indexOf(kind))
  const why = better.map((one) => `${one} does not work: ${problemOf(one) ?? 'it was not tried'}`)
  return { kind, reason: kind === null ? why.join('; ') : ['it was tried here', ...why].join('; ') }
}
