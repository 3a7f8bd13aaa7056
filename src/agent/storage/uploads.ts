/** Uploads: pieces appended to a file in the datastore. What is durably there is the place to go on from. */
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { HoldfastError } from '../../base/errors.ts'
import type { FileHandle, Files } from '../../base/files.ts'
import type { DatastoreId } from '../../base/ids.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import { orNoSpace, type Datastores } from './datastores.ts'

/** Written at once; smaller pieces from the network are gathered. */
const writeBytes = 1024 * 1024
const syncEveryBytes = 64 * 1024 * 1024
/** A week. */
export const uploadKeptMs = 7 * 24 * 3_600_000

export class Uploads {
  readonly #files: Files
  readonly #datastores: Datastores
  readonly #queues = new Map<string, SerialQueue>()
  readonly #arriving = new Map<string, Readable>()

  constructor(files: Files, datastores: Datastores) {
    this.#files = files
    this.#datastores = datastores
  }

  /** How much is durably there; 0 for an upload that has not begun. */
  async status(id: string, datastore: DatastoreId): Promise<{ offset: number }> {
    await this.#datastores.mustBeUsable(datastore)
    const found = await this.#files.stat(this.#datastores.uploadPath(datastore, id))
    return { offset: found?.sizeBytes ?? 0 }
  }

  /**
   * Appends a piece. Throws `conflict` (with `details.offset`) when `offset` is not the end, `no-space`. When the stream
   * breaks, what came before stays and counts. A piece that still arrives is cut off: who sends it has come back.
   */
  append(id: string, datastore: DatastoreId, offset: number, body: Readable): Promise<{ offset: number }> {
    const path = this.#datastores.uploadPath(datastore, id)
    this.#arriving.get(path)?.destroy(new HoldfastError('conflict', 'the upload is gone on with by another connection'))
    const queue = this.#queues.get(path) ?? new SerialQueue()
    this.#queues.set(path, queue)
    return queue.run(async () => {
      this.#arriving.set(path, body)
      try {
        return await this.#append(path, datastore, offset, body)
      } finally {
        if (this.#arriving.get(path) === body) this.#arriving.delete(path)
      }
    })
  }

  /** Removes what nobody has gone on with for `uploadKeptMs`. Storage that does not answer is left for the next time. */
  async sweep(nowMs: number): Promise<void> {
    for (const folder of this.#datastores.uploadFolders()) {
      for (const name of await this.#files.list(folder)) {
        const path = join(folder, name)
        const found = await this.#files.stat(path)
        const isOld = found !== undefined && nowMs - found.mtimeMs > uploadKeptMs
        if (isOld && !this.#arriving.has(path)) await this.#files.remove(path)
      }
    }
  }

  async #append(path: string, datastore: DatastoreId, offset: number, body: Readable): Promise<{ offset: number }> {
    await this.#datastores.mustBeUsable(datastore)
    const found = await this.#files.stat(path)
    const end = found?.sizeBytes ?? 0
    if (offset !== end) {
      throw new HoldfastError('conflict', `the upload has ${end} bytes; a piece at ${offset} does not follow`, {
        offset: end,
        mend: `Go on at ${end}.`,
      })
    }
    await using file = await this.#files.open(path, found === undefined ? 'create-new' : 'read-write')
    return { offset: await orNoSpace('the upload', () => drain(body, file, offset)) }
  }
}

async function drain(body: Readable, file: FileHandle, start: number): Promise<number> {
  const gathered = new Gathered(file, start)
  try {
    // The stream stays whole when a write fails: its sender is still to be answered through the same connection.
    for await (const chunk of body.iterator({ destroyOnReturn: false })) await gathered.add(chunk as Buffer)
  } catch (thrown) {
    // What came stays: a piece that was cut off is gone on from, not sent again.
    await gathered.finish().catch(() => undefined)
    throw thrown
  }
  return gathered.finish()
}

class Gathered {
  readonly #file: FileHandle
  #offset: number
  #chunks: Buffer[] = []
  #waitingBytes = 0
  #unsyncedBytes = 0

  constructor(file: FileHandle, offset: number) {
    this.#file = file
    this.#offset = offset
  }

  async add(chunk: Buffer): Promise<void> {
    this.#chunks.push(chunk)
    this.#waitingBytes += chunk.length
    if (this.#waitingBytes >= writeBytes) await this.#write()
  }

  async finish(): Promise<number> {
    await this.#write()
    await this.#file.sync()
    return this.#offset
  }

  async #write(): Promise<void> {
    const data = Buffer.concat(this.#chunks)
    this.#chunks = []
    this.#waitingBytes = 0
    if (data.length > 0) await this.#file.write(this.#offset, data)
    this.#offset += data.length
    this.#unsyncedBytes += data.length
    if (this.#unsyncedBytes < syncEveryBytes) return
    await this.#file.sync()
    this.#unsyncedBytes = 0
  }
}
