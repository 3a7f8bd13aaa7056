/** Tasks: views of the sagas' logs, with their progress. */
import { deadline } from '../../base/clock.ts'
import { HoldfastError } from '../../base/errors.ts'
import type { TaskId } from '../../base/ids.ts'
import type { Task } from '../../contracts/inventory.ts'
import type { CallOf } from '../../contracts/routes.ts'
import type { SagaEngine } from '../sagas/engine.ts'
import type { TaskView } from '../sagas/task-view.ts'
import type { AppContext } from './context.ts'
import { pageOf, type PageOf } from './pages.ts'
import { taskView } from './views/task-view.ts'
import { notFound } from './write.ts'

export class Tasks {
  readonly #context: AppContext
  readonly #engine: SagaEngine

  constructor(context: AppContext, engine: SagaEngine) {
    this.#context = context
    this.#engine = engine
  }

  async list(query: CallOf<'listTasks'>['query'] = {}): Promise<PageOf<Task>> {
    const mirror = await this.#context.mirror.fresh()
    const wanted = query.state?.split(',')
    const found = mirror.list('task').filter((task) => wanted === undefined || wanted.includes(task.state))
    const page = pageOf(found, query, true)
    const items = page.items.map((value) =>
      taskView(this.#engine.viewOf({ value, revision: mirror.revisionOf('task', value.id) })),
    )
    return { items, next: page.next, revision: mirror.revision }
  }

  /** With `waitSeconds`: once it has ended or is stuck, or as it is when the time is over. */
  async get(id: string, waitSeconds = 0, signal?: AbortSignal): Promise<Task> {
    const view =
      waitSeconds > 0 ? await this.#wait(id as TaskId, waitSeconds, signal) : await this.#engine.view(id as TaskId)
    if (view === undefined) throw notFound('task', id)
    return taskView(view)
  }

  /** Throws `wrong-state` past the point of no return, `not-found`. */
  async cancel(id: string): Promise<Task> {
    const result = await this.#engine.cancel(id as TaskId)
    if (result.ok) return taskView(result.value)
    throw new HoldfastError(result.reason, result.message, { mend: 'See `holdfast task show` for what it does now.' })
  }

  async #wait(id: TaskId, seconds: number, signal?: AbortSignal): Promise<TaskView | undefined> {
    using limit = deadline(this.#context.clock, seconds * 1000, new HoldfastError('timeout', 'the wait is over'))
    const either = signal === undefined ? limit.signal : AbortSignal.any([limit.signal, signal])
    try {
      return await this.#engine.wait(id, either)
    } catch (thrown) {
      if (!limit.signal.aborted) throw thrown
      return await this.#engine.view(id)
    }
  }
}
