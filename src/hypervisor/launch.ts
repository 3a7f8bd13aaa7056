/**
 * How QEMU is started: in its cgroup, as its user, with no capability and no way to get one. Pure.
 *
 * The started program becomes QEMU only while its permit, a file of one launch, is there: whoever finds a launch that was
 * cut short takes the permit away, and then ends what has passed it (orphans.ts). So no QEMU comes up unknown.
 */
import type { MachineConfig } from './hypervisor.ts'

export interface Launch {
  readonly command: string
  readonly args: readonly string[]
}

const checkPermit = 'test -e "$1" && shift && exec "$@"'
/** Writes itself into the cgroup before it becomes QEMU, so that QEMU has no instant outside of it. */
const joinCgroup = 'echo $$ > "$2/cgroup.procs" && test -e "$1" && shift 2 && exec "$@"'

export function launchOf(
  binary: string,
  config: MachineConfig,
  qemuArguments: readonly string[],
  permit: string,
): Launch {
  let argv = [binary, ...qemuArguments]
  if (config.runAs !== null) {
    const groups = config.accelerator === 'kvm' ? ['--groups', 'kvm'] : ['--clear-groups']
    const { uid, gid } = config.runAs
    argv = [
      'setpriv',
      '--reuid',
      String(uid),
      '--regid',
      String(gid),
      ...groups,
      '--bounding-set=-all',
      '--inh-caps=-all',
      '--no-new-privs',
      '--',
      ...argv,
    ]
  }
  const guard = config.cgroup === null ? [checkPermit, 'sh', permit] : [joinCgroup, 'sh', permit, config.cgroup]
  return { command: 'sh', args: ['-c', ...guard, ...argv] }
}
