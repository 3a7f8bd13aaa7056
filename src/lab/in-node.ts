/** Commands and services within a node of a lab. */
import { HoldfastError } from '../base/errors.ts'
import type { Lab } from './lab.ts'
import type { Service } from './machine.ts'
import { insideHost, nodeFolders } from './names.ts'

const programTimeoutMs = 60_000

/** Runs `holdfast ARGS` in a node; its standard output. */
export async function program(lab: Lab, node: string, args: readonly string[]): Promise<string> {
  const { node: runtime, main } = lab.machines.launcher
  const [command = '', ...rest] = await lab.inside(node, [runtime, main, ...args])
  const limit = AbortSignal.timeout(programTimeoutMs)
  const result = await lab.ports.processes.run(command, rest, { signal: limit, cwd: '/' })
  if (result.code === 0) return result.stdout
  const said = (result.stderr || result.stdout).trim()
  throw new HoldfastError('host-error', `holdfast ${args.slice(0, 2).join(' ')} failed on ${node}: ${said}`)
}

/** These are a node's services from now on, at each boot. */
export async function enable(lab: Lab, node: string, services: readonly Service[]): Promise<void> {
  const own = nodeFolders(lab.folder, node)
  await lab.ports.files.replace(`${own.data}/init/services.json`, JSON.stringify(services))
  const [command = '', ...rest] = await lab.inside(node, ['sh', '-c', `kill -HUP "$(cat ${insideHost.run}/init.pid)"`])
  await lab.ports.processes.run(command, rest)
}
