/**
 * Places for VMs on this host. A VM's run folder is RUN/vm-42 (short: the paths of unix sockets have 107 bytes); its user
 * and its cgroup are its own.
 */
import { join } from 'node:path'
import type { Files } from '../../base/files.ts'
import type { TaskId, VmId } from '../../base/ids.ts'
import type { Processes } from '../../base/processes.ts'
import type { MovingDisk, VmDeployment } from '../../contracts/agent-api.ts'
import { dhParameters, dhParametersFile } from '../../hypervisor/dh-parameters.ts'
import type { Hypervisor, MachineConfig } from '../../hypervisor/hypervisor.ts'
import type { HostNetworks } from '../network/host-networks.ts'
import type { Datastores } from '../storage/datastores.ts'
import type { DiskWork } from '../storage/disk-work.ts'
import { userOf } from '../storage/vm-user.ts'
import { machineConfig } from './machine-config.ts'
import { endPostCopyRight, withPostCopyRight } from './post-copy-right.ts'
import type { StreamIdentity } from '../stream-identity.ts'
import type { VmPlaces } from './vm-ports.ts'

export interface HostPlacesDeps {
  readonly files: Files
  readonly processes: Processes
  readonly datastores: Datastores
  readonly disks: DiskWork
  readonly networks: HostNetworks
  readonly hypervisor: Hypervisor
  readonly runRoot: string
  /** cgroup v2 folder below which each VM gets its own; null: none can be used. */
  readonly cgroupParent: string | null
  /** What streams show; `awaited`: it comes by `renew`. Null: no TLS. */
  readonly tls: StreamIdentity | 'awaited' | null
  /** Address on which streams are listened for. */
  readonly streamAddress: string
  /** False in tests that are not root. */
  readonly hasOwnUsers: boolean
}

/** Below this a guest that ran out of space is not let go on: it would stop again at once. */
const enoughBytes = 32 * 1024 * 1024

export class HostPlaces implements VmPlaces {
  readonly #deps: HostPlacesDeps
  #tls: StreamIdentity | 'awaited' | null

  constructor(deps: HostPlacesDeps) {
    this.#deps = deps
    this.#tls = deps.tls
  }

