/**
 * The wires of a lab: a namespace per host, one for each manager and one with the "physical switch", three bridges in it.
 * The machine itself has a cable to the management network (so that people reach the manager) and one to the guests'
 * network, where it is the gateway of the default port group as one more VXLAN end.
 */
import { addressOf, bridgeMac, guestNetwork, macOf, type AddressPlan } from './address-plan.ts'
import {
  bridgeOf,
  labNetworks,
  namespaceOf,
  networksOf,
  outsideLinks,
  outsideName,
  switchNamespace,
  switchPort,
  type LabNetwork,
} from './names.ts'
import type { LabPorts } from './ports.ts'
import { ipBatch, shell } from './shell.ts'

/** Room for VXLAN's own headers, so that guests have an ordinary 1500. */
const mtuOf: Record<LabNetwork, number> = { management: 1500, storage: 1500, guests: 1600 }

export interface Wiring {
  readonly lab: string
  readonly hosts: readonly string[]
  readonly managers: readonly string[]
  readonly plan: AddressPlan
}

/** Makes all that is missing; what is there stays as it is. */
export async function createWires(ports: LabPorts, wiring: Wiring): Promise<void> {
  const { lab } = wiring
  const there = new Set(await listNamespaces(ports))
  const nodes = [...wiring.hosts, ...wiring.managers]
  const wanted = [switchNamespace(lab), ...nodes.map((node) => namespaceOf(lab, node))]
  await ipBatch(
    ports,
    wanted.filter((name) => !there.has(name)).map((name) => `netns add ${name}`),
  )
  if (!there.has(switchNamespace(lab)) || !(await hasLink(ports, switchNamespace(lab), bridgeOf('guests')))) {
    await createSwitch(ports, wiring)
  }
  const links = new Set(await listLinks(ports, switchNamespace(lab)))
  for (const node of [...nodes, outsideName]) {
    for (const network of networksOf(node)) {
      if (!links.has(switchPort(node, network))) await plug(ports, wiring, node, network)
    }
  }
  await createGateway(ports, wiring)
}

