/** What `lab status` shows: power, faults, and what the manager says of the hosts, when it answers. */
import { createClient } from '../contracts/client.ts'
import type { Host, Manager } from '../contracts/inventory.ts'
import { addressOf, managerUrl } from './address-plan.ts'
import type { PowerStatus } from './daemon.ts'
import type { Lab } from './lab.ts'
import { isManager, networksOf, switchNamespace, switchPort } from './names.ts'
import { managersOf, type Cut } from './state.ts'
import { readClientFile } from './up.ts'
import { listLinks } from './switch.ts'

export interface NodeStatus {
  readonly id: string
  readonly name: string
  readonly power: PowerStatus['power']
  readonly address: string
  readonly watchdogMs: number | null
  readonly watchdogResets: number
  /** The host's state as the manager sees it; for the manager itself whether it answers. */
  readonly state: string
  readonly vms: number | null
  /** Faults of its storage, in words. */
  readonly faults: readonly string[]
  /** Cables that are missing. */
  readonly missingLinks: readonly string[]
}

export interface LabStatus {
  readonly name: string
  readonly phase: 'creating' | 'up'
  readonly folder: string
  readonly url: string
  readonly nodes: readonly NodeStatus[]
  readonly cuts: readonly Cut[]
}

const answerMs = 3000

export async function labStatus(lab: Lab): Promise<LabStatus> {
  const state = await lab.existing()
  const seen = await managerView(lab)
  const ports = new Set(await listLinks(lab.ports, switchNamespace(lab.name)).catch(() => []))
  const nodes = await Promise.all(
    [...managersOf(state), ...state.hosts].map(async (node): Promise<NodeStatus> => {
      const status = await powerOf(lab, node)
      const storage = state.storage.find(({ host }) => host === node)
      const host = seen?.hosts.find(({ name }) => name === node)
      return {
        id: node,
        name: node,
        ...status,
        address: addressOf(state.plan, node, 'management'),
        state: isManager(node) ? stateOfManager(seen, node) : (host?.state ?? 'unknown'),
        vms: host?.vmCount ?? null,
        faults: [
          ...(storage === undefined
            ? []
            : [storage.kind === 'slow' ? 'storage slow' : `storage cut (${storage.kind})`]),
          ...(state.filled.includes(node) ? ['disk full'] : []),
        ],
        missingLinks: networksOf(node).filter((network) => !ports.has(switchPort(node, network))),
      }
    }),
  )
  const { name, phase, cuts } = state
  return { name, phase, folder: lab.folder, url: managerUrl(state.plan), nodes, cuts }
}

/** Asks labd; when that is dead the cgroups know whether a host is on. */
async function powerOf(lab: Lab, node: string): Promise<PowerStatus> {
  try {
    return await lab.power(node, 'status')
  } catch {
    return { power: await lab.machines.cgroups.power(node), watchdogMs: null, watchdogResets: 0 }
  }
}

/** Of one manager: whether it answers. Of several: which leads. */
function stateOfManager(seen: Seen | undefined, node: string): string {
  if (seen === undefined) return 'does not answer'
  return seen.managers.length > 1 ? (seen.managers.find(({ name }) => name === node)?.state ?? 'unknown') : 'answers'
}

interface Seen {
  readonly hosts: readonly Host[]
  readonly managers: readonly Manager[]
}

async function managerView(lab: Lab): Promise<Seen | undefined> {
  try {
    const client = createClient(lab.ports.network, await readClientFile(lab))
    const limit = { signal: AbortSignal.timeout(answerMs) }
    const { items: hosts } = await client.call('listHosts', {}, limit)
    return { hosts, managers: (await client.call('listManagers', {}, limit)).items }
  } catch {
    return undefined
  }
}
