/** Structured logging. Fields name what a line is about (`vm`, `host`, `saga`, `step`); secrets are never logged. */
export interface LogFields {
  vm?: string
  host?: string
  saga?: string
  step?: string
  task?: string
  err?: unknown
  [field: string]: unknown
}

export interface Logger {
  debug(fields: LogFields, message: string): void
  info(fields: LogFields, message: string): void
  warn(fields: LogFields, message: string): void
  error(fields: LogFields, message: string): void
  /** A logger that adds these fields to every line. */
  child(fields: LogFields): Logger
}

/** A logger that says nothing, for tests. */
export const silentLogger: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silentLogger,
}
