/**
 * Datastores of this host. Each is a folder:
 *
 *   DS/holdfast-datastore.json   whose it is
 *   DS/disks/disk-7.qcow2        one file per disk, owned by its VM's user; disk-7.json: the task that made it
 *   DS/images/img-3.qcow2        read by every VM that uses it; img-3.json: what was found at import
 *   DS/uploads/ID                what an upload has brought so far
 *   DS/hosts/host-3.json         where hosts share it: host-3 marks that it lives (lease/neighbours.ts)
 *
 * Paths are made from short ids alone, so nothing that a request holds can lead out of the folder. A folder of another
 * cluster is refused, and so is one that has lost its marker since this host saw it: its file system is not mounted.
 */
import { join } from 'node:path'
import type { Clock } from '../../base/clock.ts'
import { describeError, HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type Files } from '../../base/files.ts'
import { isShortId, type DatastoreId, type DiskId, type ImageId } from '../../base/ids.ts'
import type { DatastoreConfig } from '../../contracts/agent-api.ts'
import type { DatastoreObservation } from '../../contracts/host.ts'

/**
 * A storage that says nothing for so long is reported as such; the question stays open until it answers. With the interval of
 * reports it must stay well below the silence for which a host is fenced: storage that hangs is no lost host.
 */
const answerWithinMs = 1000

interface Entry {
  config: DatastoreConfig
  problem: string | null
  totalBytes: number
  freeBytes: number
  /** A look that has not come back: on storage that hangs, one waits and no more pile up. */
  look: Promise<void> | undefined
  /** That look has been waited for long enough once. */
  isLate: boolean
}

export interface DatastoresDeps {
  readonly files: Files
  readonly clock: Clock
  /** UUID of the cluster. */
  readonly cluster: string
  readonly dataDirectory: string
}

export class Datastores {
  readonly #deps: DatastoresDeps
  #entries = new Map<DatastoreId, Entry>()

  constructor(deps: DatastoresDeps) {
    this.#deps = deps
  }

  /** Makes these the datastores of this host. A folder that cannot be used is reported, and keeps nothing else up. */
  async configure(configs: readonly DatastoreConfig[]): Promise<void> {
    const entries = new Map<DatastoreId, Entry>()
    for (const config of configs) {
      const before = this.#entries.get(config.datastore)
      // The very same: a look that has not come back yet tells it when it does.
      const entry = before?.config.path === config.path ? before : unseen(config, before)
      entry.config = config
      entries.set(config.datastore, entry)
    }
    this.#entries = entries
    await this.observe()
  }

