/** The hosts as machines: switched on in their own namespaces and cgroup, switched off by killing all that is in it. */
import { HoldfastError } from '../base/errors.ts'
import { ArrayClient } from './array-client.ts'
import { Cgroups, outsideGroup } from './cgroups.ts'
import { insideHost, isManager, namespaceOf, nodeFolders, registryFolder } from './names.ts'
import type { LabPorts, Launcher } from './ports.ts'
import { readTail } from './read-tail.ts'
import { makeMountPoints } from './registry.ts'
import { shell } from './shell.ts'
import { resetNode } from './switch.ts'

export interface Machines {
  readonly ports: LabPorts
  readonly launcher: Launcher
  readonly lab: string
  readonly folder: string
  readonly cgroups: Cgroups
}

/** A service of a host that its init keeps running: a `holdfast` command, or another program. */
export interface Service {
  readonly name: string
  readonly args: readonly string[]
  /** Absent: `holdfast`. */
  readonly program?: string
}

/** Where a host's init reads what to run, as the host sees it, and where its logs are. */
export const initFolder = `${insideHost.data}/init`

/** The lab's own program, which starts faster than the whole CLI. */
function labMain(): string {
  return `${import.meta.dirname}/main.ts`
}

/**
 * Runs first in a host: `$1` name, `$2` data, `$3` run, `$4` etc, `$5` registry, then the command. A host sees its own
 * /sys (for its links), its own cgroup as the root, its own Holdfast folders, its own /dev/shm (what programs leave there is
 * gone with the power), and no other lab's mounts, which it would keep from going away.
 */
const enter = `
set -e
name=$1 data=$2 run=$3 etc=$4 registry=$5
shift 5
own=\${data%/hosts/*}
for entry in "$registry"/*; do
  [ -f "$entry" ] || continue
  other=$(cat "$entry")
  [ "$other" != "$own" ] || continue
  awk -v p="$other/" 'index($5, p) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r path; do umount -n -l "$path" || true; done
done
hostname "$name"
# The data last: it hides where the others come from.
mount -n --bind "$run" ${insideHost.run}
mount -n --bind "$etc" ${insideHost.etc}
mount -n --rbind "$data" ${insideHost.data}
umount -n -l /sys || true
mount -n -t sysfs sysfs /sys
mount -n -t cgroup2 cgroup2 /sys/fs/cgroup
[ ! -d /dev/shm ] || mount -n -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
exec "$@"
`

const initStartMs = 20_000

/**
 * Switches a node on: its init starts, and with it the services it has. Resolves when init runs, so that commands can be
 * run inside. Nothing happens when it is on. Throws `host-error` when init does not start.
 */
export async function powerOn(machines: Machines, node: string): Promise<void> {
  const { ports, cgroups, lab, folder, launcher } = machines
  await cgroups.create(node)
  if ((await cgroups.power(node)) !== 'off') return
  const own = nodeFolders(folder, node)
  await prepareFolders(ports, own)
  await resetNode(ports, lab, node)
  const inside = [own.data, own.run, own.etc, registryFolder]
  await ports.processes.startDetached(
    'sh',
    [
      ...['-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroups.group(node)],
      ...['nsenter', `--net=/run/netns/${namespaceOf(lab, node)}`],
      ...['unshare', '--mount', '--uts', '--cgroup', '--propagation', 'slave'],
      ...['sh', '-c', enter, 'enter', node, ...inside],
      ...[launcher.node, labMain(), 'internal', 'init', launcher.main],
    ],
    { logFile: `${own.home}/init.log`, cwd: '/' },
  )
  const until = ports.clock.monotonic() + initStartMs
  while ((await ports.files.stat(`${own.run}/init.pid`)) === undefined) {
    // Whatever failed before init has left an empty host. At first it is empty too: the shell is about to enter it.
    const hasFailed = ports.clock.monotonic() > until - initStartMs + 4000 && (await cgroups.power(node)) === 'off'
    if (hasFailed || ports.clock.monotonic() > until) {
      const said = await readTail(ports, `${own.home}/init.log`, 4)
      throw new HoldfastError('host-error', `${node} does not come up: ${said}`, { mend: `See ${own.home}/init.log.` })
    }
    await ports.clock.sleep(10)
  }
}

/** The folders that a host has, and those of the machine that it mounts them over. /run is empty after each boot. */
async function prepareFolders(ports: LabPorts, own: ReturnType<typeof nodeFolders>): Promise<void> {
  for (const path of [own.data, own.run, own.etc, `${own.data}/init`, `${own.run}/bmc`]) {
    await ports.files.makeDirectory(path)
  }
  await makeMountPoints(ports)
  for (const name of await ports.files.list(own.run)) {
    if (name !== 'bmc') await ports.files.remove(`${own.run}/${name}`)
  }
}

/** Ends all that a node runs, at once, frozen or hanging on its storage or not. */
export async function powerOff(machines: Machines, node: string): Promise<void> {
  const { cgroups, ports, folder, lab } = machines
  await cgroups.kill(node, async () => {
    // Requests in flight that no signal reaches (asynchronous ones) would keep a process from ending.
    if (!isManager(node)) await new ArrayClient(ports, folder).dropHeld(node).catch(() => undefined)
  })
  // The kernel goes on sending what the dead had written: a machine that is off would be heard once the network is well again.
  await shell(ports, ...headOf(insideCommand(lab, node, undefined, ['ss', '--kill', '--all', '--tcp'])))
}

function headOf([command = '', ...rest]: readonly string[]): [string, string[]] {
  return [command, rest]
}

/** Starts one of the lab's own programs outside of the hosts, detached. */
export async function startOutside(machines: Machines, kind: 'labd' | 'array'): Promise<void> {
  const { ports, cgroups, folder, launcher, lab } = machines
  await cgroups.create(outsideGroup)
  await ports.processes.startDetached(
    'sh',
    [
      ...['-c', 'echo $$ >"$0/cgroup.procs" && exec "$@"', cgroups.group(outsideGroup)],
      ...[launcher.node, labMain(), 'internal', kind, lab, folder, launcher.main],
    ],
    { logFile: `${folder}/${kind}.log`, cwd: '/' },
  )
}

/**
 * The command line that runs another one within a node's namespaces. `pid` is that of the node's init, whose mounts and
 * names it shares; without one (the node is off) only the network is the node's.
 */
export function insideCommand(
  lab: string,
  node: string,
  pid: number | undefined,
  command: readonly string[],
): string[] {
  if (pid === undefined) return ['nsenter', `--net=/run/netns/${namespaceOf(lab, node)}`, ...command]
  return ['nsenter', `--target=${pid}`, '--net', '--mount', '--uts', '--cgroup', ...command]
}
