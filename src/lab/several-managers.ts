/** A lab of several managers: a real member of etcd beside each, and the commands that a person runs to make one of them. */
import { addressOf } from './address-plan.ts'
import type { ClientFile } from './cluster.ts'
import { enable, program } from './in-node.ts'
import type { Lab } from './lab.ts'
import type { Service } from './machine.ts'
import { insideHost, managerName, nodeFolders } from './names.ts'
import { managersOf, type LabState } from './state.ts'
import type { Progress } from './world.ts'

const [clientPort, peerPort] = [2379, 2380]

export const managerService: Service = { name: 'manager', args: ['manager', 'run'] }

/** None where there is one manager. */
export function etcdService(state: LabState, node: string): Service[] {
  const managers = managersOf(state)
  if (managers.length === 1) return []
  const own = addressOf(state.plan, node, 'management')
  const peer = (of: string): string => `http://${addressOf(state.plan, of, 'management')}:${peerPort}`
  const options = {
    ...{ name: node, 'data-dir': `${insideHost.data}/etcd`, 'log-level': 'warn' },
    'listen-client-urls': `http://${own}:${clientPort},http://127.0.0.1:${clientPort}`,
    'advertise-client-urls': `http://${own}:${clientPort}`,
    'listen-peer-urls': peer(node),
    'initial-advertise-peer-urls': peer(node),
    'initial-cluster': managers.map((each) => `${each}=${peer(each)}`).join(),
    // Twice as fast as etcd's own: a lead of two seconds outlasts the loss of etcd's leader.
    ...{ 'heartbeat-interval': '50', 'election-timeout': '500' },
  }
  return [{ name: 'etcd', program: 'etcd', args: Object.entries(options).map(([name, value]) => `--${name}=${value}`) }]
}

/** Starts etcd on every manager; what `manager init` is told of it. */
export async function startEtcd(lab: Lab, state: LabState, say: Progress): Promise<string[]> {
  const managers = managersOf(state)
  if (managers.length === 1) return []
  say(`etcd: a member on each of ${managers.join(', ')}`)
  for (const node of managers) await enable(lab, node, etcdService(state, node))
  const members = managers.map((node) => `${addressOf(state.plan, node, 'management')}:${clientPort}`)
  return ['--store', `etcd://${members.join()}`]
}

/** Joins the other managers where they are not, and starts them. */
export async function joinManagers(lab: Lab, state: LabState, first: ClientFile, say: Progress): Promise<void> {
  for (const node of managersOf(state).slice(1)) {
    const settings = `${nodeFolders(lab.folder, node).data}/manager/manager.json`
    if ((await lab.ports.files.stat(settings)) === undefined) {
      say(`${node}: joins with a one-time token`)
      const said = await program(lab, managerName, ['manager', 'token', '--manager'])
      const token = said.trim().split('\n').at(-1) ?? ''
      const address = ['--address', addressOf(state.plan, node, 'management')]
      await program(lab, node, ['manager', 'join', first.url, '--token', token, ...address])
    }
    await enable(lab, node, [...etcdService(state, node), managerService])
  }
}
