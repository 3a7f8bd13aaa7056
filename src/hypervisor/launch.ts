/** How QEMU is started: in its cgroup, as its user, with no capability and no way to get one. Pure. */
import type { MachineConfig } from './hypervisor.ts'

export interface Launch {
  readonly command: string
  readonly args: readonly string[]
}

/** Writes itself into the cgroup before it becomes QEMU, so that QEMU has no instant outside of it. */
const joinCgroup = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'

export function launchOf(binary: string, config: MachineConfig, qemuArguments: readonly string[]): Launch {
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
  if (config.cgroup !== null) argv = ['sh', '-c', joinCgroup, 'sh', config.cgroup, ...argv]
  const [command = binary, ...args] = argv
  return { command, args }
}
