/** From a network to lines of `ip -batch`, given which interfaces are there. Pure. */
import type { NetworkConfig } from '../../contracts/agent-api.ts'
import { bridgeMac, bridgeName, parseCidr, vlanName, vxlanName } from './names.ts'

export const vxlanPort = 4789

/** What is seen of an interface (`ip -d -j link`). */
export interface Link {
  readonly ifname: string
  readonly mtu: number
  readonly flags: readonly string[]
  readonly master?: string
  readonly linkinfo?: { readonly info_kind?: string; readonly info_data?: Readonly<Record<string, unknown>> }
}

/** Lines that make the network's bridge and its way to other hosts; those that change nothing are harmless. */
export function networkCommands(network: NetworkConfig, links: readonly Link[], guestsAddress: string): string[] {
  const bridge = bridgeName(network.network)
  const has = (name: string): boolean => links.some((link) => link.ifname === name)
  const lines: string[] = []
  if (!has(bridge)) lines.push(`link add ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`)
  lines.push(
    `link set ${bridge} address ${bridgeMac(network.network)}`,
    `link set ${bridge} addrgenmode none`,
    ...portCommands(network, links, guestsAddress),
    `link set ${bridge} mtu ${network.mtu}`,
    `link set ${bridge} up`,
  )
  if (network.ipv4 !== null) {
    const { length } = parseCidr(network.ipv4.cidr)
    lines.push(`address replace ${network.ipv4.service}/${length} dev ${bridge} noprefixroute scope link`)
    // A route of its own, so that a host that is a member of this network by itself keeps its own way there.
    const { network: base } = parseCidr(network.ipv4.cidr)
    lines.push(`route replace ${base}/${length} dev ${bridge} src ${network.ipv4.service} metric 4096`)
  }
  return lines
}

function portCommands(network: NetworkConfig, links: readonly Link[], guestsAddress: string): string[] {
  const bridge = bridgeName(network.network)
  if (network.kind === 'isolated') return []
  const port = network.kind === 'vxlan' ? vxlanName(network.network) : vlanName(network.network)
  const existing = links.find((link) => link.ifname === port)
  const isRight = existing !== undefined && isPortOf(network, existing, guestsAddress)
  const lines = existing !== undefined && !isRight ? [`link del ${port}`] : []
  if (!isRight) lines.push(addPort(network, port, guestsAddress))
  lines.push(
    `link set ${port} mtu ${network.mtu}`,
    `link set ${port} addrgenmode none`,
    `link set ${port} master ${bridge}`,
    `link set ${port} up`,
  )
  return lines
}

function addPort(network: NetworkConfig, port: string, guestsAddress: string): string {
  if (network.kind === 'vxlan') {
    return `link add ${port} type vxlan id ${network.tag ?? 0} local ${guestsAddress} dstport ${vxlanPort} ttl 16`
  }
  // VLAN on an uplink is untried: the kernels this was developed on have none.
  return `link add link ${network.uplink ?? ''} name ${port} type vlan id ${network.tag ?? 0}`
}

function isPortOf(network: NetworkConfig, link: Link, guestsAddress: string): boolean {
  const data = link.linkinfo?.info_data
  if (data?.['id'] !== network.tag) return false
  return network.kind !== 'vxlan' || data['local'] === guestsAddress
}

/** One line of `bridge -batch` per peer that the flood list lacks or has too many. */
export function floodCommands(network: NetworkConfig, current: readonly string[]): string[] {
  const port = vxlanName(network.network)
  const zero = '00:00:00:00:00:00'
  return [
    ...network.peers
      .filter((peer) => !current.includes(peer))
      .map((peer) => `fdb append ${zero} dev ${port} dst ${peer}`),
    ...current.filter((peer) => !network.peers.includes(peer)).map((peer) => `fdb del ${zero} dev ${port} dst ${peer}`),
  ]
}

/** Lines that make a tap, up, on its bridge. Its rules must be in place before. */
export function tapCommands(tap: string, bridge: string, mtu: number, uid: number): string[] {
  return [
    `tuntap add dev ${tap} mode tap user ${uid} vnet_hdr`,
    `link set ${tap} addrgenmode none`,
    `link set ${tap} mtu ${mtu}`,
    `link set ${tap} master ${bridge}`,
    `link set ${tap} up`,
  ]
}
