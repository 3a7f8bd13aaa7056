/**
 * Whose work made the file of a disk on a datastore: `DS/disks/disk-7.json` beside it. A disk that moves away and comes back
 * has the same path again, so a request that was delayed (its answer was lost, its manager has gone) could remove the file
 * that is in use now, or an old copy could pass for a new one. Tasks are numbered in order, and a VM is held by one task at
 * a time: what a newer task made is no business of an older one's.
 *
 * The note is durable before the file has its name, and goes after it.
 */
import { HoldfastError } from '../../base/errors.ts'
import { fileErrorCode, type Files } from '../../base/files.ts'
import { idNumber, type DatastoreId, type DiskId, type TaskId } from '../../base/ids.ts'
import { SerialQueue } from '../../base/serial-queue.ts'
import type { Datastores } from './datastores.ts'

/** A file of a disk, to be made. */
export interface DiskPlace {
  readonly datastore: DatastoreId
  readonly disk: DiskId
  readonly path: string
  /** Null: from an older manager, which names none. */
  readonly task: TaskId | null
  /** `new`: the disk's first file; `copy`: whole when it has its name; `mirror`: QEMU fills it afterwards. */
  readonly made: 'new' | 'copy' | 'mirror'
}

interface Note {
  /** Number of the task. */
  readonly task: number
  readonly made: DiskPlace['made']
}

export class DiskNotes {
  readonly #files: Files
  readonly #datastores: Datastores
  /** Reading a note and acting on it is one act; the storage of one datastore does not hold up another. */
  readonly #queues = new Map<DatastoreId, SerialQueue>()

  constructor(files: Files, datastores: Datastores) {
    this.#files = files
    this.#datastores = datastores
  }

  /**
   * Makes the place this task's. `made`: the file is there already and is what the task wants. Throws `stale-generation`
   * when a newer task made it, `conflict` when nobody can say whether it is whole and of today.
   */
  claim(place: DiskPlace): Promise<'made' | 'free'> {
    return this.#inTurn(place.datastore, async () => {
      const note = await this.#read(place)
      refuseOlder(place, note)
      if ((await this.#files.stat(place.path)) !== undefined) {
        if (isWanted(place, note)) return 'made'
        // Before the note: a note of this task beside a file of another would make it pass for this one's.
        await this.#files.remove(place.path)
      }
      await this.#write(place)
      return 'free'
    })
  }

  /** Removes the files by `remove`, then the note. Throws `stale-generation` when a newer task made them. */
  release(place: Pick<DiskPlace, 'datastore' | 'disk' | 'task'>, remove: () => Promise<void>): Promise<void> {
    return this.#inTurn(place.datastore, async () => {
      refuseOlder(place, await this.#read(place))
      await remove()
      await this.#files.remove(this.#path(place))
    })
  }

  async #read(place: Pick<DiskPlace, 'datastore' | 'disk'>): Promise<Note | undefined> {
    try {
      return JSON.parse(await this.#files.readText(this.#path(place))) as Note
    } catch (thrown) {
      if (fileErrorCode(thrown) === 'ENOENT') return undefined
      throw thrown
    }
  }

  async #write(place: DiskPlace): Promise<void> {
    const { task, made } = place
    if (task === null) return this.#files.remove(this.#path(place))
    const note: Note & { v: 1 } = { v: 1, task: idNumber(task), made }
    await this.#files.replace(this.#path(place), JSON.stringify(note), { mode: 0o600 })
  }

  #path({ datastore, disk }: Pick<DiskPlace, 'datastore' | 'disk'>): string {
    return this.#datastores.diskNotePath(datastore, disk)
  }

  #inTurn<T>(datastore: DatastoreId, work: () => Promise<T>): Promise<T> {
    const queue = this.#queues.get(datastore) ?? new SerialQueue()
    this.#queues.set(datastore, queue)
    return queue.run(work)
  }
}

/** Whether the file that is there is what this work would make. False: it is to be made anew. */
function isWanted({ disk, path, task, made }: DiskPlace, note: Note | undefined): boolean {
  if (made === 'mirror') return false
  // No id of a disk is given twice: its first file is that one.
  if (made === 'new' || task === null) return true
  if (note === undefined) {
    throw new HoldfastError('conflict', `there is a file of ${disk} already, and nothing says what it is: ${path}`, {
      mend: 'Try again: what is left of an attempt is removed when it ends.',
    })
  }
  return note.task === idNumber(task) && note.made !== 'mirror'
}

function refuseOlder({ disk, task }: Pick<DiskPlace, 'disk' | 'task'>, note: Note | undefined): void {
  if (task === null || note === undefined || idNumber(task) >= note.task) return
  throw new HoldfastError('stale-generation', `task-${note.task}, newer than ${task}, made this file of ${disk}`)
}
