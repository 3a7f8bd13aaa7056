/** Lines for a person, the last of which may change while they look. Where there is no terminal, only what stays is said. */
export interface Screen {
  readonly isTerminal: boolean
  columns(): number
  out(text: string): void
}

export class LiveLine implements Disposable {
  readonly #screen: Screen
  #isShown = false

  constructor(screen: Screen) {
    this.#screen = screen
  }

  /** Takes the place of what was shown before. */
  show(text: string): void {
    if (!this.#screen.isTerminal) return
    this.#screen.out(`\r\x1b[K${`  ${text}`.slice(0, this.#screen.columns() - 1)}`)
    this.#isShown = true
  }

  /** A line that stays. */
  say(text: string): void {
    this.clear()
    this.#screen.out(`  ${text}\n`)
  }

  /** Text that is laid out already. */
  print(text: string): void {
    this.clear()
    this.#screen.out(text)
  }

  clear(): void {
    if (this.#isShown) this.#screen.out('\r\x1b[K')
    this.#isShown = false
  }

  [Symbol.dispose](): void {
    this.clear()
  }
}
