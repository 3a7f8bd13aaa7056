/**
 * What all labs of a machine share: the list of them, and the folders that their hosts mount their own over. Removing such
 * a folder would take the mounts of every other lab's hosts away, whatever namespace these are in. So both change under
 * one lock (of the folder /run, which leaves no file behind), and the folders go with the last lab alone.
 */
import { defaultLabClientFile, defaultLabsFolder, mountPoints, rangesLock, registryFolder } from './names.ts'
import type { LabPorts } from './ports.ts'
import { shell } from './shell.ts'

/** Runs a shell script under the lock; `$1`, `$2` … are `args`. */
async function underLock(ports: LabPorts, script: string, args: readonly string[]): Promise<void> {
  await shell(ports, 'flock', ['-w', '20', '/run', 'sh', '-c', script, 'registry', ...args])
}

/** Writes a lab into the list, with its folder. */
export async function register(ports: LabPorts, lab: string, folder: string): Promise<void> {
  const script = 'mkdir -p "$1" && printf "%s\\n" "$3" > "$1/$2"'
  await underLock(ports, script, [registryFolder, lab, folder])
}

/** Folders of the labs in the list. */
export async function registeredFolders(ports: LabPorts, registry = registryFolder): Promise<string[]> {
  const names = await ports.files.list(registry).catch(() => [])
  const texts = await Promise.all(names.map((name) => ports.files.readText(`${registry}/${name}`).catch(() => '')))
  return texts.map((text) => text.trim()).filter((folder) => folder.startsWith('/'))
}

/** Sees to it that the folders are there; only for a lab that is in the list. */
export async function makeMountPoints(ports: LabPorts): Promise<void> {
  await underLock(ports, 'mkdir -p "$@"', mountPoints)
}

/** Takes a lab from the list, and with the last one what labs share, where it is empty. */
export async function unregister(ports: LabPorts, lab: string): Promise<void> {
  const shared = [defaultLabsFolder, defaultLabClientFile.replace(/\/[^/]*$/, ''), ...mountPoints]
  const script = `
registry=$1 lab=$2 ranges=$3
shift 3
rm -f "$registry/$lab"
[ -d "$registry" ] || exit 0
rmdir "$registry" 2>/dev/null || exit 0
rm -f "$ranges"
for folder in "$@"; do rmdir "$folder" 2>/dev/null || true; done
`
  await underLock(ports, script, [registryFolder, lab, rangesLock, ...shared])
}
