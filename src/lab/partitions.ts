/** Which frames the lab's switch drops. The rules are compiled from the cuts, all at once, so no state is half in force. */
import { HoldfastError } from '../base/errors.ts'
import {
  labNetworks,
  managerName,
  networksOf,
  outsideName,
  switchNamespace,
  switchPort,
  type LabNetwork,
} from './names.ts'
import type { LabPorts } from './ports.ts'
import { shell } from './shell.ts'
import type { Cut } from './state.ts'

export interface PartitionRequest {
  readonly hosts: readonly string[]
  /** Default: everybody else. */
  readonly from?: readonly string[]
  /** Default: all three. */
  readonly network?: LabNetwork
  /** Only what `hosts` send is lost; they still hear. */
  readonly isOneWay: boolean
}

/** The directions that a partition cuts. Throws `not-found` for a name that is nobody's. */
export function cutsOf(
  request: PartitionRequest,
  allHosts: readonly string[],
  managers: readonly string[] = [managerName],
): Cut[] {
  const everybody = [...allHosts, ...managers, outsideName]
  const others = request.from ?? everybody.filter((node) => !request.hosts.includes(node))
  for (const node of [...request.hosts, ...others]) {
    if (everybody.includes(node)) continue
    throw new HoldfastError('not-found', `the lab has no "${node}"`, { mend: `Use one of: ${everybody.join(', ')}.` })
  }
  const cuts: Cut[] = []
  for (const network of request.network === undefined ? labNetworks : [request.network]) {
    for (const host of request.hosts) {
      for (const other of others) {
        if (host === other || !networksOf(host).includes(network) || !networksOf(other).includes(network)) continue
        cuts.push({ from: host, to: other, network })
        if (!request.isOneWay) cuts.push({ from: other, to: host, network })
      }
    }
  }
  return cuts
}

/** Two sets of cuts as one. */
export function mergeCuts(one: readonly Cut[], other: readonly Cut[]): Cut[] {
  const all = new Map([...one, ...other].map((cut) => [`${cut.network} ${cut.from} ${cut.to}`, cut]))
  return [...all.values()]
}

/** The switch's whole rule set for these cuts. */
export function ruleset(cuts: readonly Cut[]): string {
  const rules = cuts.map(
    ({ from, to, network }) =>
      `    iifname "${switchPort(from, network)}" oifname "${switchPort(to, network)}" counter drop`,
  )
  return [
    'table bridge lab',
    'delete table bridge lab',
    'table bridge lab {',
    '  chain forward {',
    '    type filter hook forward priority 0; policy accept;',
    ...rules,
    '  }',
    '}',
    '',
  ].join('\n')
}

/** Puts exactly these cuts in force. */
export async function applyCuts(ports: LabPorts, lab: string, cuts: readonly Cut[]): Promise<void> {
  const input = ruleset(cuts)
  await shell(ports, 'ip', ['netns', 'exec', switchNamespace(lab), 'nft', '-f', '-'], { input })
}
