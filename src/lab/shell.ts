/** Runs the machine's own tools (ip, mount, nft) and says plainly what went wrong when one fails. */
import { HoldfastError } from '../base/errors.ts'
import type { RunOptions } from '../base/processes.ts'
import type { LabPorts } from './ports.ts'

const timeoutMs = 30_000

export type ShellPorts = Pick<LabPorts, 'processes' | 'clock'>

/** Standard output of a command that must succeed. Throws `host-error` with what it printed. */
export async function shell(
  ports: ShellPorts,
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const result = await runBounded(ports, command, args, options)
  if (result.code === 0) return result.stdout
  const said = (result.stderr || result.stdout).trim().slice(-800)
  throw new HoldfastError('host-error', `${command} ${args.join(' ')} failed: ${said || `exit code ${result.code}`}`, {
    command,
    code: result.code,
  })
}

/** The same, where failure is an answer: true when it succeeded. */
export async function succeeds(ports: ShellPorts, command: string, args: readonly string[]): Promise<boolean> {
  return (await runBounded(ports, command, args, {})).code === 0
}

async function runBounded(ports: ShellPorts, command: string, args: readonly string[], options: RunOptions) {
  const limit = new AbortController()
  using _timer = ports.clock.timer(timeoutMs, () => {
    limit.abort(new HoldfastError('timeout', `${command} ${args.join(' ')} did not end within ${timeoutMs / 1000} s`))
  })
  const signal = options.signal === undefined ? limit.signal : AbortSignal.any([options.signal, limit.signal])
  return await ports.processes.run(command, args, { ...options, signal })
}

/** `ip -batch`: many changes in one process; with a namespace, inside it. */
export async function ipBatch(
  ports: ShellPorts,
  lines: readonly string[],
  options: { namespace?: string; force?: boolean } = {},
): Promise<void> {
  if (lines.length === 0) return
  const args = [
    ...(options.namespace === undefined ? [] : ['-n', options.namespace]),
    ...(options.force === true ? ['-force'] : []),
    '-batch',
    '-',
  ]
  const run = options.force === true ? runBounded : shell
  await run(ports, 'ip', args, { input: `${lines.join('\n')}\n` })
}
