/** The machine as such: its Debian, processor, memory, disk, clock, ports, and the packages that are needed. */
import { formatSize, GiB } from '../../base/units.ts'
import type { DiagnosePorts, DiagnoseSettings } from './diagnose.ts'
import { fine, warning, wrong, type Check, type Finding } from './finding.ts'

type Look = Omit<Finding, 'id' | 'name'>

export function systemChecks(ports: DiagnosePorts, settings: DiagnoseSettings): Check[] {
  return [
    { id: 'system', name: 'operating system', look: () => lookAtSystem(ports) },
    { id: 'root', name: 'privileges', look: async () => lookAtRoot(settings) },
    { id: 'memory', name: 'memory', look: () => lookAtMemory(ports) },
    { id: 'disk-space', name: 'disk space', look: () => lookAtDisk(ports, settings) },
    { id: 'clock', name: 'clock', look: () => lookAtClock(ports) },
    { id: 'ports', name: 'TCP ports', look: () => lookAtPorts(ports, settings) },
  ]
}

async function lookAtSystem({ files, processes }: DiagnosePorts): Promise<Look> {
  const release = shellValues(await files.readText('/etc/os-release').catch(() => ''))
  const machine = (await processes.run('uname', ['-m'])).stdout.trim()
  const name = release.get('PRETTY_NAME') ?? 'an unknown system'
  if (machine !== 'x86_64') return wrong(`${name} on ${machine}`, 'Holdfast runs on x86-64 machines.')
  if (release.get('ID') === 'debian' && ['12', '13'].includes(release.get('VERSION_ID') ?? '')) return fine(name)
  return warning(name, 'Holdfast is tried on Debian 12 and 13; elsewhere install its packages by hand.')
}

/** `NAME=value` lines, quotes taken off. */
export function shellValues(text: string): Map<string, string> {
  const values = new Map<string, string>()
  for (const line of text.split('\n')) {
    const match = /^([A-Z_]+)=(["']?)(.*)\2$/.exec(line.trim())
    if (match?.[1] !== undefined) values.set(match[1], match[3] ?? '')
  }
  return values
}

function lookAtRoot({ isRoot }: DiagnoseSettings): Look {
  if (isRoot) return fine('root')
  return warning('not root: some checks see less', 'Run `sudo holdfast doctor` for all of them.')
}

async function lookAtMemory({ files }: DiagnosePorts): Promise<Look> {
  const text = await files.readText('/proc/meminfo')
  const bytes = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+([0-9]+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024
  const words = `${formatSize(bytes('MemAvailable'))} available of ${formatSize(bytes('MemTotal'))}`
  if (bytes('MemAvailable') >= GiB) return fine(words)
  return warning(words, 'Free some memory: a lab of three hosts and two small guests takes about 1 GiB.')
}

async function lookAtDisk({ files }: DiagnosePorts, { dataFolder }: DiagnoseSettings): Promise<Look> {
  let folder = dataFolder
  while (folder !== '/' && (await files.stat(folder)) === undefined)
    folder = folder.slice(0, folder.lastIndexOf('/')) || '/'
  const { freeBytes, totalBytes } = await files.space(folder)
  const words = `${formatSize(freeBytes)} free of ${formatSize(totalBytes)} at ${folder}`
  if (freeBytes < GiB) return wrong(words, `Make room on the file system that holds ${dataFolder}.`)
  if (freeBytes < 10 * GiB) return warning(words, `Disks of VMs will lie there: give ${dataFolder} more room.`)
  return fine(words)
}

async function lookAtClock({ files, processes }: DiagnosePorts): Promise<Look> {
  const mend = 'Install and start systemd-timesyncd or chrony: certificates and logs need a clock that is right.'
  const told = await processes.run('timedatectl', ['show', '-p', 'NTPSynchronized', '--value']).catch(() => undefined)
  if (told?.stdout.trim() === 'yes') return fine('synchronized')
  if ((await files.stat('/run/systemd/timesync/synchronized')) !== undefined)
    return fine('synchronized by systemd-timesyncd')
  const chrony = await processes.run('chronyc', ['-c', 'tracking']).catch(() => undefined)
  if (chrony?.code === 0 && !chrony.stdout.includes('Not synchronised')) return fine('synchronized by chrony')
  return warning('nothing here says that it is synchronized', mend)
}

async function lookAtPorts({ files }: DiagnosePorts, { ports }: DiagnoseSettings): Promise<Look> {
  if (ports.length === 0) return fine('none needed')
  const tables = await Promise.all(
    ['/proc/net/tcp', '/proc/net/tcp6'].map((path) => files.readText(path).catch(() => '')),
  )
  const taken = listeningPorts(tables.join('\n'))
  const held = ports.filter(({ port }) => taken.has(port))
  const say = (some: typeof ports): string => some.map(({ port, use }) => `${port} (${use})`).join(', ')
  if (held.length === 0) return fine(`free: ${say(ports)}`)
  return warning(
    `in use: ${say(held)}`,
    'If that is not Holdfast itself, give it another port; `ss -ltnp` says who listens.',
  )
}

/** Ports with a listener, from the text of /proc/net/tcp. */
export function listeningPorts(text: string): Set<number> {
  const ports = new Set<number>()
  for (const match of text.matchAll(/^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F:]+ 0A /gm)) {
    ports.add(Number.parseInt(match[1] ?? '0', 16))
  }
  return ports
}

interface DebianPackage {
  readonly package: string
  readonly reason: string
  readonly installed: boolean
}

/** The packages of the role, by the same list that installs them. */
export function packagesCheck({ processes }: DiagnosePorts, { programFolder, role }: DiagnoseSettings): Check {
  const script = `${programFolder}/libexec/install-packages.sh`
  const look = async (): Promise<Look> => {
    const { code, stdout, stderr } = await processes.run(script, ['--json', role])
    if (code !== 0) return warning(`the list of packages could not be read: ${stderr.trim()}`, `Run ${script} ${role}.`)
    const packages = JSON.parse(stdout) as DebianPackage[]
    const missing = packages.filter((one) => !one.installed)
    if (missing.length === 0) return fine(`all ${packages.length} are there`)
    const words = missing.map((one) => `${one.package} (${one.reason})`).join(', ')
    return wrong(`missing: ${words}`, `Run \`sudo ${script} ${role}\`.`)
  }
  return { id: 'packages', name: 'packages', look }
}
