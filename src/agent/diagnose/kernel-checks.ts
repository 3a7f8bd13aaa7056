/**
 * What the kernel must offer. Network features are really tried, in a network namespace of their own that is gone with the
 * process that tries them.
 */
import type { DiagnosePorts, DiagnoseSettings } from './diagnose.ts'
import { fine, warning, wrong, type Check, type Finding } from './finding.ts'

type Look = Omit<Finding, 'id' | 'name'>

export function kernelChecks(ports: DiagnosePorts, settings: DiagnoseSettings): Check[] {
  return [
    { id: 'namespaces', name: 'namespaces', look: () => lookAtNamespaces(ports) },
    { id: 'cgroups', name: 'cgroup v2', look: () => lookAtCgroups(ports) },
    { id: 'tun', name: 'tap devices', look: () => tried(ports, settings, tapTrial) },
    { id: 'bridge', name: 'bridges', look: () => tried(ports, settings, bridgeTrial) },
    { id: 'vxlan', name: 'VXLAN', look: () => tried(ports, settings, vxlanTrial) },
    { id: 'vlan', name: 'VLAN', look: () => tried(ports, settings, vlanTrial) },
    { id: 'nftables', name: 'nftables on bridges', look: () => tried(ports, settings, nftTrial) },
  ]
}

async function lookAtNamespaces({ files }: DiagnosePorts): Promise<Look> {
  const wanted = ['net', 'mnt', 'pid', 'uts', 'ipc']
  const there = await files.list('/proc/self/ns')
  const missing = wanted.filter((kind) => !there.includes(kind))
  if (missing.length === 0) return fine(wanted.join(', '))
  return wrong(`the kernel has none for ${missing.join(', ')}`, 'Run a kernel with namespaces, as Debian has it.')
}

async function lookAtCgroups({ files }: DiagnosePorts): Promise<Look> {
  const mounts = await files.readText('/proc/self/mounts')
  const place = mounts
    .split('\n')
    .map((line) => line.split(' '))
    .find((fields) => fields[2] === 'cgroup2')?.[1]
  if (place === undefined) {
    return wrong('not mounted', 'Start with systemd.unified_cgroup_hierarchy=1, or mount cgroup2 beside cgroup v1.')
  }
  // The root group has no kill file; its presence in any other is a matter of the kernel's version (5.14).
  return fine(`at ${place}`)
}

interface Trial {
  readonly what: string
  /** Commands of a shell, run in a namespace of its own. */
  readonly script: string
  readonly isNeeded: boolean
  readonly mend: string
}

const tapTrial: Trial = {
  what: 'a tap device',
  script: 'ip tuntap add dev t0 mode tap && ip link set t0 up',
  isNeeded: true,
  mend: 'Load the module tun: `sudo modprobe tun`.',
}
const bridgeTrial: Trial = {
  what: 'a bridge',
  script: 'ip link add b0 type bridge && ip link set b0 up',
  isNeeded: true,
  mend: 'Load the module bridge: `sudo modprobe bridge`.',
}
const vxlanTrial: Trial = {
  what: 'a VXLAN',
  script: 'ip link set lo up && ip link add x0 type vxlan id 1 local 127.0.0.1 dev lo dstport 4789',
  isNeeded: true,
  mend: 'Load the module vxlan: `sudo modprobe vxlan`.',
}
const vlanTrial: Trial = {
  what: 'a VLAN',
  script: 'ip link add u0 type veth peer name u1 && ip link add link u0 name u0.5 type vlan id 5',
  isNeeded: false,
  mend: 'Only networks of the kind vlan need it: `sudo modprobe 8021q`.',
}
const nftTrial: Trial = {
  what: 'a rule on a bridge',
  script:
    'nft add table bridge t && nft "add chain bridge t c { type filter hook prerouting priority -300; }" && nft add rule bridge t c ether saddr 02:00:00:00:00:01 arp operation request drop',
  isNeeded: true,
  mend: 'Install nftables and load nf_tables: without it forged addresses are not dropped.',
}

async function tried({ processes }: DiagnosePorts, { isRoot }: DiagnoseSettings, trial: Trial): Promise<Look> {
  if (!isRoot) return warning('not tried', 'Only root can: run `sudo holdfast doctor`.')
  const path = 'PATH=$PATH:/usr/sbin:/sbin'
  const { code, stderr } = await processes.run('unshare', ['--net', 'sh', '-c', `${path}; ${trial.script}`])
  if (code === 0) return fine(`${trial.what} can be made`)
  const why = stderr.trim().split('\n').at(-1) ?? ''
  const words = `${trial.what} cannot be made${why === '' ? '' : `: ${why}`}`
  return trial.isNeeded ? wrong(words, trial.mend) : warning(words, trial.mend)
}
