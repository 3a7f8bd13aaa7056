/** Errors for people and for programs, on standard error. */
import { describeError, HoldfastError, toHoldfastError, type ErrorDetails } from '../../base/errors.ts'
import { toProblem } from '../../contracts/problem-errors.ts'
import { Exit, exitCodeOf, exitCodes, type ExitCode } from '../exit-codes.ts'
import { plainText, type Terminal } from '../terminal.ts'

/** Says what went wrong and gives the exit code for it. */
export function reportError(terminal: Terminal, thrown: unknown, isJson: boolean): ExitCode {
  if (thrown instanceof Exit) return thrown.code
  const error = withTlsAdvice(toHoldfastError(thrown))
  terminal.err(isJson ? `${JSON.stringify(toProblem(error))}\n` : errorText(error, terminal.isErrTty))
  return error.code === 'internal' ? exitCodes.failed : exitCodeOf(error.code)
}

const certificateFaults = /self-signed certificate|unable to (?:get|verify).*certificate|unable to verify the first/

/** A certificate that is not believed reads like a dead machine; the remedy is another. */
function withTlsAdvice(error: HoldfastError): HoldfastError {
  if (error.code !== 'unreachable' || !certificateFaults.test(describeError(error))) return error
  const mend = "Name the manager's certificate authority with --ca-file, or run `holdfast login URL --ca-file FILE`."
  return new HoldfastError(error.code, error.message, { ...error.details, mend }, { cause: error.cause })
}

/** The text for people: what happened (with its code), each reason of a refusal, and what to do. */
export function errorText(error: HoldfastError, isStyled: boolean): string {
  const head = isStyled ? `\u001b[31merror\u001b[39m` : 'error'
  const lines = [`${head} (${error.code}): ${plainText(describeError(error))}`]
  for (const reason of reasonsOf(error.details)) lines.push(`  - ${plainText(reason)}`)
  const task = error.details['task']
  if (error.code === 'operation-in-progress' && typeof task === 'string') lines.push(`  held by ${plainText(task)}`)
  if (error.details.mend !== undefined) lines.push(plainText(error.details.mend))
  return `${lines.join('\n')}\n`
}

function reasonsOf(details: ErrorDetails): string[] {
  const reasons = details['reasons']
  if (!Array.isArray(reasons)) return []
  return reasons.flatMap((reason: unknown) => {
    if (typeof reason === 'string') return [reason]
    if (typeof reason !== 'object' || reason === null || !('message' in reason)) return []
    return typeof reason.message === 'string' ? [reason.message] : []
  })
}
