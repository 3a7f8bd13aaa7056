/** The small guest that the lab's VMs run, built (or found in the cache) by libexec/guests/build. */
import { HoldfastError } from '../base/errors.ts'
import type { LabPorts } from './ports.ts'
import type { Progress } from './world.ts'

export interface GuestFiles {
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  /** What it prints on its serial line when it is up. */
  readonly ready: string
}

interface Manifest {
  readonly kernel: string
  readonly initrd: string
  readonly cmdline: string
  readonly ready: string
}

/** Holdfast's own folder: where libexec/ is. */
const home = new URL('../../', import.meta.url).pathname
/** The first build fetches a kernel package. */
const buildTimeoutMs = 600_000

/** Installs the Debian packages that a lab needs and that are missing; they say which and why. */
export async function installPackages(ports: LabPorts, say: Progress, role: 'lab' | 'lab-managers'): Promise<void> {
  await libexec(ports, `${home}libexec/install-packages.sh`, [role], say)
}

export async function smallGuest(ports: LabPorts, say: Progress): Promise<GuestFiles> {
  const output = await libexec(ports, `${home}libexec/guests/build`, ['busybox'], say)
  const folder = output.trim().split('\n').at(-1) ?? ''
  const manifest = JSON.parse(await ports.files.readText(`${folder}/manifest.json`)) as Manifest
  return {
    kernel: `${folder}/${manifest.kernel}`,
    initrd: `${folder}/${manifest.initrd}`,
    cmdline: manifest.cmdline,
    ready: manifest.ready,
  }
}

async function libexec(ports: LabPorts, path: string, args: string[], say: Progress): Promise<string> {
  const result = await ports.processes.run(path, args, {
    signal: AbortSignal.timeout(buildTimeoutMs),
    onStderr: (text) => text.split('\n').forEach((line) => line.trim() !== '' && say(line.replace(/^holdfast: /, ''))),
  })
  if (result.code === 0) return result.stdout
  throw new HoldfastError('host-error', `${path} ${args.join(' ')} failed with exit code ${result.code}`, {
    mend: 'What it said is above.',
  })
}
