/** What needs somebody: the open alarms, the worst first. Nothing is shown while there are none. */
import type { Alarm } from '../../src/contracts/alarms.ts'
import { api } from './api.ts'
import { h, KeyedList, notice } from './dom.ts'
import { ago } from './words.ts'

const rank: Record<Alarm['severity'], number> = { critical: 0, warning: 1, info: 2 }

export class AlarmList {
  readonly element = h('section', { attributes: { 'aria-label': 'Alarms' } }, h('h2', {}, 'Alarms'))
  readonly #list: KeyedList<Alarm>

  constructor(onAsked: () => void) {
    const list = h('ul', { class: 'tasks' })
    this.element.append(list)
    this.element.hidden = true
    this.#list = new KeyedList(
      list,
      (alarm) => alarm.id,
      (alarm) => alarmLine(alarm, onAsked),
    )
  }

  show(alarms: readonly Alarm[]): void {
    this.element.hidden = alarms.length === 0
    // Those that nobody takes care of yet come before the others of their severity.
    const order = (alarm: Alarm): number => rank[alarm.severity] * 2 + (alarm.state === 'raised' ? 0 : 1)
    this.#list.show(alarms.toSorted((a, b) => order(a) - order(b)))
  }
}

function alarmLine(alarm: Alarm, onAsked: () => void): { element: HTMLElement; update: (alarm: Alarm) => void } {
  const severity = h('span', { class: 'state' })
  const what = h('span', { class: 'what' })
  const words = h('span', { class: 'hint' })
  const mend = h('div', { class: 'hint' })
  const ask = async (work: Promise<Alarm>): Promise<void> => {
    await work.catch((thrown: unknown) => notice(thrown instanceof Error ? thrown.message : String(thrown)))
    onAsked()
  }
  const take = h('button', { class: 'quiet', onClick: () => void ask(api.acknowledge(alarm.id)) }, 'Acknowledge')
  const clear = h(
    'button',
    { title: 'While it lasts it is not raised again for a day.', onClick: () => void ask(api.clear(alarm.id)) },
    'Clear',
  )
  const element = h('li', {}, h('div', { class: 'line' }, severity, what, words, take, clear), mend)
  const update = (next: Alarm): void => {
    severity.textContent = next.severity
    severity.dataset['state'] = next.severity
    what.textContent = next.message
    what.title = `${next.id}, ${next.type}`
    const often = next.count > 1 ? `, ${next.count} times` : ''
    const taken = next.acknowledgedBy === null ? '' : ` · ${next.acknowledgedBy} takes care of it`
    words.textContent = `${ago(next.raisedAt)}${often}${taken}`
    mend.textContent = next.mend
    const isTaken = next.state === 'acknowledged'
    element.classList.toggle('taken', isTaken)
    take.hidden = isTaken
  }
  return { element, update }
}
