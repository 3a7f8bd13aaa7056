/** The world that a lab's hosts stand in: made step by step, each of which may be done again, and taken away whole. */
import { HoldfastError } from '../base/errors.ts'
import type { AddressPlan } from './address-plan.ts'
import { takeRange } from './address-range.ts'
import type { Lab } from './lab.ts'
import {
  breakStoragePaths,
  createDisks,
  defaultDiskGiB,
  isMounted,
  listMounts,
  loopDevices,
  mountRun,
  removeMounts,
} from './mounts.ts'
import { hostNames, managerNames, rangesLock, registryFolder, storageFolders } from './names.ts'
import { applyCuts } from './partitions.ts'
import { register, unregister } from './registry.ts'
import { shell } from './shell.ts'
import { managersOf, writeState, type LabState } from './state.ts'
import { createWires, labNamespaces, machineRoutes, removeWires } from './switch.ts'
import { stateFile } from './state.ts'

export interface WorldOptions {
  readonly hosts: number
  readonly hasShared: boolean
  /** Default 1. Several have an etcd member each. */
  readonly managers?: number
  readonly diskGiB?: number
}

/** Tells people what is being done. */
export type Progress = (line: string) => void

/** Creates what is missing of the world and switches all on. Hold no lock; this takes it. */
export async function createWorld(lab: Lab, options: WorldOptions, say: Progress): Promise<LabState> {
  await claim(lab)
  await using _lock = await lab.lock()
  const state = (await lab.state()) ?? (await firstState(lab, options))
  say('wires: a namespace per host, three networks between them')
  await createWires(lab.ports, { lab: lab.name, hosts: state.hosts, managers: managersOf(state), plan: state.plan })
  await applyCuts(lab.ports, lab.name, state.cuts)
  say('disks: a local datastore per host' + (state.hasShared ? ', and a shared one' : ''))
  const diskGiB = options.diskGiB ?? defaultDiskGiB
  const disks = { hasShared: state.hasShared, diskGiB }
  await Promise.all(state.hosts.map((host) => createDisks(lab.ports, lab.folder, host, disks)))
  // Before the lab's own programs put sockets there.
  for (const node of [...managersOf(state), ...state.hosts]) await mountRun(lab.ports, lab.folder, node)
  await lab.ensureOutside()
  const served = await lab.array.hosts()
  for (const host of state.hosts) {
    if (served.includes(host) && (await isMounted(lab.ports, storageFolders(lab.folder, host).mount))) continue
    // One that is on would keep the mount of an array that is gone.
    await lab.power(host, 'off')
    await lab.array.mount(host)
  }
  const managers = managersOf(state)
  say(`power: ${managers.length === 1 ? 'the manager' : `${managers.length} managers`} and every host`)
  await Promise.all([...managers, ...state.hosts].map((node) => lab.power(node, 'on')))
  return state
}

/** Writes down where the lab is before anything of it exists, so that `lab down` finds it at every moment. */
async function claim(lab: Lab): Promise<void> {
  const { files } = lab.ports
  if ((await lab.state()) === undefined && (await files.stat(lab.folder)) !== undefined) {
    const inside = await files.list(lab.folder)
    if (inside.some((name) => name !== 'lab.lock')) {
      throw new HoldfastError('wrong-state', `${lab.folder} is there and is no lab`, {
        mend: 'Choose another --name or --directory, or move that folder away.',
      })
    }
  }
  await register(lab.ports, lab.name, lab.folder)
  // Guests run as unprivileged users and must pass through to their disks.
  await files.makeDirectory(lab.folder, { mode: 0o755 })
}

async function firstState(lab: Lab, options: WorldOptions): Promise<LabState> {
  const places = { lock: rangesLock, registry: registryFolder, routes: () => machineRoutes(lab.ports) }
  return await takeRange(lab.ports, places, (plan) => writeFirstState(lab, options, plan))
}

async function writeFirstState(lab: Lab, options: WorldOptions, plan: AddressPlan): Promise<LabState> {
  const state: LabState = {
    version: 1,
    name: lab.name,
    hosts: hostNames(options.hosts),
    ...(options.managers === undefined || options.managers === 1 ? {} : { managers: managerNames(options.managers) }),
    plan,
    hasShared: options.hasShared,
    phase: 'creating',
    cuts: [],
    storage: [],
    filled: [],
    fencePassword: lab.ports.random.uuid(),
  }
  await writeState(lab.ports.files, lab.folder, state)
  return state
}

/** Removes all that belongs to this lab, in whatever state it is, and nothing else. Answers what could not be removed. */
export async function removeWorld(lab: Lab): Promise<string[]> {
  const { ports, folder, name } = lab
  const isLab = (await ports.files.stat(stateFile(folder))) !== undefined
  // First all processes: whatever they hold is free then. Every one of them is in the lab's cgroup.
  await lab.machines.cgroups.kill(undefined, () => breakStoragePaths(ports, folder))
  if (isLab) await removeMounts(ports, folder)
  await removeWires(ports, name)
  await lab.machines.cgroups.remove()
  if (isLab) await removeFolder(lab)
  await unregister(ports, name)
  return await leftovers(lab)
}

async function removeFolder(lab: Lab): Promise<void> {
  const { ports, folder } = lab
  const still = (await listMounts(ports)).filter((mount) => mount.path.startsWith(`${folder}/`))
  if (still.length > 0) {
    throw new HoldfastError('wrong-state', `${still[0]?.path ?? folder} is still mounted`, {
      mend: 'See who holds it (`fuser -vm`), then run `holdfast lab down` again.',
    })
  }
  // lab.json last: as long as anything is left, the folder is known as a lab's.
  for (const entry of await ports.files.list(folder)) {
    if (entry !== 'lab.json') await shell(ports, 'rm', ['-rf', '--one-file-system', `${folder}/${entry}`])
  }
  await ports.files.remove(folder)
}

/** What is left of a lab on the machine, in words; empty after a clean `lab down`. */
export async function leftovers(lab: Lab): Promise<string[]> {
  const { ports, folder, name } = lab
  const mounts = (await listMounts(ports)).filter((mount) => mount.path.startsWith(`${folder}/`))
  return [
    ...(await labNamespaces(ports, name)).map((namespace) => `namespace ${namespace}`),
    ...mounts.map((mount) => `mount ${mount.path}`),
    ...(await loopDevices(ports, folder)).map((device) => `loop device ${device}`),
    ...((await ports.files.stat(lab.machines.cgroups.path)) === undefined
      ? []
      : [`cgroup ${lab.machines.cgroups.path}`]),
    ...((await ports.files.stat(folder)) === undefined ? [] : [`folder ${folder}`]),
  ]
}
