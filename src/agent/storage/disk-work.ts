/**
 * Work on disks. A new disk is made beside (`.partial`), owned by its VM's user, and renamed when it is whole: a file with
 * a disk's own name is always complete, so the same work again after a crash finds it and is done. The note beside it
 * (disk-notes.ts) says whose work made it, so that a late request neither removes nor takes for its own what a newer task
 * made.
 */
import { HoldfastError } from '../../base/errors.ts'
import type { Files } from '../../base/files.ts'
import type { DatastoreId, DiskId, TaskId, VmId } from '../../base/ids.ts'
import type { JobWork, MovingDisk } from '../../contracts/agent-api.ts'
import type { DiskImages } from '../../hypervisor/images.ts'
import { orNoSpace, type Datastores } from './datastores.ts'
import { DiskNotes, type DiskPlace } from './disk-notes.ts'
import type { JobContext, JobResult } from './jobs.ts'
import { userOf } from './vm-user.ts'

type Work<K extends JobWork['kind']> = Extract<JobWork, { kind: K }>
type Format = 'qcow2' | 'raw'

export interface DiskWorkDeps {
  readonly files: Files
  readonly images: DiskImages
  readonly datastores: Datastores
  /** UEFI's empty variable store; the first that exists is copied. */
  readonly nvramTemplates: readonly string[]
}

const diskMode = 0o600
const formats: readonly Format[] = ['qcow2', 'raw']

export class DiskWork {
  readonly #deps: DiskWorkDeps
  readonly #notes: DiskNotes

  constructor(deps: DiskWorkDeps) {
    this.#deps = deps
    this.#notes = new DiskNotes(deps.files, deps.datastores)
  }

  async create(work: Work<'create-disk'>, context: JobContext): Promise<JobResult> {
    const { datastores, images } = this.#deps
    const path = datastores.diskPath(work.datastore, work.disk, work.format)
    const { image } = work
    const place = { datastore: work.datastore, disk: work.disk, path, task: context.task, made: 'new' } as const
    await this.#make(place, work.vm, async (partial) => {
      if (image === null) return images.create(partial, work.format, work.sizeBytes)
      await datastores.mustBeUsable(image.datastore)
      const from = { path: datastores.imagePath(image.datastore, image.image, image.format), format: image.format }
      const { virtualBytes } = await images.info(from.path, from.format)
      if (virtualBytes > work.sizeBytes) {
        throw new HoldfastError('refused', `the image needs ${virtualBytes} bytes, the disk has ${work.sizeBytes}`)
      }
      const onFraction = (fraction: number): void => context.onBytes('copying', fraction * virtualBytes, virtualBytes)
      await images.convert(from, { path: partial, format: work.format }, onFraction, context.signal)
      if (virtualBytes < work.sizeBytes) await images.grow(partial, work.format, work.sizeBytes)
    })
    return { path }
  }

  async createNvram(work: Work<'create-nvram'>, context: JobContext): Promise<JobResult> {
    const { datastores, files, nvramTemplates } = this.#deps
    const path = datastores.diskPath(work.datastore, work.disk, 'raw')
    const found = await firstExisting(files, nvramTemplates)
    if (found === undefined) {
      throw new HoldfastError('host-error', 'this host has no UEFI firmware', { mend: 'Install the package ovmf.' })
    }
    const content = await files.read(found)
    const place = { datastore: work.datastore, disk: work.disk, path, task: context.task, made: 'new' } as const
    await this.#make(place, work.vm, (partial) => files.replace(partial, content, { mode: diskMode }))
    return { path, sizeBytes: content.length }
  }

  /** A disk of a VM that does not run. QEMU's image lock refuses one that does. */
  async copy(work: Work<'copy-disk'>, context: JobContext): Promise<JobResult> {
    const { datastores } = this.#deps
    const path = datastores.diskPath(work.to, work.disk, work.format)
    const from = datastores.diskPath(work.from, work.disk, work.format)
    await datastores.mustBeUsable(work.from)
    const place = { datastore: work.to, disk: work.disk, path, task: context.task, made: 'copy' } as const
    await this.#make(place, work.vm, (partial) => this.#convert(from, partial, work.format, context))
    return { path }
  }

  /** An empty disk for a mirror to fill. One that an earlier attempt left is replaced: it may hold half of something. */
  async createEmpty(vm: VmId, moving: MovingDisk, task: TaskId | null): Promise<string> {
    const { datastores, images } = this.#deps
    const path = datastores.diskPath(moving.to, moving.disk, moving.format)
    const place = { datastore: moving.to, disk: moving.disk, path, task, made: 'mirror' } as const
    await this.#make(place, vm, (partial) => images.create(partial, moving.format, moving.sizeBytes))
    return path
  }

  /** Removes the disk's files. Throws `stale-generation` when a newer task than `task` made them; null removes anyway. */
  async remove(disk: DiskId, datastore: DatastoreId, task: TaskId | null): Promise<void> {
    const { datastores, files } = this.#deps
    await datastores.mustBeUsable(datastore)
    await this.#notes.release({ datastore, disk, task }, async () => {
      for (const format of formats) {
        const path = datastores.diskPath(datastore, disk, format)
        await files.remove(`${path}.partial`)
        await files.remove(path)
      }
    })
  }

  async #convert(from: string, partial: string, format: Format, context: JobContext): Promise<void> {
    const { virtualBytes } = await this.#deps.images.info(from, format)
    const onFraction = (fraction: number): void => context.onBytes('copying', fraction * virtualBytes, virtualBytes)
    await this.#deps.images.convert({ path: from, format }, { path: partial, format }, onFraction, context.signal)
  }

  async #make(place: DiskPlace, vm: VmId, fill: (partial: string) => Promise<void>): Promise<void> {
    const { datastores, files } = this.#deps
    const { path } = place
    await datastores.mustBeUsable(place.datastore)
    if ((await this.#notes.claim(place)) === 'made') return
    const { uid, gid } = userOf(vm)
    const partial = `${path}.partial`
    await files.remove(partial)
    try {
      await orNoSpace(path, () => fill(partial))
      await files.changeMode(partial, diskMode)
      await files.changeOwner(partial, uid, gid)
      await files.rename(partial, path)
    } catch (thrown) {
      await files.remove(partial)
      throw thrown
    }
  }
}

export async function firstExisting(files: Files, paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if ((await files.stat(path)) !== undefined) return path
  return undefined
}
