/**
 * Guest networks by iproute2, nftables and dnsmasq. What is plugged in is remembered in RUN (it ends with the machine, as
 * taps do), so that an agent that starts again knows all taps before it replaces the rules. One change at a time.
 */
import { join } from 'node:path'
import { describeError, HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { NetworkId, VmId } from '../../base/ids.ts'
import type { Logger } from '../../base/log.ts'
import type { Processes } from '../../base/processes.ts'
import type { LeaseConfig, NetworkConfig, VmDeployment } from '../../contracts/agent-api.ts'
import { canonicalJson } from '../../contracts/digest.ts'
import type { NetworkObservation } from '../../contracts/host.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import { floodCommands, networkCommands, tapCommands, type Link } from './bridge-commands.ts'
import { DhcpServers } from './dnsmasq.ts'
import type { HostNetworks } from './host-networks.ts'
import { bridgeName, tapName, vlanName, vxlanName } from './names.ts'
import { nftRules, type TapRules } from './nft-rules.ts'

interface Plugged {
  readonly vm: VmId
  readonly uid: number
  readonly networks: readonly NetworkConfig[]
  readonly leases: readonly LeaseConfig[]
  readonly taps: readonly { key: number; tap: string; mac: string; address: string | null; network: NetworkId }[]
}

interface Remembered {
  configured: NetworkConfig[]
  leases: LeaseConfig[]
  plugged: Plugged[]
}

export interface LinuxNetworksDeps {
  readonly files: Files
  readonly processes: Processes
  readonly log: Logger
  readonly runRoot: string
  /** This host's address on the guests' network: the local end of VXLAN. */
  readonly guestsAddress: string
}

export class LinuxNetworks implements HostNetworks {
  readonly #deps: LinuxNetworksDeps
  readonly #dhcp: DhcpServers
  readonly #queue = new SerialQueue()
  readonly #applied = new Map<NetworkId, string>()
  readonly #problems = new Map<NetworkId, string>()
  #state: Remembered

  private constructor(deps: LinuxNetworksDeps, state: Remembered) {
    this.#deps = deps
    this.#dhcp = new DhcpServers(deps.files, deps.processes, deps.runRoot)
    this.#state = state
  }

  static async open(deps: LinuxNetworksDeps): Promise<LinuxNetworks> {
    await deps.files.makeDirectory(deps.runRoot, { mode: 0o711 })
    const text = await deps.files.readText(join(deps.runRoot, 'networks.json')).catch(() => undefined)
    const state = text === undefined ? { configured: [], leases: [], plugged: [] } : (JSON.parse(text) as Remembered)
    return new LinuxNetworks(deps, state)
  }

  configure(networks: readonly NetworkConfig[], leases: readonly LeaseConfig[]): Promise<void> {
    return this.#queue.run(async () => {
      const before = this.#networks()
      this.#state.configured = [...networks]
      this.#state.leases = [...leases]
      await this.#remember()
      await this.#applyAll()
      const now = new Set(this.#networks().map((network) => network.network))
      for (const old of before) if (!now.has(old.network)) await this.#takeDown(old)
    })
  }

  plug(deployment: VmDeployment, uid: number): Promise<ReadonlyMap<number, string>> {
    return this.#queue.run(async () => {
      const plugged = plugOf(deployment, uid)
      const before = this.#state.plugged.find((one) => one.vm === plugged.vm)
      const others = this.#state.plugged.filter((one) => one.vm !== plugged.vm)
      this.#state.plugged = [...others, plugged]
      await this.#remember()
      for (const network of this.#networksOf(plugged)) await this.#apply(network)
      if (plugged.taps.length > 0) {
        // The rules name the taps and are there before the first of them is.
        await this.#loadRules()
        const serving = this.#networksOf(plugged).map((network) => this.#serveLeases(network))
        await Promise.all([this.#makeTaps(plugged, before), ...serving])
      }
      return new Map(plugged.taps.map(({ key, tap }) => [key, tap]))
    })
  }

  unplug(vm: VmId): Promise<void> {
    return this.#queue.run(async () => {
      const plugged = this.#state.plugged.find((one) => one.vm === vm)
      if (plugged === undefined) return
      for (const { tap } of plugged.taps) await this.#deps.processes.run('ip', ['link', 'del', tap])
      this.#state.plugged = this.#state.plugged.filter((one) => one.vm !== vm)
      await this.#remember()
      if (plugged.taps.length === 0) return
      await this.#loadRules()
      for (const network of this.#networksOf(plugged)) await this.#serveLeases(network)
    })
  }

  async observe(): Promise<NetworkObservation[]> {
    const links = await this.#links().catch(() => [])
    return Promise.all(
      this.#networks().map(async (network) => {
        const bridge = bridgeName(network.network)
        const link = links.find(({ ifname }) => ifname === bridge)
        const isUp = link?.flags.includes('UP') === true
        const problem =
          this.#problems.get(network.network) ?? (isUp ? await this.#dhcp.problem(network) : 'the bridge is not up')
        return { network: network.network, bridge, isUp: isUp && problem === null, problem, mtu: link?.mtu ?? 0 }
      }),
    )
  }

  /** Those that are configured, and those that plugged VMs came with. The configured one counts where both are there. */
  #networks(): NetworkConfig[] {
    const all = new Map<NetworkId, NetworkConfig>()
    for (const { networks } of this.#state.plugged) for (const one of networks) all.set(one.network, one)
    for (const one of this.#state.configured) all.set(one.network, one)
    return [...all.values()]
  }

  #networksOf(plugged: Plugged): NetworkConfig[] {
    const wanted = new Set(plugged.taps.map((tap) => tap.network))
    return this.#networks().filter((network) => wanted.has(network.network))
  }

  async #applyAll(): Promise<void> {
    await this.#loadRules()
    for (const network of this.#networks()) {
      try {
        await this.#apply(network, true)
        await this.#serveLeases(network)
        this.#problems.delete(network.network)
      } catch (err) {
        this.#deps.log.warn({ network: network.network, err }, 'a network cannot be set up')
        this.#problems.set(network.network, describeError(err))
      }
    }
  }

  async #apply(network: NetworkConfig, always = false): Promise<void> {
    const digest = canonicalJson(network)
    if (!always && this.#applied.get(network.network) === digest) return
    if (!this.#applied.has(network.network)) await this.#loadRules()
    const links = await this.#links()
    await this.#batch('ip', networkCommands(network, links, this.#deps.guestsAddress))
    if (network.kind === 'vxlan') await this.#batch('bridge', floodCommands(network, await this.#floodList(network)))
    this.#applied.set(network.network, digest)
  }

  async #serveLeases(network: NetworkConfig): Promise<void> {
    const here = this.#state.plugged.filter((one) => one.taps.some((tap) => tap.network === network.network))
    const vms = new Set(here.map((one) => one.vm))
    const byMac = new Map<string, LeaseConfig>()
    for (const lease of [...here.flatMap((one) => one.leases), ...this.#state.leases]) {
      if (lease.network === network.network && vms.has(lease.vm)) byMac.set(lease.mac, lease)
    }
    await this.#dhcp.serve(network, [...byMac.values()])
  }

  async #takeDown(network: NetworkConfig): Promise<void> {
    await this.#dhcp.stop(network.network)
    const names = [bridgeName(network.network), vxlanName(network.network), vlanName(network.network)]
    const links = await this.#links()
    for (const name of names.filter((one) => links.some((link) => link.ifname === one))) {
      await this.#deps.processes.run('ip', ['link', 'del', name])
    }
    this.#applied.delete(network.network)
    this.#problems.delete(network.network)
  }

  async #makeTaps(plugged: Plugged, before: Plugged | undefined): Promise<void> {
    const isKnown = before !== undefined
    if (!isKnown) {
      // Usually none is there, and asking first would take as long again.
      const isMade = await this.#batch('ip', this.#tapLines(plugged, plugged.taps)).then(
        () => true,
        () => false,
      )
      if (isMade) return
    }
    const links = await this.#links()
    const lines = plugged.taps.flatMap((tap) => {
      const existing = links.find((link) => link.ifname === tap.tap)
      if (existing?.master === bridgeName(tap.network) && isKnown && before.uid === plugged.uid) return []
      return [...(existing === undefined ? [] : [`link del ${tap.tap}`]), ...this.#tapLines(plugged, [tap])]
    })
    await this.#batch('ip', lines)
  }

  #tapLines(plugged: Plugged, taps: Plugged['taps']): string[] {
    return taps.flatMap(({ tap, network }) => {
      const config = this.#networks().find((one) => one.network === network)
      if (config === undefined)
        throw new HoldfastError('invalid-request', `the deployment does not describe ${network}`)
      return tapCommands(tap, bridgeName(network), config.mtu, plugged.uid)
    })
  }

  async #loadRules(): Promise<void> {
    const networks = this.#networks()
    const taps = this.#state.plugged.flatMap(({ taps }) =>
      taps.flatMap(({ tap, mac, address, network }): TapRules[] => {
        const config = networks.find((one) => one.network === network)
        return config === undefined
          ? []
          : [{ tap, mac, address: config.ipv4 === null ? null : address, network: config }]
      }),
    )
    await this.#run('nft', ['-f', '-'], nftRules(networks, taps))
  }

  async #links(): Promise<Link[]> {
    return JSON.parse((await this.#run('ip', ['-d', '-j', 'link', 'show'])) || '[]') as Link[]
  }

  async #floodList(network: NetworkConfig): Promise<string[]> {
    const text = await this.#run('bridge', ['-j', 'fdb', 'show', 'dev', vxlanName(network.network)])
    const entries = JSON.parse(text || '[]') as { mac: string; dst?: string }[]
    return entries.flatMap(({ mac, dst }) => (mac === '00:00:00:00:00:00' && dst !== undefined ? [dst] : []))
  }

  async #batch(command: 'ip' | 'bridge', lines: readonly string[]): Promise<void> {
    if (lines.length > 0) await this.#run(command, ['-batch', '-'], `${lines.join('\n')}\n`)
  }

  async #run(command: string, args: readonly string[], input?: string): Promise<string> {
    const options = input === undefined ? {} : { input }
    const { code, stdout, stderr } = await this.#deps.processes.run(command, args, options)
    if (code === 0) return stdout
    throw new HoldfastError('host-error', `${command} says: ${stderr.trim()}`, {
      command: [command, ...args].join(' '),
      ...(input === undefined ? {} : { input }),
    })
  }

  async #remember(): Promise<void> {
    await this.#deps.files.replace(join(this.#deps.runRoot, 'networks.json'), JSON.stringify(this.#state), {
      mode: 0o600,
    })
  }
}

function plugOf(deployment: VmDeployment, uid: number): Plugged {
  const { vm, spec, networks, leases } = deployment
  const taps = spec.nics.map((nic) => ({
    key: nic.key,
    tap: tapName(vm, nic.key),
    mac: nic.mac,
    address: nic.address,
    network: nic.network,
  }))
  return { vm, uid, networks, leases, taps }
}
