/** What SQLite's errors mean here, and what to do about them. */
import { HoldfastError, type ErrorDetails } from '../../../base/errors.ts'
import type { Problem } from './protocol.ts'

/** Primary result codes of SQLite, from its documentation. */
const codes = { busy: 5, readOnly: 8, ioError: 10, corrupt: 11, full: 13, cannotOpen: 14, notADatabase: 26 } as const

/** The primary result code; undefined when it is no error of SQLite. */
export function sqliteCode(thrown: unknown): number | undefined {
  if (!(thrown instanceof Error) || !('errcode' in thrown) || typeof thrown.errcode !== 'number') return undefined
  return thrown.errcode & 0xff
}

/** Whether the disk, and not the statement, is at fault: then the whole transaction is gone. */
export function isDiskFault(thrown: unknown): boolean {
  const code = sqliteCode(thrown)
  return code === codes.full || code === codes.ioError || code === codes.corrupt || code === codes.notADatabase
}

/** A full disk refuses before it writes: the outcome is known. */
export function isFull(thrown: unknown): boolean {
  return sqliteCode(thrown) === codes.full
}

export function isBusy(thrown: unknown): boolean {
  return sqliteCode(thrown) === codes.busy
}

/** The error as it crosses the threads. `path` is the file that was worked on. */
export function problemOf(thrown: unknown, path: string): Problem {
  if (thrown instanceof HoldfastError) return { code: thrown.code, message: thrown.message, details: thrown.details }
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  const details = (mend: string): ErrorDetails => ({ mend, path, sqlite: text })
  switch (sqliteCode(thrown)) {
    case codes.full:
      return storeError(`the disk that holds ${path} is full`, details('Make room on it; nothing was lost.'))
    case codes.corrupt:
    case codes.notADatabase:
      return storeError(
        `the inventory file ${path} is damaged or is no inventory`,
        details('Restore the newest backup with holdfast manager restore.'),
      )
    case codes.cannotOpen:
    case codes.readOnly:
      return storeError(
        `the inventory file ${path} cannot be opened for writing`,
        details('Check that its folder exists and belongs to the user that runs the manager.'),
      )
    case codes.ioError:
      return storeError(`the disk that holds ${path} fails`, details('See the kernel log (dmesg) for the device.'))
    default:
      return storeError(`the inventory ${path} cannot do this: ${text}`, details('Report this with the log.'))
  }
}

function storeError(message: string, details: ErrorDetails): Problem {
  return { code: 'store-error', message, details }
}

export function errorOf(problem: Problem): HoldfastError {
  return new HoldfastError(problem.code, problem.message, problem.details)
}
