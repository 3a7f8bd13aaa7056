/**
 * Every name that a lab has on the machine follows from the lab's own, so that `lab down` finds all of it without having
 * been told anything. Pure.
 */
import { HoldfastError } from '../base/errors.ts'

/** The three networks that every host is on. */
export const labNetworks = ['management', 'storage', 'guests'] as const
export type LabNetwork = (typeof labNetworks)[number]

/** Who stands on the switch beside the hosts: the manager, and the machine that the lab runs on. */
export const managerName = 'manager'
export const outsideName = 'outside'

/** `manager`, `manager2`, `manager3`. */
export function managerNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => (i === 0 ? managerName : `${managerName}${i + 1}`))
}

export function isManager(node: string): boolean {
  return /^manager[2-9]?$/.test(node)
}

/** 1 for `manager`, 2 for `manager2`. */
export function managerNumber(node: string): number {
  return Number(node.slice(managerName.length)) || 1
}

/** Interface names have 15 characters; `hf-NAME-gw` must fit. */
const labName = /^[a-z][a-z0-9]{0,8}$/

export interface LabPlace {
  readonly name: string
  /** The folder of this lab. */
  readonly folder: string
}

/** Checks a lab's name. Throws `invalid-request`. */
export function checkLabName(name: string): string {
  if (labName.test(name)) return name
  throw new HoldfastError('invalid-request', `"${name}" cannot be a lab's name`, {
    mend: 'Use 1 to 9 small letters and digits, a letter first.',
  })
}

export const defaultLabsFolder = '/var/lib/holdfast/labs'
export const defaultLabName = 'lab'
/** Where the CLI looks for the manager of the default lab. */
export const defaultLabClientFile = '/var/lib/holdfast/lab/client.json'
/** Folders of the machine that hosts mount their own over. They are there while a lab is. */
export const mountPoints = ['/var/lib/holdfast', '/run/holdfast', '/etc/holdfast'] as const
/** One file per lab that exists, with its folder; gone after a restart of the machine, as all else but the folder is. */
export const registryFolder = '/run/holdfast/labs'

/** Held while a lab takes its address range; gone with the last lab. */
export const rangesLock = '/run/holdfast-labs.lock'

export function hostNames(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `host${i + 1}`)
}

/** The number in `host3`. */
export function hostNumber(host: string): number {
  return Number(host.slice('host'.length))
}

export function namespaceOf(lab: string, node: string): string {
  return `hf-${lab}-${isManager(node) ? node.replace(managerName, 'mgr') : node}`
}

export function switchNamespace(lab: string): string {
  return `hf-${lab}-sw`
}

/** Links of the machine's own namespace. */
export function outsideLinks(lab: string): { management: string; guests: string; gateway: string } {
  return { management: `hf-${lab}-m`, guests: `hf-${lab}-g`, gateway: `hf-${lab}-gw` }
}

/** A bridge in the switch's namespace. */
export function bridgeOf(network: LabNetwork): string {
  return `br-${network}`
}

/** The switch's end of a node's cable to a network. */
export function switchPort(node: string, network: LabNetwork): string {
  return `${node}-${network.slice(0, 1)}`
}

/** Which networks a node is on. */
export function networksOf(node: string): readonly LabNetwork[] {
  if (isManager(node)) return ['management']
  return node === outsideName ? ['management', 'guests'] : labNetworks
}

export function cgroupName(lab: string): string {
  return `holdfast-lab-${lab}`
}

/** A host's (or the manager's) places under the lab's folder. */
export function nodeFolders(folder: string, node: string): { home: string; data: string; run: string; etc: string } {
  const home = `${folder}/hosts/${node}`
  return { home, data: `${home}/data`, run: `${home}/run`, etc: `${home}/etc` }
}

/** The storage of a host: the folder behind the array, the mount in front of it, and where the host sees it. */
export function storageFolders(
  folder: string,
  host: string,
): { behind: string; local: string; shared: string; image: string; mount: string } {
  const behind = `${folder}/array/${host}`
  return {
    behind,
    local: `${behind}/local`,
    shared: `${behind}/shared`,
    image: `${folder}/disks/${host}.img`,
    mount: `${nodeFolders(folder, host).data}/storage`,
  }
}

/** What every host calls its own folders. */
export const insideHost = {
  data: '/var/lib/holdfast',
  run: '/run/holdfast',
  etc: '/etc/holdfast',
  localDatastore: '/var/lib/holdfast/storage/local',
  sharedDatastore: '/var/lib/holdfast/storage/shared',
  watchdog: '/run/holdfast/bmc/watchdog.sock',
} as const

/** Sockets of the programs that stand outside of the hosts. */
export function sockets(folder: string): { labd: string; array: string } {
  return { labd: `${folder}/labd.sock`, array: `${folder}/array.sock` }
}
