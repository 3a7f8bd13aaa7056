import { describeError, HoldfastError } from '../errors.ts'
import type { LogFields, Logger } from '../log.ts'

export const logLevels = ['debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof logLevels)[number]

export interface JsonLoggerOptions {
  /** Where lines go; standard error when absent. */
  readonly stream?: { write(text: string): unknown }
  /** Lines below this level are dropped. Default `info`. */
  readonly level?: LogLevel
}

/** A field whose name ends so is never written, whatever is in it. */
const secretName = /(?:token|key|secret|password|cookie|authorization|ticket)s?$/i
/** Device keys are numbers, and wanted in the log. */
const isSecret = (name: string, value: unknown): boolean => secretName.test(name) && typeof value !== 'number'

/** One JSON object a line: `time`, `level`, `message`, then the fields; `err` as its whole chain of messages. */
export function jsonLogger(options: JsonLoggerOptions = {}): Logger {
  const stream = options.stream ?? process.stderr
  const lowest = logLevels.indexOf(options.level ?? 'info')
  const make = (bound: LogFields): Logger => {
    const at = (level: LogLevel) => (fields: LogFields, message: string) => {
      if (logLevels.indexOf(level) < lowest) return
      stream.write(line(level, { ...bound, ...fields }, message))
    }
    return {
      debug: at('debug'),
      info: at('info'),
      warn: at('warn'),
      error: at('error'),
      child: (fields) => make({ ...bound, ...fields }),
    }
  }
  return make({})
}

function line(level: LogLevel, fields: LogFields, message: string): string {
  const { err, ...rest } = fields
  const record: Record<string, unknown> = { time: new Date().toISOString(), level, message, ...rest }
  if (err !== undefined) {
    record['err'] = describeError(err)
    if (err instanceof HoldfastError) record['code'] = err.code
    else if (err instanceof Error && level === 'error') record['stack'] = err.stack
  }
  try {
    return `${JSON.stringify(record, redact)}\n`
  } catch {
    // A circle or a bigint in a field must not cost the line.
    return `${JSON.stringify({ time: record['time'], level, message, err: record['err'] })}\n`
  }
}

function redact(name: string, value: unknown): unknown {
  if (value !== null && value !== undefined && isSecret(name, value)) return '[not logged]'
  if (value instanceof Error) return describeError(value)
  return typeof value === 'bigint' ? value.toString() : value
}