async function createSwitch(ports: LabPorts, { lab, plan }: Wiring): Promise<void> {
  const namespace = switchNamespace(lab)
  await shell(ports, 'ip', [
    ...['netns', 'exec', namespace, 'sysctl', '-q', '-w'],
    ...['net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1'],
  ]).catch(() => undefined)
  await ipBatch(
    ports,
    labNetworks.flatMap((network) => [
      `link add ${bridgeOf(network)} address ${bridgeMac(plan, network)} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
      `link set ${bridgeOf(network)} mtu ${mtuOf[network]} up`,
    ]),
    { namespace },
  )
}

/** One cable from a node to a bridge of the switch. */
async function plug(ports: LabPorts, { lab, plan }: Wiring, node: string, network: LabNetwork): Promise<void> {
  const isOutside = node === outsideName
  const near = isOutside ? outsideLinks(lab)[network === 'guests' ? 'guests' : 'management'] : network
  const port = switchPort(node, network)
  const mtu = mtuOf[network]
  const where = isOutside ? '' : `netns ${namespaceOf(lab, node)}`
  await ipBatch(ports, [
    `link add ${near} address ${macOf(plan, node, network)} mtu ${mtu} ${where} type veth peer name ${port} mtu ${mtu} netns ${switchNamespace(lab)}`,
  ])
  await ipBatch(ports, [`link set ${port} master ${bridgeOf(network)} up`], { namespace: switchNamespace(lab) })
  await ipBatch(
    ports,
    [
      `addr add ${addressOf(plan, node, network)}/24 dev ${near}`,
      `link set ${near} up`,
      ...(isOutside ? [] : ['link set lo up']),
    ],
    isOutside ? {} : { namespace: namespaceOf(lab, node) },
  )
}

/** The machine's own end of the default port group, with the gateway's address. */
async function createGateway(ports: LabPorts, { lab, plan, hosts }: Wiring): Promise<void> {
  const { gateway, guests } = outsideLinks(lab)
  if ((await listLinks(ports)).includes(gateway)) return
  const network = guestNetwork(plan)
  const local = addressOf(plan, outsideName, 'guests')
  await ipBatch(ports, [
    `link add ${gateway} address 02:68:66:${plan.range.toString(16).padStart(2, '0')}:64:01 mtu 1500 type vxlan id ${network.vni} local ${local} dev ${guests} dstport 4789`,
    `addr add ${network.gateway}/${network.prefix} dev ${gateway}`,
    `link set ${gateway} up`,
  ])
  for (const host of hosts) {
    const end = addressOf(plan, host, 'guests')
    await shell(ports, 'bridge', ['fdb', 'append', '00:00:00:00:00:00', 'dev', gateway, 'dst', end])
  }
}

/** What a power cut leaves of a node's networks: its cables. Bridges, tunnels, taps and rules were in its memory. */
export async function resetNode(ports: LabPorts, lab: string, node: string): Promise<void> {
  const namespace = namespaceOf(lab, node)
  const kept: readonly string[] = ['lo', ...networksOf(node)]
  const gone = (await listLinks(ports, namespace)).filter((link) => !kept.includes(link))
  await ipBatch(
    ports,
    gone.map((link) => `link del ${link}`),
    { namespace, force: true },
  )
  await shell(ports, 'ip', ['netns', 'exec', namespace, 'nft', 'flush', 'ruleset'])
}

/** Removes every namespace and link of a lab, by their names. */
export async function removeWires(ports: LabPorts, lab: string): Promise<void> {
  const here = new Set(await listLinks(ports))
  const links = outsideLinks(lab)
  // Links first: a namespace's own end goes when the kernel gets round to it, and its name is free only then.
  await ipBatch(
    ports,
    [links.gateway, links.management, links.guests].filter((name) => here.has(name)).map((name) => `link del ${name}`),
    { force: true },
  )
  const namespaces = await labNamespaces(ports, lab)
  const inner = namespaces.find((name) => name === switchNamespace(lab))
  if (inner !== undefined) {
    const ends = (await listLinks(ports, inner)).filter((name) => name !== 'lo')
    await ipBatch(
      ports,
      ends.map((name) => `link del ${name}`),
      { namespace: inner, force: true },
    )
  }
  await ipBatch(
    ports,
    namespaces.map((name) => `netns del ${name}`),
  )
}

/** The namespaces of one lab; `hf-a-…` is never one of a lab `a-b`, since names have no dash. */
export async function labNamespaces(ports: LabPorts, lab: string): Promise<string[]> {
  const own = new RegExp(`^hf-${lab}-(sw|mgr[0-9]?|host[0-9]+)$`)
  return (await listNamespaces(ports)).filter((name) => own.test(name))
}

async function listNamespaces(ports: LabPorts): Promise<string[]> {
  return await ports.files.list('/run/netns').catch(() => [])
}

/** Links of a namespace (the machine's own when absent). */
export async function listLinks(ports: LabPorts, namespace?: string): Promise<string[]> {
  const text = await shell(ports, 'ip', [...(namespace === undefined ? [] : ['-n', namespace]), '-j', 'link', 'show'])
  return (JSON.parse(text || '[]') as { ifname: string }[]).map((link) => link.ifname)
}

async function hasLink(ports: LabPorts, namespace: string, name: string): Promise<boolean> {
  return (await listLinks(ports, namespace)).includes(name)
}

/** Destinations that the machine has routes to, as `ip route` prints them. */
export async function machineRoutes(ports: LabPorts): Promise<string[]> {
  const text = await shell(ports, 'ip', ['-j', 'route', 'show', 'table', 'all'])
  const rows = JSON.parse(text || '[]') as { dst?: string; type?: string }[]
  return rows.flatMap((row) => (row.dst === undefined || row.dst === 'default' ? [] : [row.dst]))
}
