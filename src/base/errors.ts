/**
 * Errors. An expected refusal is a value with a reason (`Result`); a broken expectation, or a refusal that has reached
 * the edge, is a `HoldfastError` with a code from this closed list. The code is stable and public (problem documents
 * carry it); the message says what happened, `mend` what to do about it. A message never repeats its cause: the logger
 * prints the chain.
 */
export const errorCodes = {
  /** The request is malformed: wrong type, unknown field, bad name. */
  'invalid-request': 400,
  'not-signed-in': 401,
  'not-allowed': 403,
  'not-found': 404,
  /** The name (or MAC, or address) is taken by a sibling. */
  'name-taken': 409,
  /** Another operation holds the VM; `details.task` names it. */
  'operation-in-progress': 409,
  /** The object is not in a state in which this can be done; nothing was changed. */
  'wrong-state': 409,
  /** The write named a revision that is no longer the newest. */
  conflict: 409,
  /** A command carried a generation older than the newest seen. */
  'stale-generation': 409,
  /** The same idempotency key came with another request. */
  'idempotency-mismatch': 409,
  /** A pre-check says that this cannot work; `details.reasons` says why. Nothing was changed. */
  refused: 422,
  'bad-image': 422,
  'checksum-mismatch': 422,
  'no-space': 507,
  'no-capacity': 507,
  'too-large': 413,
  'too-many-requests': 429,
  cancelled: 409,
  /** The other side could not be reached, or said nothing in time: the outcome is unknown, not failed. */
  unreachable: 503,
  timeout: 504,
  'host-error': 502,
  'hypervisor-error': 502,
  'store-error': 500,
  internal: 500,
} as const

export type ErrorCode = keyof typeof errorCodes

export type ErrorDetails = Record<string, unknown> & {
  /** What the reader can do about it: one sentence. */
  mend?: string
}

export class HoldfastError extends Error {
  override readonly name = 'HoldfastError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: { cause?: unknown }) {
    super(message, options)
    this.code = code
    this.details = details
  }

  /** Whether the outcome of what was asked is unknown: ask the other side before deciding anything. */
  get isUnknown(): boolean {
    return this.code === 'unreachable' || this.code === 'timeout'
  }
}

export function isErrorCode(text: unknown): text is ErrorCode {
  return typeof text === 'string' && Object.hasOwn(errorCodes, text)
}

/** Any thrown value as a HoldfastError; what is not one of ours becomes `internal` (or `code`), with it as the cause. */
export function toHoldfastError(thrown: unknown, code: ErrorCode = 'internal'): HoldfastError {
  if (thrown instanceof HoldfastError) return thrown
  return new HoldfastError(code, thrown instanceof Error ? thrown.message : String(thrown), {}, { cause: thrown })
}

/** The chain of messages, outermost first, for logs and people. */
export function describeError(thrown: unknown): string {
  const parts: string[] = []
  for (
    let at: unknown = thrown;
    at !== undefined && parts.length < 8;
    at = at instanceof Error ? at.cause : undefined
  ) {
    const text = at instanceof Error ? at.message : typeof at === 'string' ? at : JSON.stringify(at)
    if (parts.at(-1) !== text) parts.push(text)
  }
  return parts.join(': ')
}

/** The outcome of something that may be refused in the ordinary course: a value, or a literal reason. */
export type Result<T, Reason extends string = string> =
  { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: Reason; readonly message: string }

export function ok<T>(value: T): { readonly ok: true; readonly value: T } {
  return { ok: true, value }
}

export function refused<Reason extends string>(
  reason: Reason,
  message: string,
): { readonly ok: false; readonly reason: Reason; readonly message: string } {
  return { ok: false, reason, message }
}
