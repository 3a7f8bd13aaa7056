/**
 * The whole of this host's guest-network rules as one nftables table of our own, replaced in one transaction. Pure.
 *
 * - From each tap: the vNIC's own MAC only, and where Holdfast assigns the address, that address only; no DHCP server, no
 *   router advertisement. RARP with the right MAC passes: QEMU announces a moved guest with it.
 * - Between hosts: the service address, the bridge's MAC and DHCP stay on their host, for every host has the same ones.
 * - To the host itself: ARP, ping and DHCP, and the answers of guests that the host asks whether they are ready: no segment
 *   that opens a connection. Guests reach nothing else of it by the service address.
 */
import type { NetworkConfig } from '../../contracts/agent-api.ts'
import { bridgeMac, vlanName, vxlanName } from './names.ts'

export interface TapRules {
  readonly tap: string
  readonly mac: string
  /** The address that Holdfast assigned; null where it assigns none. */
  readonly address: string | null
  readonly network: NetworkConfig
}

export const nftTable = 'holdfast'

export function nftRules(networks: readonly NetworkConfig[], taps: readonly TapRules[]): string {
  const uplinks = networks.filter((network) => network.kind !== 'isolated')
  return [
    // Made and deleted first, so that the same text works whether the table is there or not.
    `table bridge ${nftTable} {}`,
    `delete table bridge ${nftTable}`,
    `table bridge ${nftTable} {`,
    ...taps.flatMap(tapChain),
    ...uplinks.flatMap(uplinkChain),
    '  chain prerouting {',
    '    type filter hook prerouting priority -300; policy accept;',
    ...taps.map(({ tap }) => `    iifname "${tap}" jump tap-${tap}`),
    ...uplinks.map((network) => `    iifname "${uplinkPort(network)}" jump up-${network.network}`),
    '  }',
    '  chain postrouting {',
    '    type filter hook postrouting priority 0; policy accept;',
    ...uplinks.map((network) => `    oifname "${uplinkPort(network)}" jump up-${network.network}`),
    '  }',
    '  chain input {',
    '    type filter hook input priority 0; policy accept;',
    ...['hft*', 'hfvx*', 'hfvl*'].map((ports) => `    iifname "${ports}" jump to-host`),
    '  }',
    '  chain to-host {',
    '    ether type arp accept',
    '    ip protocol icmp accept',
    '    udp dport 67 accept',
    '    tcp flags & (fin | syn | rst | ack) != syn accept',
    '    drop',
    '  }',
    '}',
    '',
  ].join('\n')
}

function tapChain({ tap, mac, address, network }: TapRules): string[] {
  const rules = ['udp sport 67 drop', 'udp sport 547 drop', 'icmpv6 type nd-router-advert drop']
  if (network.macSpoofing === 'dropped') rules.push(`ether saddr != ${mac} drop`, `arp saddr ether != ${mac} drop`)
  if (network.ipSpoofing === 'dropped' && address !== null) {
    rules.push(
      'ether type 0x8035 accept',
      // A guest asks whether its address is free before it has one.
      `arp saddr ip != { ${address}, 0.0.0.0 } drop`,
      'ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept',
      `ip saddr != ${address} drop`,
      // Another type, a VLAN tag among them, could carry addresses past these rules.
      'ether type != { arp, ip, ip6 } drop',
    )
  }
  return [`  chain tap-${tap} {`, ...rules.map((rule) => `    ${rule}`), '  }']
}

function uplinkChain(network: NetworkConfig): string[] {
  const rules = [`ether saddr ${bridgeMac(network.network)} drop`]
  if (network.ipv4 !== null) {
    const { service } = network.ipv4
    rules.push(`arp saddr ip ${service} drop`, `arp daddr ip ${service} drop`, 'udp dport { 67, 68 } drop')
  }
  return [`  chain up-${network.network} {`, ...rules.map((rule) => `    ${rule}`), '  }']
}

function uplinkPort(network: NetworkConfig): string {
  return network.kind === 'vxlan' ? vxlanName(network.network) : vlanName(network.network)
}
