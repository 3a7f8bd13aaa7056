import type { HostId } from '../../base/ids.ts'
import type { TaskRecord } from '../store/records.ts'

/**
 * The host that an open task has chosen for its VM, before the run record says so: the `host` that its step `place` (of a
 * start) or `plan` (of a move) has put out. Memory there is promised from then on.
 */
export function startingOn(task: TaskRecord | undefined): HostId | null {
  if (task === undefined || task.ended !== null) return null
  for (const { step, output } of task.outputs) {
    if (step !== 'place' && step !== 'plan') continue
    if (typeof output !== 'object' || output === null || !('host' in output)) continue
    if (typeof output.host === 'string') return output.host as HostId
  }
  return null
}