  /** Looks at each; one that does not answer within three seconds is not usable. */
  async observe(): Promise<DatastoreObservation[]> {
    return Promise.all([...this.#entries.values()].map((entry) => this.#observe(entry)))
  }

  isShared(datastore: DatastoreId): boolean {
    return this.#entry(datastore).config.isShared
  }

  diskPath(datastore: DatastoreId, disk: DiskId, format: 'qcow2' | 'raw'): string {
    mustBeId(isShortId('disk', disk), disk)
    return join(this.#path(datastore), 'disks', `${disk}.${format}`)
  }

  diskNotePath(datastore: DatastoreId, disk: DiskId): string {
    mustBeId(isShortId('disk', disk), disk)
    return join(this.#path(datastore), 'disks', `${disk}.json`)
  }

  imagePath(datastore: DatastoreId, image: ImageId, format: 'qcow2' | 'raw'): string {
    mustBeId(isShortId('image', image), image)
    return join(this.#path(datastore), 'images', `${image}.${format}`)
  }

  imageFactsPath(datastore: DatastoreId, image: ImageId): string {
    mustBeId(isShortId('image', image), image)
    return join(this.#path(datastore), 'images', `${image}.json`)
  }

  /** Folders of the datastores that other hosts use too, and that can be used now. */
  sharedFolders(): string[] {
    return [...this.#entries.values()].flatMap(({ config, problem }) =>
      problem === null && config.isShared ? [config.path] : [],
    )
  }

  /** Where uploads lie, on the datastores that can be used now. */
  uploadFolders(): string[] {
    return [...this.#entries.values()].flatMap(({ config, problem }) =>
      problem === null ? [join(config.path, 'uploads')] : [],
    )
  }

  uploadPath(datastore: DatastoreId, upload: string): string {
    mustBeId(/^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/.test(upload), upload)
    return join(this.#path(datastore), 'uploads', upload)
  }

  /** Throws `host-error` unless the datastore can be worked with now. */
  async mustBeUsable(datastore: DatastoreId): Promise<void> {
    const { isUsable, problem, path } = await this.#observe(this.#entry(datastore))
    if (isUsable) return
    throw new HoldfastError('host-error', `datastore ${datastore} (${path}) cannot be used: ${problem ?? ''}`, {
      mend: 'Look at the datastore on this host, or use another one.',
    })
  }

  /** Bytes free where this datastore is. */
  async freeBytes(datastore: DatastoreId): Promise<number> {
    return (await this.#deps.files.space(this.#path(datastore))).freeBytes
  }

  #entry(datastore: DatastoreId): Entry {
    const entry = this.#entries.get(datastore)
    if (entry !== undefined) return entry
    throw new HoldfastError('not-found', `this host has no datastore ${datastore}`, {
      mend: 'Wait until the host has its configuration, or add the datastore to the host.',
    })
  }

  #path(datastore: DatastoreId): string {
    return this.#entry(datastore).config.path
  }

  async #observe(entry: Entry): Promise<DatastoreObservation> {
    const look = (entry.look ??= this.#look(entry).finally(() => {
      entry.look = undefined
      entry.isLate = false
    }))
    const hasAnswered = !entry.isLate && (await this.#within(look))
    entry.isLate = !hasAnswered && entry.look === look
    const problem = hasAnswered ? entry.problem : 'the storage does not answer'
    const { config, totalBytes, freeBytes } = entry
    return {
      datastore: config.datastore,
      path: config.path,
      isUsable: problem === null,
      problem,
      totalBytes,
      freeBytes,
    }
  }

  async #within(look: Promise<void>): Promise<boolean> {
    const { promise: late, resolve } = Promise.withResolvers<boolean>()
    using _timer = this.#deps.clock.timer(answerWithinMs, () => resolve(false))
    return await Promise.race([look.then(() => true), late])
  }

  async #look(entry: Entry): Promise<void> {
    try {
      await this.#claim(entry.config)
      const space = await this.#deps.files.space(entry.config.path)
      entry.totalBytes = space.totalBytes
      entry.freeBytes = space.freeBytes
      entry.problem = null
    } catch (thrown) {
      entry.problem = describeError(thrown)
    }
  }

  async #claim(config: DatastoreConfig): Promise<void> {
    const { files, cluster } = this.#deps
    const marker = join(config.path, 'holdfast-datastore.json')
    const text = await readIfThere(files, marker)
    if (text !== undefined) {
      const found = JSON.parse(text) as { cluster?: unknown; datastore?: unknown }
      if (found.cluster !== cluster) throw new HoldfastError('refused', 'the folder belongs to another cluster')
      if (found.datastore !== config.datastore) {
        throw new HoldfastError('refused', `the folder is datastore ${String(found.datastore)} already`)
      }
      return
    }
    if (await this.#wasSeen(config)) throw new HoldfastError('refused', 'its marker is gone: is it mounted?')
    await this.#create(config, marker)
  }

  async #create(config: DatastoreConfig, marker: string): Promise<void> {
    const { files, cluster } = this.#deps
    for (const folder of ['disks', 'images', 'uploads']) {
      await files.makeDirectory(join(config.path, folder), { mode: folder === 'uploads' ? 0o700 : 0o711 })
    }
    await files.replace(marker, JSON.stringify({ v: 1, cluster, datastore: config.datastore }))
    await files.makeDirectory(join(this.#deps.dataDirectory, 'datastores'), { mode: 0o700 })
    await files.replace(this.#seenPath(config), config.path)
  }

  async #wasSeen(config: DatastoreConfig): Promise<boolean> {
    return (await readIfThere(this.#deps.files, this.#seenPath(config))) === config.path
  }

  #seenPath(config: DatastoreConfig): string {
    return join(this.#deps.dataDirectory, 'datastores', config.datastore)
  }
}

async function readIfThere(files: Files, path: string): Promise<string | undefined> {
  try {
    return await files.readText(path)
  } catch (thrown) {
    if (fileErrorCode(thrown) === 'ENOENT') return undefined
    throw thrown
  }
}

function unseen(config: DatastoreConfig, before: Entry | undefined): Entry {
  const { totalBytes = 0, freeBytes = 0 } = before ?? {}
  return { config, problem: 'not looked at yet', totalBytes, freeBytes, look: undefined, isLate: false }
}

function mustBeId(isId: boolean, text: string): void {
  if (!isId) throw new HoldfastError('invalid-request', `"${text}" is no id`)
}

/** Runs work that writes; a full file system becomes `no-space`. */
export async function orNoSpace<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (thrown) {
    const code = fileErrorCode(thrown)
    if (code !== 'ENOSPC' && code !== 'EDQUOT') throw thrown
    const mend = 'Make room on the datastore, or use another one.'
    throw new HoldfastError('no-space', `the datastore is full: ${what}`, { mend }, { cause: thrown })
  }
}
