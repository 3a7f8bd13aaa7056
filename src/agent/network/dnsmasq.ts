/**
 * One dnsmasq per network, for the guests of this host alone. It is detached and found again by its pid file, so that an
 * agent's restart disturbs nothing; a change of leases is a SIGHUP, a change of the network itself a restart.
 */
import { join } from 'node:path'
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { NetworkId } from '../../base/ids.ts'
import type { Processes, ProcessId } from '../../base/processes.ts'
import type { LeaseConfig, NetworkConfig } from '../../contracts/agent-api.ts'
import { bridgeName, hostLabel, parseCidr } from './names.ts'

/** What is remembered of a dnsmasq that runs. */
interface Running {
  readonly process: ProcessId
  readonly args: readonly string[]
}

export class DhcpServers {
  readonly #files: Files
  readonly #processes: Processes
  readonly #directory: string

  constructor(files: Files, processes: Processes, runRoot: string) {
    this.#files = files
    this.#processes = processes
    this.#directory = join(runRoot, 'dhcp')
  }

  /** Makes the network's server answer exactly these leases. */
  async serve(network: NetworkConfig, leases: readonly LeaseConfig[]): Promise<void> {
    if (network.ipv4 === null) return this.stop(network.network)
    const folder = join(this.#directory, network.network)
    await this.#files.makeDirectory(folder)
    const isChanged = await this.#writeHosts(folder, leases)
    const args = dnsmasqArgs(network, network.ipv4, folder)
    const running = await this.#running(folder)
    if (running !== undefined && running.args.join('\0') === args.join('\0')) {
      if (!isChanged) return
      if (!(await this.#isInTheWay(folder, leases))) {
        await this.#processes.signal(running.process, 'SIGHUP')
        return
      }
    }
    if (running !== undefined) await this.#end(running.process)
    await this.#forgetOld(folder, leases)
    const process = await this.#processes.startDetached('dnsmasq', args, { logFile: join(folder, 'log') })
    const record: Running = { process, args }
    await this.#files.write(join(folder, 'running.json'), JSON.stringify(record))
  }

  async stop(network: NetworkId): Promise<void> {
    const folder = join(this.#directory, network)
    const running = await this.#running(folder)
    if (running !== undefined) await this.#end(running.process)
    await this.#files.remove(folder)
  }

  /** Networks that have a server here. */
  async list(): Promise<NetworkId[]> {
    await this.#files.makeDirectory(this.#directory)
    return (await this.#files.list(this.#directory)) as NetworkId[]
  }

  /** Why the server of this network does not answer; null when it does. */
  async problem(network: NetworkConfig): Promise<string | null> {
    if (network.ipv4 === null) return null
    const folder = join(this.#directory, network.network)
    if ((await this.#running(folder)) !== undefined) return null
    const log = await this.#files.readText(join(folder, 'log')).catch(() => '')
    return `dnsmasq does not run: ${log.trim().split('\n').at(-1) ?? ''}`
  }

  async #writeHosts(folder: string, leases: readonly LeaseConfig[]): Promise<boolean> {
    const path = join(folder, 'hosts')
    const text = hostsFile(leases)
    const before = await this.#files.readText(path).catch(() => undefined)
    if (before === text) return false
    await this.#files.write(path, text)
    return true
  }

  /** Whether a guest that is no more still holds an address that another one has now: dnsmasq would not give it out. */
  async #isInTheWay(folder: string, leases: readonly LeaseConfig[]): Promise<boolean> {
    const text = await this.#files.readText(join(folder, 'leases')).catch(() => '')
    return stillRight(text, leases) !== text
  }

  /** dnsmasq reads its leases when it starts, and only then. */
  async #forgetOld(folder: string, leases: readonly LeaseConfig[]): Promise<void> {
    const path = join(folder, 'leases')
    const text = await this.#files.readText(path).catch(() => '')
    const right = stillRight(text, leases)
    if (right !== text) await this.#files.write(path, right)
  }

  async #running(folder: string): Promise<Running | undefined> {
    try {
      const record = JSON.parse(await this.#files.readText(join(folder, 'running.json'))) as Running
      return (await this.#processes.isAlive(record.process)) ? record : undefined
    } catch {
      return undefined
    }
  }

  async #end(process: ProcessId): Promise<void> {
    if (!(await this.#processes.signal(process, 'SIGTERM'))) return
    const signal = AbortSignal.timeout(5000)
    await this.#processes.waitGone(process, signal).catch(async (cause: unknown) => {
      await this.#processes.signal(process, 'SIGKILL')
      if (await this.#processes.isAlive(process)) {
        throw new HoldfastError('host-error', `dnsmasq (pid ${process.pid}) does not end`, {}, { cause })
      }
    })
  }
}

export function hostsFile(leases: readonly LeaseConfig[]): string {
  return leases.map(({ mac, address, hostname }) => `${mac},${address},${hostLabel(hostname)},12h\n`).join('')
}

/** dnsmasq's own list (`EXPIRY MAC ADDRESS …`) without addresses that have gone to another MAC since. */
export function stillRight(text: string, leases: readonly LeaseConfig[]): string {
  const owners = new Map(leases.map(({ address, mac }) => [address, mac]))
  const isRight = (line: string): boolean => {
    const [, mac, address = ''] = line.split(' ')
    const owner = owners.get(address)
    return owner === undefined || owner === mac
  }
  return text.split('\n').filter(isRight).join('\n')
}

export function dnsmasqArgs(
  network: NetworkConfig,
  ipv4: NonNullable<NetworkConfig['ipv4']>,
  folder: string,
): string[] {
  const { network: base, mask } = parseCidr(ipv4.cidr)
  return [
    '--conf-file=/dev/null',
    '--keep-in-foreground',
    '--port=0',
    '--log-facility=-',
    '--bind-interfaces',
    `--interface=${bridgeName(network.network)}`,
    '--except-interface=lo',
    `--pid-file=${folder}/pid`,
    `--dhcp-range=${base},static,${mask},12h`,
    `--dhcp-hostsfile=${folder}/hosts`,
    `--dhcp-leasefile=${folder}/leases`,
    '--dhcp-authoritative',
    // The address was given by a manager; a probe would only delay the guest's start.
    '--no-ping',
    `--dhcp-option=option:mtu,${network.mtu}`,
    // Without these dnsmasq would name itself.
    ipv4.gateway === null ? '--dhcp-option=option:router' : `--dhcp-option=option:router,${ipv4.gateway}`,
    ipv4.dns.length === 0 ? '--dhcp-option=option:dns-server' : `--dhcp-option=option:dns-server,${ipv4.dns.join(',')}`,
  ]
}
