import type { JobProgress } from '../../contracts/agent-api.ts'
import type { TaskRecord } from '../store/records.ts'
import type { AnyStep } from './saga.ts'

/** How far a task is: steps done and the fraction of the one that runs, by weight. Kept in memory; never goes back. */
export class TaskProgress {
  readonly #steps: readonly AnyStep[]
  readonly #total: number
  #fraction: number
  #detail: Partial<JobProgress> | null = null

  constructor(steps: readonly AnyStep[], record: TaskRecord) {
    this.#steps = steps
    this.#total = steps.reduce((sum, step) => sum + weightOf(step), 0)
    this.#fraction = this.#atStep(record.outputs.length, 0)
  }

  /** 0–1. */
  get fraction(): number {
    return this.#fraction
  }

  /** What the running step last said of itself; null between steps. */
  get detail(): Partial<JobProgress> | null {
    return this.#detail
  }

  /** The running step is this far. */
  report(stepIndex: number, fraction: number, detail: Partial<JobProgress> | undefined): void {
    const within = Number.isFinite(fraction) ? Math.min(1, Math.max(0, fraction)) : 0
    this.#fraction = Math.max(this.#fraction, this.#atStep(stepIndex, within))
    if (detail !== undefined) this.#detail = { ...this.#detail, ...detail }
  }

  /** The step has ended. */
  finish(stepIndex: number): void {
    this.report(stepIndex, 1, undefined)
    this.#detail = null
  }

  #atStep(index: number, within: number): number {
    if (this.#total === 0) return 0
    const before = this.#steps.slice(0, index).reduce((sum, step) => sum + weightOf(step), 0)
    const step = this.#steps[index]
    return Math.min(1, (before + (step === undefined ? 0 : weightOf(step) * within)) / this.#total)
  }
}

function weightOf(step: AnyStep): number {
  return step.weight ?? 1
}
