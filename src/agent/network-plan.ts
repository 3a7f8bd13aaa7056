/**
 * What `agent join --uplink IF` changes on a machine: a bridge takes the interface as its port, and its addresses and
 * routes, so that VLAN networks and the host share it. The plan is pure and shown first. It is applied with a watchdog:
 * a detached process puts everything back after 60 seconds unless the change was confirmed, even when the ssh session,
 * the join, or the agent is gone by then.
 */
import { join } from 'node:path'
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import type { Processes } from '../base/processes.ts'

export const uplinkBridge = 'hfuplink'
export const confirmWithinSeconds = 60

/** `ip -j address show`, as far as it is used. */
export interface InterfaceFacts {
  readonly ifname: string
  readonly address: string
  readonly mtu: number
  readonly master?: string
  readonly addr_info: readonly { family: string; local: string; prefixlen: number; scope: string; dynamic?: boolean }[]
}

/** `ip -j route show`. */
export interface RouteFacts {
  readonly dst: string
  readonly gateway?: string
  readonly dev: string
  readonly protocol?: string
  readonly metric?: number
}

export interface NetworkPlan {
  /** For people, one change a line. Empty: nothing is to be done. */
  readonly summary: readonly string[]
  /** Lines of `ip -batch`. */
  readonly apply: readonly string[]
  readonly undo: readonly string[]
}

/** Throws `not-found` for an interface that is not there, `refused` for one that is a port of another bridge. */
export function planUplink(
  interfaces: readonly InterfaceFacts[],
  routes: readonly RouteFacts[],
  uplink: string,
): NetworkPlan {
  const found = interfaces.find((one) => one.ifname === uplink)
  if (found === undefined) {
    const names = interfaces.map((one) => one.ifname).join(', ')
    throw new HoldfastError('not-found', `this machine has no interface ${uplink} (it has ${names})`)
  }
  if (found.master === uplinkBridge) return { summary: [], apply: [], undo: [] }
  if (found.master !== undefined) {
    throw new HoldfastError('refused', `${uplink} is a port of ${found.master} already`, {
      mend: `Name ${found.master} itself as the uplink of VLAN networks; nothing has to change for that.`,
    })
  }
  const addresses = found.addr_info.filter((one) => one.scope !== 'link').map((one) => `${one.local}/${one.prefixlen}`)
  const moved = routes.filter((route) => route.dev === uplink && route.protocol !== 'kernel')
  return {
    summary: [
      `a bridge ${uplinkBridge} with ${uplink} as its port and the same MAC, ${found.address}`,
      ...addresses.map((address) => `address ${address} from ${uplink} to ${uplinkBridge}`),
      ...moved.map((route) => `route ${route.dst} through ${uplinkBridge}`),
    ],
    apply: [
      `link add ${uplinkBridge} address ${found.address} mtu ${found.mtu} type bridge stp_state 0 forward_delay 0`,
      `link set ${uplinkBridge} up`,
      ...addresses.map((address) => `address del ${address} dev ${uplink}`),
      `link set ${uplink} master ${uplinkBridge}`,
      ...addresses.map((address) => `address add ${address} dev ${uplinkBridge}`),
      ...moved.map((route) => routeLine(route, uplinkBridge)),
    ],
    undo: [
      `link del ${uplinkBridge}`,
      ...addresses.map((address) => `address replace ${address} dev ${uplink}`),
      ...moved.map((route) => routeLine(route, uplink)),
    ],
  }
}

function routeLine(route: RouteFacts, dev: string): string {
  const via = route.gateway === undefined ? '' : ` via ${route.gateway}`
  const metric = route.metric === undefined ? '' : ` metric ${route.metric}`
  return `route replace ${route.dst}${via} dev ${dev}${metric}`
}

export interface PlanPorts {
  readonly files: Files
  readonly processes: Processes
}

/** Reads what the machine has now and plans. */
export async function readAndPlan(processes: Processes, uplink: string): Promise<NetworkPlan> {
  const ask = async <T>(args: readonly string[]): Promise<T> => {
    const { code, stdout, stderr } = await processes.run('ip', args)
    if (code !== 0) throw new HoldfastError('host-error', `ip says: ${stderr.trim()}`)
    return JSON.parse(stdout || '[]') as T
  }
  const interfaces = await ask<InterfaceFacts[]>(['-j', 'address', 'show'])
  return planUplink(interfaces, await ask<RouteFacts[]>(['-j', 'route', 'show']), uplink)
}

/** Waits, then undoes, unless the file that confirms is there. `-force`: one line that fails must not keep the rest. */
const watchdogScript = 'sleep "$1"; [ -e "$2/confirmed" ] || ip -force -batch "$2/undo"; rm -rf "$2"'

/**
 * Applies the plan with its watchdog running before the first change. Resolves when applied: `confirmPlan` within 60
 * seconds keeps it. When a change fails everything is put back at once.
 */
export async function applyPlan(
  ports: PlanPorts,
  plan: NetworkPlan,
  runDirectory: string,
  withinSeconds = confirmWithinSeconds,
): Promise<void> {
  const folder = join(runDirectory, 'network-change')
  await ports.files.makeDirectory(folder, { mode: 0o700 })
  await ports.files.remove(join(folder, 'confirmed'))
  await ports.files.write(join(folder, 'undo'), `${plan.undo.join('\n')}\n`)
  const args = ['-c', watchdogScript, 'sh', String(withinSeconds), folder]
  await ports.processes.startDetached('sh', args, { logFile: join(runDirectory, 'network-change.log') })
  const input = `${plan.apply.join('\n')}\n`
  const { code, stderr } = await ports.processes.run('ip', ['-batch', '-'], { input })
  if (code === 0) return
  await ports.processes.run('ip', ['-force', '-batch', join(folder, 'undo')])
  await confirmPlan(ports, runDirectory)
  throw new HoldfastError('host-error', `the network change failed and was taken back: ${stderr.trim()}`)
}

/** Keeps what was applied: the watchdog does nothing when its time comes. Throws `wrong-state` when it has come already. */
export async function confirmPlan(ports: PlanPorts, runDirectory: string): Promise<void> {
  const folder = join(runDirectory, 'network-change')
  if ((await ports.files.stat(folder)) === undefined) {
    throw new HoldfastError('wrong-state', 'there is no network change to confirm: it was taken back, or never made')
  }
  await ports.files.write(join(folder, 'confirmed'), '')
}
