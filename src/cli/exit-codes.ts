/** Exit codes: part of the interface, listed in docs/cli.md. */
import type { ErrorCode } from '../base/errors.ts'

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  'not-found': 3,
  refused: 4,
  unknown: 5,
  'not-allowed': 6,
  interrupted: 130,
} as const

export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes]

/** What each exit code means, for people who write scripts. */
export const exitCodeMeanings: readonly (readonly [number, string])[] = [
  [0, 'done'],
  [1, 'failed: it was begun and did not succeed, or something broke'],
  [2, 'the command or the request is malformed; nothing was changed'],
  [3, 'there is no such object'],
  [4, 'refused or in conflict with something else; nothing was changed'],
  [5, 'the manager or a host gave no answer: the outcome is unknown'],
  [6, 'not signed in, or not allowed'],
  [130, 'interrupted (Ctrl-C)'],
]

const byError = {
  'invalid-request': exitCodes.usage,
  'not-signed-in': exitCodes['not-allowed'],
  'not-allowed': exitCodes['not-allowed'],
  'not-found': exitCodes['not-found'],
  'name-taken': exitCodes.refused,
  'operation-in-progress': exitCodes.refused,
  'wrong-state': exitCodes.refused,
  conflict: exitCodes.refused,
  'stale-generation': exitCodes.refused,
  'idempotency-mismatch': exitCodes.refused,
  refused: exitCodes.refused,
  'bad-image': exitCodes.refused,
  'checksum-mismatch': exitCodes.failed,
  'no-space': exitCodes.failed,
  'no-capacity': exitCodes.refused,
  'too-large': exitCodes.refused,
  'too-many-requests': exitCodes.refused,
  cancelled: exitCodes.failed,
  unreachable: exitCodes.unknown,
  timeout: exitCodes.unknown,
  'host-error': exitCodes.failed,
  'hypervisor-error': exitCodes.failed,
  'store-error': exitCodes.failed,
  internal: exitCodes.failed,
} as const satisfies Record<ErrorCode, ExitCode>

export function exitCodeOf(code: ErrorCode): ExitCode {
  return byError[code]
}

/** Ends the command with this exit code, everything having been said already. */
export class Exit extends Error {
  override readonly name = 'Exit'
  readonly code: ExitCode

  constructor(code: ExitCode) {
    super(`exit ${code}`)
    this.code = code
  }
}
