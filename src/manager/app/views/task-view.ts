/** A task as the API shows it: the saga's log, and how far it is. */
import type { Task } from '../../../contracts/inventory.ts'
import type { TaskView } from '../../sagas/task-view.ts'
import { sagaName } from './vm-view.ts'

export function taskView(view: TaskView): Task {
  const { record } = view
  const detail: Record<string, unknown> = { ...view.detail }
  if (view.trouble !== null) detail['waitingFor'] = view.trouble
  return {
    id: record.id,
    name: sagaName(record.saga),
    target: record.target,
    state: record.state,
    step: record.step,
    progress: view.progress,
    detail: Object.keys(detail).length === 0 ? null : detail,
    isCancellable: view.isCancellable,
    problem: record.problem,
    result: record.result,
    startedBy: record.startedBy,
    created: record.created,
    ended: record.ended,
    revision: view.revision,
  }
}
