/** What happened in a simulated world, line by line, with the virtual instant. Kept always; logs only when asked for. */
import type { LogFields, Logger } from '../../base/log.ts'
import { silentLogger } from '../../base/log.ts'
import { describeError } from '../../base/errors.ts'
import type { VirtualClock } from '../virtual-clock.ts'

export class Trace {
  readonly lines: string[] = []
  /** The processes' own logs are among the lines. */
  readonly isVerbose: boolean
  readonly #clock: VirtualClock

  constructor(clock: VirtualClock, isVerbose: boolean) {
    this.#clock = clock
    this.isVerbose = isVerbose
  }

  note(text: string): void {
    this.lines.push(`${(this.#clock.elapsedMs / 1000).toFixed(3).padStart(9)}  ${text}`)
  }

  /** The log of one process. */
  logger(process: string, fields: LogFields = {}): Logger {
    if (!this.isVerbose) return silentLogger
    const say =
      (level: string) =>
      (more: LogFields, message: string): void =>
        this.note(`${process} ${level}: ${message}${fieldText({ ...fields, ...more })}`)
    return {
      debug: say('debug'),
      info: say('info'),
      warn: say('warn'),
      error: say('error'),
      child: (more) => this.logger(process, { ...fields, ...more }),
    }
  }
}

function fieldText(fields: LogFields): string {
  const parts = Object.entries(fields).map(([name, value]) =>
    name === 'err' ? `err=${describeError(value)}` : `${name}=${JSON.stringify(value)}`,
  )
  return parts.length === 0 ? '' : `  [${parts.join(' ')}]`
}
