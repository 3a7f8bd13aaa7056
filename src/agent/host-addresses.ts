/** Which of a machine's addresses are for what, where nobody said. */
import { HoldfastError } from '../base/errors.ts'
import type { Processes } from '../base/processes.ts'
import type { HostFacts } from '../contracts/host.ts'
import type { InterfaceFacts } from './network-plan.ts'

type Addresses = HostFacts['addresses']

/**
 * An address that was given counts. Else the one of an interface named after the network (`management`, `storage`,
 * `guests`), else the one by which this machine reaches the manager.
 */
export async function hostAddresses(
  processes: Processes,
  managerUrl: string,
  given: Partial<Addresses>,
): Promise<Addresses> {
  const interfaces = await askIp<InterfaceFacts[]>(processes, ['-j', '-4', 'address', 'show'])
  const named = (name: string): string | undefined =>
    interfaces.find(({ ifname }) => ifname === name)?.addr_info.find(({ family }) => family === 'inet')?.local
  const management = given.management ?? named('management') ?? (await towards(processes, managerUrl))
  return {
    management,
    storage: given.storage ?? named('storage') ?? management,
    guests: given.guests ?? named('guests') ?? management,
  }
}

async function towards(processes: Processes, managerUrl: string): Promise<string> {
  const { hostname } = new URL(managerUrl)
  const address = /^[0-9.]+$/.test(hostname) ? hostname : await resolve(processes, hostname)
  const [route] = await askIp<{ prefsrc?: string }[]>(processes, ['-j', 'route', 'get', address])
  if (route?.prefsrc !== undefined) return route.prefsrc
  throw new HoldfastError('unreachable', `this machine has no route to ${hostname}`, {
    mend: 'Say by which address other hosts reach it: --address.',
  })
}

async function resolve(processes: Processes, name: string): Promise<string> {
  const { code, stdout } = await processes.run('getent', ['ahostsv4', name])
  const address = stdout.split(/\s/)[0] ?? ''
  if (code === 0 && address !== '') return address
  throw new HoldfastError('unreachable', `${name} has no address`, { mend: 'Name the manager by its address.' })
}

async function askIp<T>(processes: Processes, args: readonly string[]): Promise<T> {
  const { code, stdout, stderr } = await processes.run('ip', args)
  if (code !== 0) throw new HoldfastError('host-error', `ip says: ${stderr.trim()}`)
  return JSON.parse(stdout || '[]') as T
}