  get incoming(): { readonly host: string; readonly tlsName: string } {
    const tlsName = this.#tls === null || this.#tls === 'awaited' ? '' : this.#tls.tlsName
    return { host: this.#deps.streamAddress, tlsName }
  }

  /** A renewed certificate, for machines that run already too: they read it at their next migration. */
  async renew(tls: StreamIdentity): Promise<void> {
    this.#tls = tls
    for (const vm of await this.found()) await this.#makeTls(vm)
  }

  runDirectory(vm: VmId): string {
    return join(this.#deps.runRoot, vm)
  }

  async found(): Promise<VmId[]> {
    const { files, runRoot } = this.#deps
    await files.makeDirectory(runRoot, { mode: 0o711 })
    return (await files.list(runRoot)).filter((name): name is VmId => /^vm-[1-9][0-9]*$/.test(name))
  }

  async prepare(deployment: VmDeployment): Promise<MachineConfig> {
    const { datastores, hypervisor, networks, hasOwnUsers } = this.#deps
    const { vm, spec } = deployment
    const used = new Set(spec.disks.map((disk) => disk.datastore))
    if (spec.nvram !== null) used.add(spec.nvram.datastore)
    for (const datastore of used) await datastores.mustBeUsable(datastore)
    const runAs = hasOwnUsers ? userOf(vm) : null
    const making = [
      networks.plug(deployment, runAs?.uid ?? 0),
      hypervisor.facts(),
      this.#makeCgroup(vm),
      this.#makeRunDirectory(vm).then(() => this.#makeTls(vm)),
    ] as const
    // When one fails the place is taken away again: nobody may still be making a part of it then.
    await Promise.allSettled(making)
    const [taps, { accelerator }, cgroup, tlsDirectory] = await Promise.all(making)
    const place = {
      accelerator: accelerator.kind,
      runAs,
      runDirectory: this.runDirectory(vm),
      cgroup,
      tlsDirectory,
      taps,
    }
    const config = machineConfig(deployment, datastores, place)
    await this.#ownDisks(config)
    return config
  }

  async release(vm: VmId): Promise<void> {
    const { files, networks, processes, cgroupParent } = this.#deps
    await networks.unplug(vm)
    await files.remove(this.runDirectory(vm))
    // A cgroup's own files cannot be removed, only the folder.
    if (cgroupParent !== null) await processes.run('rmdir', ['--ignore-fail-on-non-empty', join(cgroupParent, vm)])
  }

  async createMovingDisks(vm: VmId, disks: readonly MovingDisk[], task: TaskId | null): Promise<void> {
    for (const disk of disks) await this.#deps.disks.createEmpty(vm, disk, task)
  }

  async removeMovedDisks(disks: readonly MovingDisk[], end: 'from' | 'to', task: TaskId | null): Promise<void> {
    for (const disk of disks) await this.#deps.disks.remove(disk.disk, disk[end], task)
  }

  async hasSpace(deployment: VmDeployment): Promise<boolean> {
    for (const { datastore } of deployment.spec.disks) {
      if ((await this.#deps.datastores.freeBytes(datastore)) < enoughBytes) return false
    }
    return true
  }

  async hasStorage(deployment: VmDeployment): Promise<boolean> {
    const used = new Set(deployment.spec.disks.map((disk) => disk.datastore))
    const looks = [...used].map((datastore) => this.#deps.datastores.mustBeUsable(datastore))
    return (await Promise.allSettled(looks)).every(({ status }) => status === 'fulfilled')
  }

  async withPostCopyRight<T>(vm: VmId, work: () => Promise<T>): Promise<T> {
    return this.#deps.hasOwnUsers ? await withPostCopyRight(this.#deps, userOf(vm).uid, work) : await work()
  }

  async endPostCopyRight(vm: VmId): Promise<void> {
    if (this.#deps.hasOwnUsers) await endPostCopyRight(this.#deps, userOf(vm).uid)
  }

  async #makeRunDirectory(vm: VmId): Promise<void> {
    // Root's own: what is adopted from here is trusted. QEMU has a folder of its own below it.
    await this.#deps.files.makeDirectory(this.runDirectory(vm), { mode: 0o711 })
  }

  async #makeCgroup(vm: VmId): Promise<string | null> {
    const { cgroupParent, files } = this.#deps
    if (cgroupParent === null) return null
    const path = join(cgroupParent, vm)
    await files.makeDirectory(path)
    return path
  }

  /** QEMU reads its credentials as its own user, so each VM has a copy that is its user's alone. */
  async #makeTls(vm: VmId): Promise<string | null> {
    const { files, hasOwnUsers } = this.#deps
    const tls = this.#tls
    if (tls === null) return null
    const folder = join(this.runDirectory(vm), 'tls')
    await files.makeDirectory(folder, { mode: 0o700 })
    if (tls === 'awaited') return folder
    const content = {
      'ca-cert.pem': tls.ca,
      'server-cert.pem': tls.cert,
      'server-key.pem': tls.key,
      'client-cert.pem': tls.cert,
      'client-key.pem': tls.key,
      [dhParametersFile]: dhParameters,
    }
    const { uid, gid } = userOf(vm)
    const write = async ([name, text]: [string, string]): Promise<void> => {
      const path = join(folder, name)
      await files.write(path, text, { mode: 0o400 })
      if (hasOwnUsers) await files.changeOwner(path, uid, gid)
    }
    await Promise.all(Object.entries(content).map(write))
    if (hasOwnUsers) await files.changeOwner(folder, uid, gid)
    return folder
  }

  async #ownDisks(config: MachineConfig): Promise<void> {
    if (config.runAs === null) return
    const { uid, gid } = config.runAs
    for (const disk of config.disks) await this.#deps.files.changeOwner(disk.path, uid, gid)
    if (config.firmware.kind === 'uefi') await this.#deps.files.changeOwner(config.firmware.nvramPath, uid, gid)
  }
}
