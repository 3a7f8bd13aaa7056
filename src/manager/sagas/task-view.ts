/** A task as people see it: its record, and what is known only in memory. */
import type { JobProgress } from '../../contracts/agent-api.ts'
import type { TaskRecord } from '../store/records.ts'
import type { Revision, Stored } from '../store/store.ts'
import { isEnded } from './task-records.ts'
import type { TaskRunner } from './task-runner.ts'

export interface TaskView {
  readonly record: TaskRecord
  readonly revision: Revision
  /** 0–1, never going back. */
  readonly progress: number
  readonly detail: Partial<JobProgress> | null
  readonly isCancellable: boolean
  /** What it waits for, in words, while a step is tried again; else null. */
  readonly trouble: string | null
}

/** Of a task that runs here. */
export function viewOfRunner(runner: TaskRunner): TaskView {
  const { record, revision } = runner.log
  return {
    record,
    revision,
    progress: record.state === 'done' ? 1 : runner.progress.fraction,
    detail: isEnded(record) ? null : runner.progress.detail,
    isCancellable: runner.isCancellable,
    trouble: runner.trouble,
  }
}

/** Of a task that does not run here, by its record alone. `steps`: how many it has; 0 where nobody knows. */
export function viewOfRecord(stored: Stored<TaskRecord>, steps: number): TaskView {
  const share = steps === 0 ? 0 : Math.min(1, stored.value.outputs.length / steps)
  return {
    record: stored.value,
    revision: stored.revision,
    progress: stored.value.state === 'done' ? 1 : share,
    detail: null,
    isCancellable: false,
    trouble: null,
  }
}
