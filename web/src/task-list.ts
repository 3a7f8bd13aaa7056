/** What is being done, and what was done last. */
import type { Task } from '../../src/contracts/inventory.ts'
import { api } from './api.ts'
import { h, KeyedList, notice } from './dom.ts'
import { ago, pace, percent } from './words.ts'

export class TaskList {
  readonly element = h('section', { attributes: { 'aria-label': 'Tasks' } }, h('h2', {}, 'Tasks'))
  readonly #list: KeyedList<Task>
  readonly #empty = h('p', { class: 'hint' }, 'Nothing has been done yet.')

  constructor(onAsked: () => void) {
    const list = h('ul', { class: 'tasks' })
    this.element.append(this.#empty, list)
    this.#list = new KeyedList(
      list,
      (task) => task.id,
      (task) => taskLine(task, onAsked),
    )
  }

  show(tasks: readonly Task[]): void {
    this.#empty.hidden = tasks.length > 0
    this.#list.show(tasks)
  }
}

function taskLine(task: Task, onAsked: () => void): { element: HTMLElement; update: (task: Task) => void } {
  const title = h('span', { class: 'what' })
  const state = h('span', { class: 'state' })
  const bar = h('progress', { attributes: { max: '1' } })
  const words = h('span', { class: 'hint' })
  const problem = h('div', { class: 'problem' })
  const cancel = h('button', { class: 'quiet', onClick: () => void ask() }, 'Cancel')
  const ask = async (): Promise<void> => {
    await api
      .cancel(task.id)
      .catch((thrown: unknown) => notice(thrown instanceof Error ? thrown.message : String(thrown)))
    onAsked()
  }
  const element = h('li', {}, h('div', { class: 'line' }, state, title, bar, words, cancel), problem)
  const update = (next: Task): void => {
    title.textContent = next.target === null ? next.name : `${next.name} ${next.target.name}`
    title.title = `${next.id}, begun by ${next.startedBy}`
    state.textContent = next.state
    state.dataset['state'] = next.state
    const runs = next.ended === null
    bar.hidden = !runs
    bar.value = next.progress
    words.textContent = runs
      ? [percent(next.progress), next.step, pace(next.detail)].filter(Boolean).join(' · ')
      : ago(next.ended ?? next.created)
    problem.textContent = next.problem?.detail ?? ''
    cancel.hidden = !next.isCancellable
  }
  return { element, update }
}
