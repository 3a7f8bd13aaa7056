/** What `holdfast doctor` says of the hosts' fence devices: each is asked for its status, which changes nothing. */
import { HoldfastError } from '../../base/errors.ts'
import type { Finding } from '../../agent/main.ts'
import type { Host } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import type { Session } from '../connection/session.ts'

/** Undefined where no manager is reached, and where no host has a device: that is said elsewhere, or is no fault. */
export async function lookAtFencing(cli: Cli): Promise<Finding | undefined> {
  const about = { id: 'fencing', name: 'fence devices' }
  try {
    const session = await cli.session()
    const hosts = (await session.list('listHosts')).filter(({ fence }) => fence != null)
    if (hosts.length === 0) return undefined
    const problems = (await Promise.all(hosts.map((host) => problemOf(session, host)))).filter((each) => each !== null)
    if (problems.length === 0) return { ...about, verdict: 'ok', detail: `those of ${hosts.length} hosts answer` }
    const mend = 'A lost host whose devices fail is not fenced: docs/runbooks/fence-failing.md.'
    return { ...about, verdict: 'error', detail: problems.join('; '), mend }
  } catch {
    return undefined
  }
}

async function problemOf(session: Session, host: Host): Promise<string | null> {
  try {
    const { devices } = await session.client.call('testHostFence', { params: { host: host.id }, body: {} })
    const said = devices.flatMap(({ agent, problem }) => (problem === null ? [] : [`${agent} ${problem}`]))
    return said.length === 0 ? null : `${host.name}: ${said.join('; ')}`
  } catch (thrown) {
    // Who may only read learns what the last test said.
    if (!(thrown instanceof HoldfastError) || thrown.code !== 'not-allowed') throw thrown
    return host.fence?.problem == null ? null : `${host.name}: ${host.fence.problem}`
  }
}
