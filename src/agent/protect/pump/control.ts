/**
 * How an agent speaks to a pump: JSON lines over a unix socket in the VM's run folder, which is root's alone. The pump tells
 * first whether it could begin, then its status as it changes; the agent's requests are answered by their number.
 */
import type { Duplex } from 'node:stream'
import { describeError, HoldfastError, type ErrorCode } from '../../../base/errors.ts'
import type { ArbiterChange } from '../pumps.ts'
import type { ProtectionObservation, SecondEndpoint } from '../../../contracts/protection.ts'

export const controlSocket = 'pump.sock'
export const controlActs = ['end', 'hand-over', 'pause', 'resume', 'change-arbiter', 'drop'] as const
export type ControlAct = (typeof controlActs)[number]

export interface ControlRequest {
  readonly id: number
  readonly do: ControlAct
  /** Of `change-arbiter`. */
  readonly change?: ArbiterChange
}

/** What a pump carries out. */
export type ControlCall = Pick<ControlRequest, 'do' | 'change'>

export interface ControlProblem {
  readonly code: ErrorCode
  readonly message: string
  readonly mend: string | null
}

export type ControlLine =
  /** It works; of a second: where it listens. */
  | { readonly is: 'begun'; readonly endpoint: SecondEndpoint | null }
  | { readonly is: 'failed'; readonly problem: ControlProblem }
  | { readonly is: 'status'; readonly status: ProtectionObservation }
  | { readonly is: 'done'; readonly id: number; readonly problem: ControlProblem | null }

export function toProblem(thrown: unknown): ControlProblem {
  const isOurs = thrown instanceof HoldfastError
  const mend = isOurs && typeof thrown.details.mend === 'string' ? thrown.details.mend : null
  return { code: isOurs ? thrown.code : 'internal', message: describeError(thrown), mend }
}

export function fromControlProblem({ code, message, mend }: ControlProblem): HoldfastError {
  return new HoldfastError(code, message, mend === null ? {} : { mend })
}

export function sendLine(stream: Duplex, line: ControlLine | ControlRequest): void {
  stream.write(`${JSON.stringify(line)}\n`)
}

/** Calls back for each line; what is no JSON ends the stream. */
export function readLines(stream: Duplex, onLine: (line: unknown) => void): void {
  let rest = ''
  stream.setEncoding('utf8')
  stream.on('data', (text: string) => {
    const lines = (rest + text).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) {
      try {
        onLine(JSON.parse(line))
      } catch {
        stream.destroy()
        return
      }
    }
  })
}
