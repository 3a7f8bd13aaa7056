/** `holdfast network …` */
import type { Command } from 'commander'
import type { CreateNetwork, NetworkObject } from '../../contracts/inventory.ts'
import type { Cli } from '../cli.ts'
import { resolveObject } from '../connection/resolve.ts'
import { choice, confirm, countOption, given, yesOption } from '../options.ts'
import { writeDone, writeList } from '../output/show.ts'
import type { Column } from '../output/table.ts'
import { orDash } from '../output/words.ts'

const columns: readonly Column<NetworkObject>[] = [
  { title: 'NAME', value: (network) => network.name, shrinkTo: 12 },
  { title: 'KIND', value: (network) => network.kind },
  { title: 'TAG', value: (network) => orDash(network.tag === null ? null : `${network.tag}`), align: 'right' },
  { title: 'SUBNET', value: (network) => orDash(network.ipv4?.cidr) },
  { title: 'GATEWAY', value: (network) => orDash(network.ipv4?.gateway) },
  { title: 'MTU', value: (network) => `${network.mtu}`, align: 'right' },
  { title: 'LEASES', value: (network) => `${network.leases}`, align: 'right' },
  { title: 'SPOOFING', value: spoofingWords },
  { title: 'ID', value: (network) => network.id },
]

function spoofingWords(network: NetworkObject): string {
  if (network.macSpoofing === network.ipSpoofing) return network.macSpoofing
  return `MAC ${network.macSpoofing}, IP ${network.ipSpoofing}`
}

interface CreateFlags {
  readonly kind?: 'vxlan' | 'vlan' | 'isolated'
  readonly tag?: number
  readonly uplink?: string
  readonly cidr?: string
  readonly gateway?: string
  readonly dns?: string[]
  readonly mtu?: number
  readonly macSpoofing?: 'allowed' | 'dropped'
  readonly ipSpoofing?: 'allowed' | 'dropped'
  readonly externalPeer?: string[]
}

export function define(command: Command, cli: Cli): void {
  command
    .command('list')
    .alias('ls')
    .description('list networks (port groups)')
    .option('--name <name>', 'only the one of this name')
    .action(async (options: { name?: string }) => {
      const session = await cli.session()
      const networks = await session.list('listNetworks', given({ name: options.name }))
      writeList(cli, networks, columns, 'There are no networks. `holdfast network create NAME` adds one.')
    })
  defineCreate(command, cli)
  const remove = command.command('remove').description('remove an unused network')
  yesOption(remove.argument('<network>', 'name or id')).action(async (word: string, options: { yes?: boolean }) => {
    const session = await cli.session()
    const network = await resolveObject(session, 'network', word)
    await confirm(cli, options.yes, `Remove the network ${network.name} (${network.id})?`)
    await session.change('removeNetwork', { params: { network: network.id } })
    writeDone(cli, { id: network.id, name: network.name }, `${network.name} is removed`)
  })
}

function defineCreate(command: Command, cli: Cli): void {
  command
    .command('create')
    .description('add a network')
    .argument('<name>', 'its name')
    .addOption(choice('--kind <kind>', 'how hosts are joined (default: vxlan)', ['vxlan', 'vlan', 'isolated']))
    .option('--tag <number>', 'VXLAN or VLAN number; without it the next free one', countOption)
    .option('--uplink <interface>', 'with vlan: the interface that carries it')
    .option('--cidr <subnet>', 'Holdfast assigns addresses of this subnet, such as 10.20.0.0/24')
    .option('--gateway <address>', 'the gateway that guests are told')
    .option('--dns <address...>', 'the name servers that guests are told')
    .option('--mtu <bytes>', 'MTU of the guests', countOption)
    .addOption(choice('--mac-spoofing <policy>', 'frames with a foreign MAC', ['dropped', 'allowed']))
    .addOption(choice('--ip-spoofing <policy>', 'packets with a foreign address', ['dropped', 'allowed']))
    .option('--external-peer <address...>', 'VXLAN ends outside of the cluster')
    .action(async (name: string, options: CreateFlags) => {
      const session = await cli.session()
      const network = await session.change('createNetwork', { body: createBody(name, options) })
      writeDone(cli, network, `${network.name} (${network.id}) is added`)
    })
}

function createBody(name: string, options: CreateFlags): CreateNetwork {
  const { externalPeer, kind, tag, uplink, cidr, gateway, dns, mtu, macSpoofing, ipSpoofing } = options
  return given({
    name,
    kind,
    tag,
    uplink,
    cidr,
    gateway,
    dns,
    mtu,
    macSpoofing,
    ipSpoofing,
    externalPeers: externalPeer,
  })
}
