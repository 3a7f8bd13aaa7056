/**
 * Fence agents as programs: found by name in a few folders, told what to do on their standard input (so that no password is
 * in the list of processes), and ended as a group when they take too long. No shell.
 */
import { deadline, type Clock } from '../../base/clock.ts'
import { HoldfastError, toHoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { Processes, RunResult } from '../../base/processes.ts'
import {
  agentInput,
  agentWords,
  parseMetadata,
  powerOf,
  type FenceAction,
  type FenceAgentMetadata,
} from '../domain/fence-agent-api.ts'

export interface AgentOrder {
  readonly agent: string
  readonly action: FenceAction
  readonly options: Readonly<Record<string, string>>
  readonly secrets: Readonly<Record<string, string>>
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

/** Runs fence agents. Nothing that it throws says a secret. */
export interface Fencer {
  /** Throws `not-found` when there is no such agent here, and `host-error` when it is none. */
  metadata(agent: string): Promise<FenceAgentMetadata>
  /** What `status` says; null of the other actions. Throws `host-error` or `timeout`. */
  run(order: AgentOrder): Promise<'on' | 'off' | null>
}

export interface FencerPorts {
  readonly clock: Clock
  readonly files: Files
  readonly processes: Processes
}

const agentName = /^fence_[a-z0-9_]{1,60}$/
const metadataMs = 20_000
/** After its time an agent is sent SIGTERM, and SIGKILL two seconds later; one that a kill does not end is left behind. */
const killMs = 5000
const mostOutputBytes = 256 * 1024

/** The real one: `folders` are looked through in their order; `path` is what agents find their own programs by. */
export function processFencer(ports: FencerPorts, folders: readonly string[], path: string): Fencer {
  const execute = async (agent: string, input: string, timeoutMs: number, signal?: AbortSignal): Promise<RunResult> => {
    const file = await find(ports.files, folders, agent)
    const late = new HoldfastError('timeout', `did not end within ${timeoutMs / 1000} s`)
    using limit = deadline(ports.clock, timeoutMs, late)
    const ended = AbortSignal.any([limit.signal, ...(signal === undefined ? [] : [signal])])
    const options = { input, signal: ended, env: { PATH: path }, maxOutputBytes: mostOutputBytes, cwd: '/' }
    const lost = Promise.withResolvers<never>()
    using _hard = ports.clock.timer(timeoutMs + killMs, () => lost.reject(late))
    return await Promise.race([ports.processes.run(file, [], options), lost.promise])
  }
  return {
    async metadata(agent) {
      const { stdout } = await execute(agent, agentInput('metadata', {}), metadataMs)
      return parseMetadata(agent, stdout)
    },
    async run({ agent, action, options, secrets, timeoutMs, signal }) {
      const hidden = Object.values(secrets)
      const result = await execute(agent, agentInput(action, { ...options, ...secrets }), timeoutMs, signal).catch(
        (thrown: unknown) => {
          throw safeError(thrown, action, hidden)
        },
      )
      return answerOf(action, result, hidden)
    },
  }
}

async function find(files: Files, folders: readonly string[], agent: string): Promise<string> {
  if (!agentName.test(agent)) throw new HoldfastError('invalid-request', `${agent} is no name of a fence agent`)
  for (const folder of folders) {
    if ((await files.stat(`${folder}/${agent}`))?.kind === 'file') return `${folder}/${agent}`
  }
  throw new HoldfastError('not-found', `there is no ${agent} on the manager's machine`, {
    mend: 'Install it on every manager: apt-get install fence-agents',
  })
}

/** The same error without its cause, whose text may be anything. */
function safeError(thrown: unknown, action: string, secrets: readonly string[]): HoldfastError {
  const { code, message, details } = toHoldfastError(thrown)
  const { mend } = details
  return new HoldfastError(code, `${action}: ${agentWords(message, secrets)}`, mend === undefined ? {} : { mend })
}

function answerOf(action: FenceAction, result: RunResult, secrets: readonly string[]): 'on' | 'off' | null {
  const power = powerOf(result.code)
  if (action === 'status' && power !== undefined) return power
  if (action !== 'status' && result.code === 0) return null
  const said = agentWords(result.stderr, secrets) || agentWords(result.stdout, secrets) || 'it says nothing'
  throw new HoldfastError('host-error', `${action} failed (exit code ${result.code}): ${said}`)
}
