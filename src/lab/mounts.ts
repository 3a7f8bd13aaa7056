/**
 * What a lab mounts: a file system of its own for each host's local datastore, a folder for the shared one, and for each
 * node's /run memory.
 */
import { HoldfastError } from '../base/errors.ts'
import { nodeFolders, storageFolders } from './names.ts'
import type { LabPorts } from './ports.ts'
import { shell, succeeds } from './shell.ts'

export const defaultDiskGiB = 20

export interface Mount {
  readonly path: string
  readonly kind: string
  readonly source: string
}

/** What is mounted in this process's namespace, in order. */
export async function listMounts(ports: Pick<LabPorts, 'files'>): Promise<Mount[]> {
  const text = await ports.files.readText('/proc/self/mountinfo')
  return text
    .split('\n')
    .filter(Boolean)
    .map((line) => {
      const fields = line.split(' ')
      const dash = fields.indexOf('-')
      return { path: unescape(fields[4] ?? ''), kind: fields[dash + 1] ?? '', source: unescape(fields[dash + 2] ?? '') }
    })
}

/** The kernel writes a space as \040, and so on. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

export async function isMounted(ports: Pick<LabPorts, 'files'>, path: string): Promise<boolean> {
  return (await listMounts(ports)).some((mount) => mount.path === path)
}

/** Makes and mounts what stands behind a host's storage. What is there stays. */
export async function createDisks(
  ports: LabPorts,
  folder: string,
  host: string,
  options: { hasShared: boolean; diskGiB: number },
): Promise<void> {
  const { files } = ports
  const place = storageFolders(folder, host)
  for (const path of [place.local, place.mount, `${folder}/disks`]) await files.makeDirectory(path)
  if ((await files.stat(`${place.image}.ready`)) === undefined) {
    await shell(ports, 'truncate', ['-s', `${options.diskGiB}G`, place.image])
    // A small journal and no zeroing ahead keep the file sparse: an empty disk takes a few megabytes.
    const settings = 'lazy_itable_init=1,lazy_journal_init=1,nodiscard'
    await shell(ports, 'mke2fs', ['-q', '-F', '-t', 'ext4', '-m', '0', '-J', 'size=8', '-E', settings, place.image])
    await files.write(`${place.image}.ready`, '')
  }
  if (!(await isMounted(ports, place.local))) await mountLoop(ports, place.image, place.local)
  if (!options.hasShared) return
  const shared = `${folder}/array/shared`
  for (const path of [shared, place.shared]) await files.makeDirectory(path)
  if (!(await isMounted(ports, place.shared))) await shell(ports, 'mount', ['--bind', shared, place.shared])
}

/** /run of a node is memory, as on every machine: what is written there waits for no disk. What is mounted stays. */
export async function mountRun(ports: LabPorts, folder: string, node: string): Promise<void> {
  const { run } = nodeFolders(folder, node)
  await ports.files.makeDirectory(run)
  if (await isMounted(ports, run)) return
  await shell(ports, 'mount', ['-t', 'tmpfs', '-o', 'mode=755,nosuid,nodev,size=1g', 'tmpfs', run])
}

async function mountLoop(ports: LabPorts, image: string, path: string): Promise<void> {
  try {
    await shell(ports, 'mount', ['-t', 'ext4', '-o', 'loop,discard', image, path])
  } catch (thrown) {
    throw new HoldfastError(
      'host-error',
      `the disk ${image} cannot be mounted`,
      { mend: 'The lab needs loop devices: run it on a machine or VM, not in a container without /dev/loop*.' },
      { cause: thrown },
    )
  }
}

/**
 * Breaks the storage paths below a folder: what waits on one gets an error. So a process that hangs on storage whose
 * array is gone can end.
 */
export async function breakStoragePaths(ports: LabPorts, folder: string): Promise<void> {
  for (const { path, kind } of await listMounts(ports)) {
    if (kind === 'fuse.holdfast' && path.startsWith(`${folder}/`)) await succeeds(ports, 'umount', ['-n', '-f', path])
  }
}

/** Takes away all mounts below a folder, the newest first, also those whose server is dead, and the loop devices there. */
export async function removeMounts(ports: LabPorts, folder: string): Promise<void> {
  const below = (await listMounts(ports)).filter((mount) => mount.path.startsWith(`${folder}/`))
  for (const { path } of below.reverse()) {
    if (!(await succeeds(ports, 'umount', ['-n', path]))) await shell(ports, 'umount', ['-n', '-l', path])
  }
  for (const device of await loopDevices(ports, folder)) await succeeds(ports, 'losetup', ['-d', device])
}

/** Loop devices over files below a folder. */
export async function loopDevices(ports: LabPorts, folder: string): Promise<string[]> {
  const text = await shell(ports, 'losetup', ['-J', '-l', '-O', 'NAME,BACK-FILE'])
  const rows =
    text.trim() === '' ? [] : (JSON.parse(text) as { loopdevices: Record<string, string | null>[] }).loopdevices
  return rows.flatMap((row) => ((row['back-file'] ?? '').startsWith(`${folder}/`) ? [row['name'] ?? ''] : []))
}

const fillName = '.lab-fill'

/** Takes every free block of a host's local datastore. */
export async function fillDisk(ports: LabPorts, folder: string, host: string): Promise<void> {
  await fillFolder(ports, storageFolders(folder, host).local)
}

export async function unfillDisk(ports: LabPorts, folder: string, host: string): Promise<void> {
  await unfillFolder(ports, storageFolders(folder, host).local)
}

/** Takes every free block of the file system that a folder is the top of. */
export async function fillFolder(ports: LabPorts, path: string): Promise<void> {
  // Each time a little less, since the file's own index takes blocks too.
  for (let round = 0; round < 8; round++) {
    const { freeBytes } = await ports.files.space(path)
    if (freeBytes < 4096) break
    const size = Math.max(4096, freeBytes - (round === 0 ? 1024 * 1024 : 0))
    await succeeds(ports, 'fallocate', ['-l', String(size), `${path}/${fillName}.${round}`])
  }
}

export async function unfillFolder(ports: LabPorts, path: string): Promise<void> {
  for (const name of await ports.files.list(path).catch(() => [])) {
    if (name.startsWith(fillName)) await ports.files.remove(`${path}/${name}`)
  }
}
