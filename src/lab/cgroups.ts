/**
 * One cgroup v2 folder per lab, in it one per host, one for the manager and one for what stands outside of the hosts. All
 * that a host runs is in its folder, so killing or freezing the folder kills or freezes the host, whatever it started.
 */
import { HoldfastError } from '../base/errors.ts'
import type { Files } from '../base/files.ts'
import { cgroupName } from './names.ts'
import type { LabPorts } from './ports.ts'
import { shell } from './shell.ts'

export const outsideGroup = 'outside'

export type Power = 'on' | 'off' | 'frozen'

/** Where cgroup v2 is mounted: by itself, or beside v1. Throws `host-error` where it is not. */
export async function cgroupRoot(files: Files): Promise<string> {
  const mounts = await files.readText('/proc/self/mountinfo')
  for (const line of mounts.split('\n')) {
    const fields = line.split(' ')
    if (fields[fields.indexOf('-') + 1] === 'cgroup2' && fields[3] === '/') return fields[4] ?? ''
  }
  throw new HoldfastError('host-error', 'this machine has no cgroup v2 file system', {
    mend: 'Mount it: mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified',
  })
}

export class Cgroups {
  readonly #ports: LabPorts
  /** The lab's own folder. */
  readonly path: string

  private constructor(ports: LabPorts, path: string) {
    this.#ports = ports
    this.path = path
  }

  static async open(ports: LabPorts, lab: string): Promise<Cgroups> {
    return new Cgroups(ports, `${await cgroupRoot(ports.files)}/${cgroupName(lab)}`)
  }

  group(node: string): string {
    return `${this.path}/${node}`
  }

  async create(node: string): Promise<void> {
    await this.#ports.files.makeDirectory(this.group(node)).catch(ignoreUnsyncable)
  }

  async power(node: string): Promise<Power> {
    const events = await this.#ports.files.readText(`${this.group(node)}/cgroup.events`).catch(() => '')
    if (!events.includes('populated 1')) return 'off'
    const freeze = await this.#ports.files.readText(`${this.group(node)}/cgroup.freeze`).catch(() => '0')
    return freeze.trim() === '1' ? 'frozen' : 'on'
  }

  /** Ends all at once, frozen or not, and waits until nothing is left; `meanwhile` may help the last ones to end. */
  async kill(node?: string, meanwhile?: () => Promise<void>): Promise<void> {
    const path = node === undefined ? this.path : this.group(node)
    if ((await this.#ports.files.stat(path)) === undefined) return
    await this.#ports.files.write(`${path}/cgroup.kill`, '1')
    await meanwhile?.()
    await this.#waitEmpty(path)
    // So that what is started here next is not born frozen.
    if (node !== undefined) await this.#ports.files.write(`${path}/cgroup.freeze`, '0')
  }

  async freeze(node: string, isFrozen: boolean): Promise<void> {
    await this.#ports.files.write(`${this.group(node)}/cgroup.freeze`, isFrozen ? '1' : '0')
  }

  /** Processes in a node's folder and below. */
  async processes(node: string): Promise<number[]> {
    // A VM's folder may go while it is looked at: that one has no processes then. The node's own must be there.
    const group = this.group(node)
    await shell(this.#ports, 'test', ['-d', group])
    const look = 'find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true'
    const found = await shell(this.#ports, 'sh', ['-c', look, 'sh', group])
    return found.split('\n').filter(Boolean).map(Number)
  }

  /** Removes the lab's folders. They must be empty of processes. */
  async remove(): Promise<void> {
    if ((await this.#ports.files.stat(this.path)) === undefined) return
    await shell(this.#ports, 'find', [this.path, '-depth', '-type', 'd', '-exec', 'rmdir', '{}', ';'])
  }

  async #waitEmpty(path: string): Promise<void> {
    const until = this.#ports.clock.monotonic() + 15_000
    for (let pauseMs = 1; ; pauseMs = Math.min(2 * pauseMs, 50)) {
      const events = await this.#ports.files.readText(`${path}/cgroup.events`)
      if (events.includes('populated 0')) return
      if (this.#ports.clock.monotonic() > until) {
        throw new HoldfastError('timeout', `processes in ${path} were killed and do not end`, {
          mend: 'They hang in the kernel: `lab heal` lifts what storage faults hold; else see `ps -eo pid,stat,wchan,args`.',
        })
      }
      await this.#ports.clock.sleep(pauseMs)
    }
  }
}

/** The kernel's cgroup file system cannot sync a folder. */
function ignoreUnsyncable(thrown: unknown): void {
  if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'EINVAL')) throw thrown
}
