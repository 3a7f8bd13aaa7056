/** Where each VM's cgroup can be: below the agent's own, in the cgroup v2 tree, so that whoever ends a host's tree ends all. */
import { join } from 'node:path'
import type { Files } from '../base/files.ts'

/**
 * The folder for VMs' cgroups, made; null where this machine has no cgroup v2 tree that may be written to. Hybrid machines
 * have it beside the old hierarchies, so it is found by its mount.
 */
export async function cgroupParent(files: Files, pid: number): Promise<string | null> {
  try {
    const mount = cgroup2Mount(await files.readText('/proc/mounts'))
    const own = cgroup2Path(await files.readText('/proc/self/cgroup'))
    if (mount === undefined || own === undefined) return null
    const members = await files.readText(join(mount, own, 'cgroup.procs'))
    // In another cgroup namespace than the mount's the path would lead to somebody else's group.
    if (!members.split('\n').includes(String(pid))) return null
    const parent = join(mount, own, 'vms')
    await files.makeDirectory(parent)
    return parent
  } catch {
    return null
  }
}

export function cgroup2Mount(mounts: string): string | undefined {
  const line = mounts.split('\n').find((row) => row.split(' ')[2] === 'cgroup2')
  return line?.split(' ')[1]
}

export function cgroup2Path(cgroups: string): string | undefined {
  const line = cgroups.split('\n').find((row) => row.startsWith('0::'))
  return line?.slice(3)
}
