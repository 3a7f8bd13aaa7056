/** Errors on the wire: RFC 9457 problem documents (application/problem+json) with a stable code. */
import { errorCodes, HoldfastError, isErrorCode, type ErrorCode } from '../base/errors.ts'
import { Open, Type, type Static } from './schema.ts'

export const problemMediaType = 'application/problem+json'

export const Problem = Open({
  type: Type.String({ description: 'a URI that names the kind of problem: /docs/problems#CODE' }),
  title: Type.String(),
  status: Type.Integer(),
  /** The stable code, for programs. */
  code: Type.String(),
  /** What happened, for people. */
  detail: Type.String(),
  /** What to do about it. */
  mend: Type.Optional(Type.String()),
  /** Facts for programs: the holding task, the reasons of a refusal, the field at fault. */
  details: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
})
export type Problem = Static<typeof Problem>

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
