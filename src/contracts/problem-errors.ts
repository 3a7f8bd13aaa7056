/** Problem documents to errors and back, apart from their schema so that a client need not load it. */
import { errorCodes, HoldfastError, isErrorCode, type ErrorCode } from '../base/errors.ts'
import type { Problem } from './problem.ts'

export const problemMediaType = 'application/problem+json'

const titles: Partial<Record<ErrorCode, string>> = {
  internal: 'Something broke inside Holdfast',
  refused: 'This cannot work, and nothing was changed',
  unreachable: 'The other side did not answer; the outcome is unknown',
}

/** The problem document for an error. Causes and stacks stay in the log. */
export function toProblem(error: HoldfastError): Problem {
  const { mend, ...details } = error.details
  return {
    type: `/docs/problems#${error.code}`,
    title: titles[error.code] ?? error.code.replaceAll('-', ' '),
    status: errorCodes[error.code],
    code: error.code,
    detail: error.message,
    ...(mend === undefined ? {} : { mend }),
    ...(Object.keys(details).length === 0 ? {} : { details }),
  }
}

/** The error that a problem document tells of; an unknown code (a newer server's) becomes `internal` with the text kept. */
export function fromProblem(problem: Problem): HoldfastError {
  const code: ErrorCode = isErrorCode(problem.code) ? problem.code : 'internal'
  return new HoldfastError(code, problem.detail, {
    ...problem.details,
    ...(problem.mend === undefined ? {} : { mend: problem.mend }),
  })
}
