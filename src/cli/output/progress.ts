/** A task in one line: what it does, how far it is, how fast, and how long it still takes. */
import type { Task } from '../../contracts/inventory.ts'
import { cutTo, displayWidth, plainText, type Terminal } from '../terminal.ts'
import { durationWords, percentWords, rateWords } from './words.ts'

const barColumns = 24

/** `vm.migrate web-1` */
export function taskTitle(task: Pick<Task, 'name' | 'target'>): string {
  return plainText(task.target === null ? task.name : `${task.name} ${task.target.name}`)
}

/** The figures of a long step: phase, rate, dirty rate, rest. Only what is known. */
export function progressFigures(task: Pick<Task, 'detail' | 'step'>): string[] {
  const detail = task.detail ?? {}
  const number = (name: string): number => (typeof detail[name] === 'number' ? detail[name] : 0)
  const phase = typeof detail['phase'] === 'string' ? detail['phase'] : task.step
  const rest = detail['remainingSeconds']
  return [
    ...(phase === null ? [] : [plainText(phase)]),
    ...(number('bytesPerSecond') > 0 ? [rateWords(number('bytesPerSecond'))] : []),
    ...(number('dirtyBytesPerSecond') > 0 ? [`dirty ${rateWords(number('dirtyBytesPerSecond'))}`] : []),
    ...(typeof rest === 'number' ? [`${durationWords(rest * 1000)} left`] : []),
  ]
}

/** One line for a terminal of this width: never wider, so that it can be drawn over itself. */
export function progressLine(task: Task, columns: number): string {
  const figures = [percentWords(task.progress).padStart(5), ...progressFigures(task)].join('  ')
  const filled = Math.round(Math.min(1, Math.max(0, task.progress)) * barColumns)
  const bar = `[${'#'.repeat(filled)}${'.'.repeat(barColumns - filled)}]`
  const head = `${taskTitle(task)}  ${bar} `
  const isRoomy = displayWidth(head) + displayWidth(figures) <= columns
  return cutTo(isRoomy ? head + figures : `${taskTitle(task)} ${figures}`, Math.max(1, columns))
}

/** Shows how a task goes: a line that draws itself anew on a terminal, else one line whenever there is news. */
export class ProgressView {
  readonly #terminal: Terminal
  #isHeld = false
  #drawn = false
  #said = ''
  #saidStep = ''
  #saidTenth = -1

  constructor(terminal: Terminal) {
    this.#terminal = terminal
  }

  update(task: Task): void {
    if (this.#isHeld) return
    if (this.#terminal.isErrTty) {
      this.#terminal.err(`\r\u001b[K${progressLine(task, this.#terminal.columns() - 1)}`)
      this.#drawn = true
      return
    }
    const phase = progressFigures({ step: task.step, detail: { phase: task.detail?.['phase'] } }).join()
    const tenth = Math.floor(task.progress * 10)
    if (phase === this.#saidStep && tenth === this.#saidTenth) return
    this.#saidStep = phase
    this.#saidTenth = tenth
    this.#say(`${taskTitle(task)}: ${[percentWords(task.progress), ...progressFigures(task)].join(', ')}`)
  }

  /** A word in between, which stays. */
  note(text: string): void {
    this.clear()
    this.#say(text)
  }

  /** Draws nothing, so that a question stays readable, until disposed. */
  hold(): Disposable {
    this.clear()
    this.#isHeld = true
    return { [Symbol.dispose]: () => void (this.#isHeld = false) }
  }

  /** Takes the drawn line away. */
  clear(): void {
    if (this.#drawn) this.#terminal.err('\r\u001b[K')
    this.#drawn = false
  }

  #say(text: string): void {
    if (text !== this.#said) this.#terminal.err(`${text}\n`)
    this.#said = text
  }
}
